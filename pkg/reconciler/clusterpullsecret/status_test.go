// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// conflicting, refused and broke are what there is to find out about namespaces.
func conflicting(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: v1alpha1.ReasonNameConflict}, conflict: true, theirs: true}
}

func refused(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: string(metav1.StatusReasonForbidden)}, theirs: true}
}

func broke(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: string(metav1.StatusReasonInternalError)}}
}

// stalled is a row's data in which these namespaces have been without their copies
// for as long as one is patient, and why.
func stalled(failures ...failure) map[string]any {
	return prepared(func(r *Reconciler) {
		var missing []string
		why := make(map[string]failure)
		for _, f := range failures {
			missing = append(missing, f.Namespace)
			why[f.Namespace] = f
		}
		slices.Sort(missing)
		stalling(r, patience, missing...)
		r.probe = func(_ context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, _ bool) failure {
			if cps.Name != "ghcr" {
				panic("it was asked about " + cps.Name)
			}
			return why[namespace]
		}
	})
}

func notDistributed(namespaces int) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkDistributionFailed(namespaces) }
}

// TestCounts lists what is counted, and where.
func TestCounts(t *testing.T) {
	excluded := WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
	elsewhere := func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
	}
	runRows(t, knativetesting.TableTest{
		{
			Name: "selected, wanted and synced, and nothing where nothing is granted",
			Objects: []runtime.Object{
				asks("team"), asks("kube-system"), asks("hidden", excluded), asks("going", going), Namespace("indifferent"), Namespace("served"),
				Service("served", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr")),
				steady(), sourceOf("7", one), copied("team", "7", one), copied("served", "7", one), copied("indifferent", "7", one),
			},
			WantStatusUpdates: status(counted(3, 2, 2, 0, 0)),
		}, {
			Name:              "no longer selected",
			Objects:           []runtime.Object{asks("team"), steady(elsewhere), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(elsewhere, counted(0, 0, 0, 0, 0)),
		}, {
			Name: "in its own namespace the source serves", Ctx: allowing("team"),
			Objects: []runtime.Object{
				asks("team"), steady(func(c *v1alpha1.ClusterPullSecret) { c.Spec.SecretRef.Namespace = "team" }), dockerConfig("team", "ghcr", "7", one),
			},
		}, {
			Name: "copies of an older version, of another one, and the user's are none",
			Objects: []runtime.Object{
				asks("a"), asks("b"), asks("c"), asks("team"), steady(), sourceOf("7", one), copied("team", "7", one),
				copied("a", "6", one), dockerConfig("b", "ghcr", "3", one), dockerConfig("c", "ghcr", "3", one, ours, func(s *corev1.Secret) {
					s.Labels[pullsecrets.ClusterPullSecretLabel] = "other"
					s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: "7"}
				}),
			},
			WantStatusUpdates: status(counted(4, 4, 1, 0, 0)), WantErr: true,
		}, {
			Name:    "as long as one is patient, nobody is asked why",
			Objects: []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one)},
			OtherTestData: prepared(func(r *Reconciler) {
				stalling(r, patience-time.Nanosecond, "team")
			}), WantErr: true,
		}, {
			Name:    "patience is for each namespace, and one that comes later calls none in question",
			Objects: []runtime.Object{asks("team"), steady(distributing), sourceOf("7", one)},
			OtherTestData: prepared(func(r *Reconciler) {
				stalling(r, time.Hour)
			}),
			WantStatusUpdates: status(counted(1, 1, 0, 0, 0)), WantErr: true,
			WantEvents: []string{"Normal Distributed 0 of 1 namespaces have a copy of the source at resourceVersion 7"},
		}, {
			Name:          "distributed: told",
			Objects:       []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one), copied("team", "7", one)},
			OtherTestData: stalled(refused("team")), WantStatusUpdates: status(),
			WantEvents: []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		}, {
			Name:              "still distributed: not told again",
			Objects:           []runtime.Object{asks("team"), asks("more"), steady(), sourceOf("7", one), copied("team", "7", one), copied("more", "7", one)},
			WantStatusUpdates: status(counted(2, 2, 2, 0, 0)),
		}, {
			Name:              "the source is lost: the copies count as before",
			Objects:           []runtime.Object{asks("team"), steady(), copied("team", "7", one)},
			WantStatusUpdates: status(lost),
		},
	})
}

// TestFailures lists what is told of copies that do not come.
func TestFailures(t *testing.T) {
	var many []failure
	var objects []runtime.Object
	var listed []v1alpha1.NamespaceFailure
	for i := range v1alpha1.MaxFailures + 2 {
		// In another order than they are to be told.
		namespace := fmt.Sprintf("team-%02d", (i*5)%(v1alpha1.MaxFailures+2))
		many, objects = append(many, broke(namespace)), append(objects, asks(namespace))
		if i < v1alpha1.MaxFailures {
			listed = append(listed, broke(fmt.Sprintf("team-%02d", i)).NamespaceFailure)
		}
	}
	runRows(t, knativetesting.TableTest{
		{
			Name:              "what tenants cause leaves it distributed",
			Objects:           []runtime.Object{asks("a"), asks("b"), asks("team"), steady(distributing), sourceOf("7", one), copied("team", "7", one)},
			OtherTestData:     stalled(refused("b"), conflicting("a")),
			WantStatusUpdates: status(counted(3, 3, 1, 1, 1), failed(conflicting("a").NamespaceFailure, refused("b").NamespaceFailure)),
			WantEvents:        []string{"Normal Distributed 1 of 3 namespaces have a copy of the source at resourceVersion 7"}, WantErr: true,
		}, {
			Name:              "what they do not cause does not",
			Objects:           []runtime.Object{asks("a"), asks("b"), steady(), sourceOf("7", one)},
			OtherTestData:     stalled(broke("b"), conflicting("a")),
			WantStatusUpdates: status(counted(2, 2, 0, 1, 1), failed(conflicting("a").NamespaceFailure, broke("b").NamespaceFailure), notDistributed(1)), WantErr: true,
		}, {
			Name: "the same again: nothing is written",
			Objects: []runtime.Object{
				asks("a"), steady(counted(1, 1, 0, 1, 0), failed(conflicting("a").NamespaceFailure)), sourceOf("7", one),
			},
			OtherTestData: stalled(conflicting("a")), WantErr: true,
		}, {
			Name:              "the first ten are told, and all are counted",
			Objects:           append(objects, steady(), sourceOf("7", one)),
			OtherTestData:     stalled(many...),
			WantStatusUpdates: status(counted(12, 12, 0, 0, 12), failed(listed...), notDistributed(12)), WantErr: true,
		}, {
			Name:              "they are over",
			Objects:           []runtime.Object{asks("a"), steady(counted(1, 1, 0, 0, 1), failed(broke("a").NamespaceFailure), notDistributed(1)), sourceOf("7", one), copied("a", "7", one)},
			WantStatusUpdates: status(),
			WantEvents:        []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		},
	})
}

// A copy to which nothing is in the way is neither a failure nor done.
func TestSlowCopiesAreAwaited(t *testing.T) {
	coming := prepared(func(r *Reconciler) {
		stalling(r, patience, "team")
		r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, outdated bool) failure {
			if !outdated {
				panic("there is an outdated copy")
			}
			return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}, coming: true}
		}
	})
	old := copied("team", "6", one)
	runRows(t, knativetesting.TableTest{
		{
			Name:    "a rotation is not done",
			Objects: []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one), old}, OtherTestData: coming, WantErr: true,
		}, {
			Name:    "one more namespace calls no others in question",
			Objects: []runtime.Object{asks("team"), steady(counted(1, 1, 0, 0, 0)), sourceOf("7", one), old}, OtherTestData: coming, WantErr: true,
		},
	})
}

// A copy that has been coming for longer than any repair is put off does not come: it is
// refused for what it holds, while an empty one is asked about, or somebody keeps undoing
// it. It is told, and calls no others in question.
func TestCopiesThatNeverCome(t *testing.T) {
	now := noon
	cps := steady(distributing, counted(1, 1, 0, 0, 0))
	row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), cps, sourceOf("7", one)}}
	var r *Reconciler
	row.OtherTestData = prepared(func(made *Reconciler) {
		stalling(made, patience, "team")
		made.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
			return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}, coming: true}
		}
		made.now = func() time.Time { return now }
		r = made
	})
	factory()(t, &row)
	for _, look := range []struct {
		after, again time.Duration
		failures     int
	}{{0, sooner, 0}, {overlong - time.Second, sooner, 0}, {time.Second, later, 1}} {
		now = now.Add(look.after)
		if _, again := controller.IsRequeueKey(r.ReconcileKind(row.Ctx, cps)); again != look.again {
			t.Errorf("%s after noon it looks again in %s, want %s", now.Sub(noon), again, look.again)
		}
		if failures := cps.Status.Failures; len(failures) != look.failures || int(cps.Status.Namespaces.Failed) != look.failures {
			t.Errorf("%s after noon: failures %v, counts %v, want %d", now.Sub(noon), failures, cps.Status.Namespaces, look.failures)
		}
	}
	if !cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
		t.Errorf("It is %v, want it distributed as far as it goes", cps.Status.Conditions)
	}
}

// A Secret whose label names no ClusterPullSecret is in the cache of copies, and is none:
// it is asked whether one could be made, and not whether that could be changed.
func TestLabelWithoutAName(t *testing.T) {
	nobodys := dockerConfig("team", "ghcr", "3", one, ours, func(s *corev1.Secret) { s.Labels[pullsecrets.ClusterPullSecretLabel] = "" })
	runRows(t, knativetesting.TableTest{{
		Name:    "it is in the way, and its namespace's doing",
		Objects: []runtime.Object{asks("team"), steady(), sourceOf("7", one), nobodys},
		OtherTestData: prepared(func(r *Reconciler) {
			stalling(r, patience, "team")
			r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, outdated bool) failure {
				if outdated {
					panic("there is no copy")
				}
				return conflicting(namespace)
			}
		}),
		WantStatusUpdates: status(counted(1, 1, 0, 1, 0), failed(conflicting("team").NamespaceFailure)), WantErr: true,
	}})
}

// Where the source is not good, nobody is asked why copies do not come, and the status
// says what is wrong with the source.
func TestLostSourceExplainsItself(t *testing.T) {
	runRows(t, knativetesting.TableTest{{
		Name:              "a namespace asks for what is lost",
		Objects:           []runtime.Object{asks("team"), steady()},
		OtherTestData:     prepared(func(r *Reconciler) { stalling(r, time.Hour, "team") }),
		WantStatusUpdates: status(lost, counted(1, 1, 0, 0, 0)), WantErr: true,
	}})
}

// A version is told of once, however often something is in the way of a copy and goes.
func TestDistributedIsToldOnce(t *testing.T) {
	read := Metrics(t)
	done := steady(distributing)
	row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), done, sourceOf("7", one), copied("team", "7", one)}}
	c, _, eventList := factory()(t, &row)
	for range 3 {
		if err := c.Reconcile(row.Ctx, "ghcr"); err != nil {
			t.Fatal(err)
		}
	}
	if got := eventList.Events(); len(got) != 1 || read()["pullsecrets.distribution.duration"] != 1 {
		t.Errorf("it is told by %q and recorded %d times, want once", got, read()["pullsecrets.distribution.duration"])
	}
}

// Nobody is asked twice within a while, however often a ClusterPullSecret is looked
// at, nor too many at once.
func TestAsksAreRemembered(t *testing.T) {
	const namespaces = 2*atOnce + 1
	objects := []runtime.Object{steady(), sourceOf("7", one)}
	var missing []string
	for i := range namespaces {
		missing = append(missing, fmt.Sprintf("team-%03d", i))
		objects = append(objects, asks(missing[i]))
	}
	now, asked := noon, 0
	row := knativetesting.TableRow{Objects: objects, OtherTestData: prepared(func(r *Reconciler) {
		stalling(r, patience, missing...)
		r.now = func() time.Time { return now }
		r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
			asked++
			if namespace == missing[0] {
				return broke(namespace)
			}
			return conflicting(namespace)
		}
	})}
	c, _, _ := factory()(t, &row)
	for _, look := range []struct {
		after             time.Duration
		wantAsked, wantIn int // the latter in seconds
	}{
		{0, atOnce, 1}, {0, 2 * atOnce, 1}, {0, namespaces, 30}, {0, namespaces, 30},
		// All others could have been asked twice before one that may pass is again.
		{sooner + 4*soon, namespaces + 1, 30}, {later, namespaces + 1 + atOnce, 1},
	} {
		now = now.Add(look.after)
		_, in := controller.IsRequeueKey(c.Reconcile(row.Ctx, "ghcr"))
		if asked != look.wantAsked || in != time.Duration(look.wantIn)*time.Second {
			t.Fatalf("%s after noon %d were asked and it looks again in %s, want %d and %d s", now.Sub(noon), asked, in, look.wantAsked, look.wantIn)
		}
	}
}

// elder is an older ClusterPullSecret with the same name for its copies.
func elder(name, team string) *v1alpha1.ClusterPullSecret {
	return ClusterPullSecret(name, func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.SecretName, cps.CreationTimestamp = "ghcr", metav1.NewTime(earlier)
		if team != "" {
			cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": team}
		}
	})
}

func younger(cps *v1alpha1.ClusterPullSecret) { cps.CreationTimestamp = metav1.NewTime(noon) }

// TestNameConflict lists what becomes of a secretName that two have.
func TestNameConflict(t *testing.T) {
	contested := func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkNameConflict("ghcr", "elder") }
	red, blue := WithNamespaceLabel("team", "red"), WithNamespaceLabel("team", "blue")
	runRows(t, knativetesting.TableTest{
		{
			Name:              "the older serves where both select",
			Objects:           []runtime.Object{asks("a", red), asks("b", blue), elder("elder", "red"), steady(younger), sourceOf("7", one), copied("b", "7", one)},
			WantStatusUpdates: status(younger, counted(2, 1, 1, 0, 0), contested),
		}, {
			Name:    "of the same age, the first by name does",
			Objects: []runtime.Object{asks("a"), elder("elder", ""), steady(func(c *v1alpha1.ClusterPullSecret) { c.CreationTimestamp = metav1.NewTime(earlier) }), sourceOf("7", one)},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) { c.CreationTimestamp = metav1.NewTime(earlier) },
				counted(1, 0, 0, 0, 0), contested),
		}, {
			Name:              "it is over",
			Objects:           []runtime.Object{asks("a"), steady(younger, contested), sourceOf("7", one), copied("a", "7", one)},
			WantStatusUpdates: status(younger),
			WantEvents:        []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		},
	})
}

// Whichever namespace is counted first, the same one of several older ones is told:
// a status that came out otherwise each time would be written for ever.
func TestNameConflictIsStable(t *testing.T) {
	for range 20 {
		v := newVerdicts(basis{})
		for namespace, one := range map[string]verdict{"a": {older: "elder"}, "b": {older: "ancient"}, "c": {older: "elder"}} {
			v.set(namespace, one)
		}
		if got := v.sum(); got.older != "ancient" || got.counts.Selected != 3 {
			t.Fatalf("%s beats it in %d namespaces, want ancient, the first by name, in 3", got.older, got.counts.Selected)
		}
	}
}

// A copy that comes costs a look at its namespace, and not at all of them; what
// concerns all does cost a look at all.
func TestOnlyWhatChangedIsCounted(t *testing.T) {
	cps := steady()
	row := knativetesting.TableRow{
		Ctx:     config.WithConfig(t.Context(), config.Default()),
		Objects: []runtime.Object{asks("a"), asks("b"), asks("c"), cps, copied("a", "7", one)},
	}
	var r *Reconciler
	row.OtherTestData = prepared(func(made *Reconciler) { r = made })
	factory()(t, &row)
	synced := func(reason string, want int32) {
		t.Helper()
		got, err := r.tally(row.Ctx, cps)
		if err != nil {
			t.Fatal(err)
		}
		if got.counts.Synced != want {
			t.Errorf("%s: %d have their copies, want %d", reason, got.counts.Synced, want)
		}
	}
	synced("at first all are looked at", 1)
	r.secrets = NewListers([]runtime.Object{copied("a", "7", one), copied("b", "7", one), copied("c", "7", one)}).Copies()
	synced("nothing has been told", 1)
	r.tallies.touch(cps.Name, "b")
	synced("a copy came", 2)
	r.tallies.touch(cps.Name, "c")
	synced("a Namespace changed", 3)
	r.secrets = NewListers([]runtime.Object{copied("a", "8", one)}).Copies()
	r.tallies.touch(cps.Name, "b")
	synced("a copy went", 2)
	r.tallies.Clear()
	synced("a setting changed", 0)
	cps.Status.Source.ResourceVersion = "8"
	synced("the source changed", 1)
	cps.Generation, cps.Spec.NamespaceSelector.MatchLabels = 2, map[string]string{"team": "other"}
	r.catalog = catalog.New(NewListers([]runtime.Object{cps}).ClusterPullSecrets())
	synced("the selector changed", 0)
}

// Whatever becomes of namespaces, the sum that is kept is that of the verdicts.
func TestSumIsKept(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	v := newVerdicts(basis{})
	for range 2000 {
		namespace := fmt.Sprint("ns-", random.IntN(20))
		v.drop(namespace)
		if random.IntN(4) > 0 {
			v.set(namespace, []verdict{{}, {older: "elder"}, {older: "ancient"}, {wanted: true}, {wanted: true, synced: true}}[random.IntN(5)])
		}
		anew := newVerdicts(basis{})
		for namespace, one := range v.byNamespace {
			anew.set(namespace, one)
		}
		if diff := cmp.Diff(anew.sum(), v.sum(), cmp.AllowUnexported(tally{})); diff != "" {
			t.Fatalf("The sum that was kept is another one (-want, +got): %s", diff)
		}
	}
}

// BenchmarkTally counts a ClusterPullSecret anew after something has happened in one
// namespace, which costs the same however many others it selects.
func BenchmarkTally(b *testing.B) {
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprintf("%d Namespaces", size), func(b *testing.B) {
			cps := steady()
			objects := []runtime.Object{cps}
			for i := range size {
				namespace := fmt.Sprint("ns-", i)
				objects = append(objects, asks(namespace), copied(namespace, "7", one))
			}
			listers := NewListers(objects)
			r := &Reconciler{
				tallies: newReconciler().tallies,
				catalog: catalog.New(listers.ClusterPullSecrets()), namespaces: listers.Namespaces(),
				services: listers.Services(), secrets: listers.Copies(),
			}
			ctx := config.WithConfig(b.Context(), config.Default())
			count := func() {
				if t, err := r.tally(ctx, cps); err != nil || t.counts.Synced != int32(size) {
					b.Fatalf("%d have their copies, want %d: %v", t.counts.Synced, size, err)
				}
			}
			count()
			for i := 0; b.Loop(); i++ {
				r.tallies.touch(cps.Name, fmt.Sprint("ns-", i%500))
				count()
			}
		})
	}
}

// How long a distribution took is recorded when it is done, and not again.
func TestDurationIsRecorded(t *testing.T) {
	read := Metrics(t)
	done := []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one), copied("team", "7", one)}
	runRows(t, knativetesting.TableTest{{
		Name: "distributed", Objects: done, WantStatusUpdates: status(),
		WantEvents: []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
	}})
	want := map[string]int64{"pullsecrets.distribution.duration": 1}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Error("recorded (-want, +got):", diff)
	}
	runRows(t, knativetesting.TableTest{{
		Name: "still distributed", Objects: []runtime.Object{asks("team"), steady(), sourceOf("7", one), copied("team", "7", one)},
	}})
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Error("recorded (-want, +got):", diff)
	}
}

// A tenant whose copy goes and comes holds up neither what is found out about others nor
// the distribution.
func TestAgesAreByNamespace(t *testing.T) {
	s := newReconciler().stalled
	rotated := noon
	for second := range 60 {
		now := noon.Add(time.Duration(second) * time.Second)
		missing := []string{"b"}
		if second >= 1 && second%4 < 2 {
			missing = []string{"a", "b"}
		}
		a := s.age("ghcr", missing, rotated, now)
		if want := now.Sub(noon) >= patience; slices.Contains(a.ripe, "b") != want {
			t.Fatalf("after %d s b is ripe: %t, want %t", second, !want, want)
		}
		if second > 8 && a.pending.Has("a") {
			t.Fatalf("after %d s a still counts as pending, though it had its copy", second)
		}
		if !a.pending.Has("b") {
			t.Fatalf("after %d s b is not pending, though it never had its copy", second)
		}
		if (a.next > 0) != (len(a.ripe) < len(missing)) || a.next > patience {
			t.Fatalf("after %d s the next is in %s, with %q ripe of %q", second, a.next, a.ripe, missing)
		}
	}
}
