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
	"pullsecrets.dev/pkg/source"
)

// conflicting, rejected and erroneous are results of probes.
func conflicting(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: v1alpha1.ReasonNameConflict}, conflict: true, tenant: true}
}

func rejected(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: string(metav1.StatusReasonForbidden)}, tenant: true}
}

func erroneous(namespace string) failure {
	return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace, Reason: string(metav1.StatusReasonInternalError)}}
}

// diagnosed returns a row's data in which the copies of these namespaces are overdue,
// with the results of their probes.
func diagnosed(failures ...failure) map[string]any {
	return prepared(func(r *Reconciler) {
		var missing []string
		why := make(map[string]failure)
		for _, f := range failures {
			missing = append(missing, f.Namespace)
			why[f.Namespace] = f
		}
		slices.Sort(missing)
		missingFor(r, gracePeriod, missing...)
		r.probe = func(_ context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, _ bool) failure {
			if cps.Name != "ghcr" {
				panic("unexpected probe for " + cps.Name)
			}
			return why[namespace]
		}
	})
}

func notDistributed(namespaces int) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkDistributionFailed(namespaces) }
}

// TestCounts lists what is counted.
func TestCounts(t *testing.T) {
	excluded := WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
	elsewhere := func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
	}
	runRows(t, knativetesting.TableTest{
		{
			Name: "selected, wanted and synced, and nothing where nothing is granted",
			Objects: []runtime.Object{
				asks("team"), asks("kube-system"), asks("hidden", excluded), asks("going", terminating), Namespace("indifferent"), Namespace("served"),
				Service("served", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr")),
				steady(), sourceOf("7", one), copied("team", "7", one), copied("served", "7", one), copied("indifferent", "7", one),
			},
			WantStatusUpdates: status(counted(3, 2, 2, 0, 0)),
		}, {
			Name:              "no longer selected",
			Objects:           []runtime.Object{asks("team"), steady(elsewhere), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(elsewhere, counted(0, 0, 0, 0, 0)),
		}, {
			Name: "the source itself serves in its own namespace", Ctx: allowing("team"),
			Objects: []runtime.Object{
				asks("team"), steady(func(c *v1alpha1.ClusterPullSecret) { c.Spec.SecretRef.Namespace = "team" }), dockerConfig("team", "ghcr", "7", one),
			},
		}, {
			Name: "copies of an older version or of another ClusterPullSecret, and users' Secrets, do not count",
			Objects: []runtime.Object{
				asks("a"), asks("b"), asks("c"), asks("team"), steady(), sourceOf("7", one), copied("team", "7", one),
				copied("a", "6", one), dockerConfig("b", "ghcr", "3", one), dockerConfig("c", "ghcr", "3", one, ours, func(s *corev1.Secret) {
					s.Labels[pullsecrets.ClusterPullSecretLabel] = "other"
					s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: "7"}
				}),
			},
			WantStatusUpdates: status(counted(4, 4, 1, 0, 0)), WantErr: true,
		}, {
			Name:    "within the grace period, namespaces are not probed",
			Objects: []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one)},
			OtherTestData: prepared(func(r *Reconciler) {
				missingFor(r, gracePeriod-time.Nanosecond, "team")
			}), WantErr: true,
		}, {
			Name:    "the grace period is per namespace, and a namespace that asks later does not block the distribution",
			Objects: []runtime.Object{asks("team"), steady(distributing), sourceOf("7", one)},
			OtherTestData: prepared(func(r *Reconciler) {
				missingFor(r, time.Hour)
			}),
			WantStatusUpdates: status(counted(1, 1, 0, 0, 0)), WantErr: true,
			WantEvents: []string{"Normal Distributed 0 of 1 namespaces have a copy of the source at resourceVersion 7"},
		}, {
			Name:          "distributed: reported",
			Objects:       []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one), copied("team", "7", one)},
			OtherTestData: diagnosed(rejected("team")), WantStatusUpdates: status(),
			WantEvents: []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		}, {
			Name:              "still distributed: not reported again",
			Objects:           []runtime.Object{asks("team"), asks("more"), steady(), sourceOf("7", one), copied("team", "7", one), copied("more", "7", one)},
			WantStatusUpdates: status(counted(2, 2, 2, 0, 0)),
		}, {
			Name:              "the source does not exist: the copies are still counted",
			Objects:           []runtime.Object{asks("team"), steady(), copied("team", "7", one)},
			WantStatusUpdates: status(lost),
		},
	})
}

// TestFailures lists what is reported about missing copies.
func TestFailures(t *testing.T) {
	var many []failure
	var objects []runtime.Object
	var listed []v1alpha1.NamespaceFailure
	for i := range v1alpha1.MaxFailures + 2 {
		// In another order than they are reported.
		namespace := fmt.Sprintf("team-%02d", (i*5)%(v1alpha1.MaxFailures+2))
		many, objects = append(many, erroneous(namespace)), append(objects, asks(namespace))
		if i < v1alpha1.MaxFailures {
			listed = append(listed, erroneous(fmt.Sprintf("team-%02d", i)).NamespaceFailure)
		}
	}
	runRows(t, knativetesting.TableTest{
		{
			Name:              "failures by tenants: still distributed",
			Objects:           []runtime.Object{asks("a"), asks("b"), asks("team"), steady(distributing), sourceOf("7", one), copied("team", "7", one)},
			OtherTestData:     diagnosed(rejected("b"), conflicting("a")),
			WantStatusUpdates: status(counted(3, 3, 1, 1, 1), failed(conflicting("a").NamespaceFailure, rejected("b").NamespaceFailure)),
			WantEvents:        []string{"Normal Distributed 1 of 3 namespaces have a copy of the source at resourceVersion 7"}, WantErr: true,
		}, {
			Name:              "other failures: not distributed",
			Objects:           []runtime.Object{asks("a"), asks("b"), steady(), sourceOf("7", one)},
			OtherTestData:     diagnosed(erroneous("b"), conflicting("a")),
			WantStatusUpdates: status(counted(2, 2, 0, 1, 1), failed(conflicting("a").NamespaceFailure, erroneous("b").NamespaceFailure), notDistributed(1)), WantErr: true,
		}, {
			Name: "the same again: nothing is written",
			Objects: []runtime.Object{
				asks("a"), steady(counted(1, 1, 0, 1, 0), failed(conflicting("a").NamespaceFailure)), sourceOf("7", one),
			},
			OtherTestData: diagnosed(conflicting("a")), WantErr: true,
		}, {
			Name:              "the first ten are listed, and all are counted",
			Objects:           append(objects, steady(), sourceOf("7", one)),
			OtherTestData:     diagnosed(many...),
			WantStatusUpdates: status(counted(12, 12, 0, 0, 12), failed(listed...), notDistributed(12)), WantErr: true,
		}, {
			Name:              "the failures end",
			Objects:           []runtime.Object{asks("a"), steady(counted(1, 1, 0, 0, 1), failed(erroneous("a").NamespaceFailure), notDistributed(1)), sourceOf("7", one), copied("a", "7", one)},
			WantStatusUpdates: status(),
			WantEvents:        []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		},
	})
}

// A copy that nothing blocks is neither a failure nor done.
func TestSlowCopiesAreAwaited(t *testing.T) {
	unblocked := prepared(func(r *Reconciler) {
		missingFor(r, gracePeriod, "team")
		r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, outdated bool) failure {
			if !outdated {
				panic("the probe ignores the outdated copy")
			}
			return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}, unblocked: true}
		}
	})
	old := copied("team", "6", one)
	runRows(t, knativetesting.TableTest{
		{
			Name:    "a rotation is not complete",
			Objects: []runtime.Object{asks("team"), steady(distributing, counted(1, 1, 0, 0, 0)), sourceOf("7", one), old}, OtherTestData: unblocked, WantErr: true,
		}, {
			Name:    "one more namespace does not revoke the condition",
			Objects: []runtime.Object{asks("team"), steady(counted(1, 1, 0, 0, 0)), sourceOf("7", one), old}, OtherTestData: unblocked, WantErr: true,
		},
	})
}

// A copy that is unblocked for longer than any backoff will not be written: it is
// rejected because of its contents, while the probe with an empty one succeeds, or it is
// removed again and again. It is reported as a failure, and does not revoke the
// condition.
func TestStuckCopiesAreReported(t *testing.T) {
	now := noon
	cps := steady(distributing, counted(1, 1, 0, 0, 0))
	row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), cps, sourceOf("7", one)}}
	var r *Reconciler
	row.OtherTestData = prepared(func(made *Reconciler) {
		missingFor(made, gracePeriod, "team")
		made.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
			return failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}, unblocked: true}
		}
		made.now = func() time.Time { return now }
		r = made
	})
	factory()(t, &row)
	for _, step := range []struct {
		after, again time.Duration
		failures     int
	}{{0, transientRetryInterval, 0}, {stuckTimeout - time.Second, transientRetryInterval, 0}, {time.Second, retryInterval, 1}} {
		now = now.Add(step.after)
		if _, again := controller.IsRequeueKey(r.ReconcileKind(row.Ctx, cps)); again != step.again {
			t.Errorf("%s after noon: requeued after %s, want %s", now.Sub(noon), again, step.again)
		}
		if failures := cps.Status.Failures; len(failures) != step.failures || int(cps.Status.Namespaces.Failed) != step.failures {
			t.Errorf("%s after noon: failures %v, counts %v, want %d", now.Sub(noon), failures, cps.Status.Namespaces, step.failures)
		}
	}
	if !cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
		t.Errorf("conditions = %v, want Distributed", cps.Status.Conditions)
	}
}

// A Secret whose label has an empty value is in the cache of copies, but is no copy: the
// probe tries to create one, not to patch it.
func TestLabelWithoutAName(t *testing.T) {
	unnamed := dockerConfig("team", "ghcr", "3", one, ours, func(s *corev1.Secret) { s.Labels[pullsecrets.ClusterPullSecretLabel] = "" })
	runRows(t, knativetesting.TableTest{{
		Name:    "a conflict that the namespace causes",
		Objects: []runtime.Object{asks("team"), steady(), sourceOf("7", one), unnamed},
		OtherTestData: prepared(func(r *Reconciler) {
			missingFor(r, gracePeriod, "team")
			r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, outdated bool) failure {
				if outdated {
					panic("the probe patches a Secret that is no copy")
				}
				return conflicting(namespace)
			}
		}),
		WantStatusUpdates: status(counted(1, 1, 0, 1, 0), failed(conflicting("team").NamespaceFailure)), WantErr: true,
	}})
}

// If the source is not valid, namespaces are not probed, and the condition SourceReady
// says what is wrong.
func TestMissingSourceIsNotProbed(t *testing.T) {
	runRows(t, knativetesting.TableTest{{
		Name:              "a namespace asks for the copy",
		Objects:           []runtime.Object{asks("team"), steady()},
		OtherTestData:     prepared(func(r *Reconciler) { missingFor(r, time.Hour, "team") }),
		WantStatusUpdates: status(lost, counted(1, 1, 0, 0, 0)), WantErr: true,
	}})
}

// The distribution of a version is reported once, even if a copy fails and recovers
// later.
func TestDistributedIsReportedOnce(t *testing.T) {
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
		t.Errorf("reported by %q and recorded %d times, want once", got, read()["pullsecrets.distribution.duration"])
	}
}

// A namespace is not probed twice within an interval, however often the ClusterPullSecret
// is reconciled, and probes are limited per reconciliation.
func TestProbesAreLimited(t *testing.T) {
	const namespaces = 2*probeBatch + 1
	objects := []runtime.Object{steady(), sourceOf("7", one)}
	var missing []string
	for i := range namespaces {
		missing = append(missing, fmt.Sprintf("team-%03d", i))
		objects = append(objects, asks(missing[i]))
	}
	now, probed := noon, 0
	row := knativetesting.TableRow{Objects: objects, OtherTestData: prepared(func(r *Reconciler) {
		missingFor(r, gracePeriod, missing...)
		r.now = func() time.Time { return now }
		r.probe = func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
			probed++
			if namespace == missing[0] {
				return erroneous(namespace)
			}
			return conflicting(namespace)
		}
	})}
	c, _, _ := factory()(t, &row)
	for _, step := range []struct {
		after              time.Duration
		wantProbed, wantIn int // The latter is in seconds.
	}{
		{0, probeBatch, 1}, {0, 2 * probeBatch, 1}, {0, namespaces, 30}, {0, namespaces, 30},
		// All others could have been probed twice before a transient failure expires.
		{transientRetryInterval + 4*batchInterval, namespaces + 1, 30}, {retryInterval, namespaces + 1 + probeBatch, 1},
	} {
		now = now.Add(step.after)
		_, in := controller.IsRequeueKey(c.Reconcile(row.Ctx, "ghcr"))
		if probed != step.wantProbed || in != time.Duration(step.wantIn)*time.Second {
			t.Fatalf("%s after noon: %d probes, requeued after %s, want %d and %d s", now.Sub(noon), probed, in, step.wantProbed, step.wantIn)
		}
	}
}

// elder returns an older ClusterPullSecret with the same secretName.
func elder(name, team string) *v1alpha1.ClusterPullSecret {
	return ClusterPullSecret(name, func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.SecretName, cps.CreationTimestamp = "ghcr", metav1.NewTime(earlier)
		if team != "" {
			cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": team}
		}
	})
}

func younger(cps *v1alpha1.ClusterPullSecret) { cps.CreationTimestamp = metav1.NewTime(noon) }

// TestNameConflict lists the outcomes if two ClusterPullSecrets have the same secretName.
func TestNameConflict(t *testing.T) {
	contested := func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkNameConflict("ghcr", "elder") }
	red, blue := WithNamespaceLabel("team", "red"), WithNamespaceLabel("team", "blue")
	runRows(t, knativetesting.TableTest{
		{
			Name:              "the older one serves namespaces that both select",
			Objects:           []runtime.Object{asks("a", red), asks("b", blue), elder("elder", "red"), steady(younger), sourceOf("7", one), copied("b", "7", one)},
			WantStatusUpdates: status(younger, counted(2, 1, 1, 0, 0), contested),
		}, {
			Name:    "of the same age, the first by name serves",
			Objects: []runtime.Object{asks("a"), elder("elder", ""), steady(func(c *v1alpha1.ClusterPullSecret) { c.CreationTimestamp = metav1.NewTime(earlier) }), sourceOf("7", one)},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) { c.CreationTimestamp = metav1.NewTime(earlier) },
				counted(1, 0, 0, 0, 0), contested),
		}, {
			Name:              "the conflict ends",
			Objects:           []runtime.Object{asks("a"), steady(younger, contested), sourceOf("7", one), copied("a", "7", one)},
			WantStatusUpdates: status(younger),
			WantEvents:        []string{"Normal Distributed 1 of 1 namespaces have a copy of the source at resourceVersion 7"},
		},
	})
}

// The same one of several older ClusterPullSecrets is reported in whatever order
// namespaces are counted. Otherwise the status would be rewritten again and again.
func TestNameConflictIsStable(t *testing.T) {
	for range 20 {
		v := newVerdicts(basis{})
		for namespace, one := range map[string]verdict{"a": {older: "elder"}, "b": {older: "ancient"}, "c": {older: "elder"}} {
			v.set(namespace, one)
		}
		if got := v.sum(); got.older != "ancient" || got.counts.Selected != 3 {
			t.Fatalf("%s is reported in %d namespaces, want ancient, the first by name, in 3", got.older, got.counts.Selected)
		}
	}
}

// The event of one copy costs the inspection of one namespace. A change that affects all
// namespaces costs the inspection of all.
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
			t.Errorf("%s: %d copies are synced, want %d", reason, got.counts.Synced, want)
		}
	}
	synced("first, all are inspected", 1)
	r.secrets = NewListers([]runtime.Object{copied("a", "7", one), copied("b", "7", one), copied("c", "7", one)}).Copies()
	synced("without an event", 1)
	r.tallies.markChanged(cps.Name, "b")
	synced("a copy was created", 2)
	r.tallies.markChanged(cps.Name, "c")
	synced("a Namespace changed", 3)
	r.secrets = NewListers([]runtime.Object{copied("a", "8", one)}).Copies()
	r.tallies.markChanged(cps.Name, "b")
	synced("a copy was deleted", 2)
	r.tallies.Clear()
	synced("a setting changed", 0)
	cps.Status.Source.ResourceVersion = "8"
	synced("the source changed", 1)
	cps.Generation, cps.Spec.NamespaceSelector.MatchLabels = 2, map[string]string{"team": "other"}
	r.catalog = catalog.New(NewListers([]runtime.Object{cps}).ClusterPullSecrets())
	synced("the selector changed", 0)
}

// The incremental sum equals the sum of all verdicts after any changes.
func TestSumMatchesVerdicts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	v := newVerdicts(basis{})
	for range 2000 {
		namespace := fmt.Sprint("ns-", random.IntN(20))
		v.drop(namespace)
		if random.IntN(4) > 0 {
			v.set(namespace, []verdict{{}, {older: "elder"}, {older: "ancient"}, {wanted: true}, {wanted: true, synced: true}}[random.IntN(5)])
		}
		expected := newVerdicts(basis{})
		for namespace, one := range v.byNamespace {
			expected.set(namespace, one)
		}
		if diff := cmp.Diff(expected.sum(), v.sum(), cmp.AllowUnexported(tally{})); diff != "" {
			t.Fatalf("incremental sum (-want, +got): %s", diff)
		}
	}
}

// BenchmarkTally counts a ClusterPullSecret again after an event in one namespace. Its
// cost does not depend on the number of selected namespaces.
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
				tallies: newReconciler().tallies, sources: source.NewReader(nil),
				catalog: catalog.New(listers.ClusterPullSecrets()), namespaces: listers.Namespaces(),
				services: listers.Services(), secrets: listers.Copies(),
			}
			ctx := config.WithConfig(b.Context(), config.Default())
			count := func() {
				if t, err := r.tally(ctx, cps); err != nil || t.counts.Synced != int32(size) {
					b.Fatalf("%d copies are synced, want %d: %v", t.counts.Synced, size, err)
				}
			}
			count()
			for i := 0; b.Loop(); i++ {
				r.tallies.markChanged(cps.Name, fmt.Sprint("ns-", i%500))
				count()
			}
		})
	}
}

// The duration of a distribution is recorded once, when it is complete.
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

// A process that is too busy to count the copies soon after a rotation still waits for
// them. Otherwise it would report a distribution without a copy.
func TestCopiesArePendingHoweverLateTheyAreCounted(t *testing.T) {
	s := newReconciler().diagnoses
	s.track("ghcr", nil, noon, noon)
	rotated := noon.Add(time.Hour)
	for _, late := range []time.Duration{time.Minute, 2 * time.Minute} {
		if a := s.track("ghcr", []string{"a"}, rotated, rotated.Add(late)); !a.pending.Has("a") {
			t.Errorf("counted %s after the rotation, a is not pending", late)
		}
	}
}

// A tenant whose copy is deleted and recreated again and again delays neither the
// diagnosis of others nor the distribution.
func TestAbsencesAreByNamespace(t *testing.T) {
	s := newReconciler().diagnoses
	rotated := noon
	for second := range 60 {
		now := noon.Add(time.Duration(second) * time.Second)
		missing := []string{"b"}
		if second >= 1 && second%4 < 2 {
			missing = []string{"a", "b"}
		}
		a := s.track("ghcr", missing, rotated, now)
		if want := now.Sub(noon) >= gracePeriod; slices.Contains(a.overdue, "b") != want {
			t.Fatalf("after %d s b is overdue: %t, want %t", second, !want, want)
		}
		if second > 8 && a.pending.Has("a") {
			t.Fatalf("after %d s a still counts as pending, though it had its copy", second)
		}
		if !a.pending.Has("b") {
			t.Fatalf("after %d s b is not pending, though it never had its copy", second)
		}
		if (a.next > 0) != (len(a.overdue) < len(missing)) || a.next > gracePeriod {
			t.Fatalf("after %d s the next is due in %s, with %q overdue of %q", second, a.next, a.overdue, missing)
		}
	}
}
