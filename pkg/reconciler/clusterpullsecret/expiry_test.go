// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

// expiring sets the annotation of a source to a time after noon.
func expiring(after time.Duration) func(*corev1.Secret) { return annotated(stamp(after)) }

func annotated(value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Annotations = map[string]string{pullsecrets.ExpiresAnnotation: value} }
}

func stamp(after time.Duration) string { return noon.Add(after).UTC().Format(time.RFC3339) }

// expires sets the time in the status to one after noon.
func expires(after time.Duration) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Expires = new(metav1.NewTime(noon.Add(after))) }
}

func expired(after time.Duration) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.MarkSourceExpired(ref, metav1.NewTime(noon.Add(after)))
	}
}

func heldExpired(after time.Duration) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.MarkSourceHeldExpired(ref, metav1.NewTime(noon.Add(after)))
	}
}

func soon(after time.Duration) string {
	return fmt.Sprintf("Warning CredentialExpires A credential in Secret %s expires at %s; replace it before", ref, stamp(after))
}

func over(after time.Duration) string {
	return fmt.Sprintf("Warning CredentialExpires A credential in Secret %s expired at %s; replace it", ref, stamp(after))
}

// The first credential was seen an hour before noon.
func TestExpiry(t *testing.T) {
	const hour = time.Hour
	has := copied("team", "7", one)
	runRows(t, knativetesting.TableTest{
		{
			Name: "in a long time", WantErr: true, // It is requeued.
			Objects:           []runtime.Object{asks("team"), steady(), sourceOf("7", one, expiring(9*hour)), has},
			WantStatusUpdates: status(expires(9 * hour)),
		}, {
			Name: "within a fifth of its life", WantErr: true,
			Objects:    []runtime.Object{asks("team"), steady(expires(24 * hour)), sourceOf("7", one, expiring(24*hour)), has},
			WantEvents: nil,
		}, {
			Name: "within the last fifth", WantErr: true,
			Objects: []runtime.Object{asks("team"), steady(expires(2*hour), func(cps *v1alpha1.ClusterPullSecret) {
				cps.Status.Source.LastChanged = new(metav1.NewTime(noon.Add(-9 * hour)))
			}), sourceOf("7", one, expiring(2*hour)), has},
			WantEvents: []string{soon(2 * hour)},
		}, {
			Name: "within an hour, which is half of its life", WantErr: true,
			Objects: []runtime.Object{asks("team"), steady(expires(hour)), sourceOf("7", one, expiring(hour)), has},
		}, {
			Name: "within the last quarter of a short life", WantErr: true,
			Objects:    []runtime.Object{asks("team"), steady(expires(hour / 3)), sourceOf("7", one, expiring(hour/3)), has},
			WantEvents: []string{soon(hour / 3)},
		}, {
			Name:              "over: the copies stay in use",
			Objects:           []runtime.Object{asks("team"), steady(expires(-time.Second)), sourceOf("7", one, expiring(-time.Second)), has},
			WantStatusUpdates: status(expires(-time.Second), expired(-time.Second)),
			WantEvents:        []string{over(-time.Second)},
		}, {
			Name:              "no longer known",
			Objects:           []runtime.Object{asks("team"), steady(expires(hour)), sourceOf("8", one), has},
			WantStatusUpdates: status(),
		}, {
			Name:    "an annotation that is no time is reported",
			Objects: []runtime.Object{asks("team"), steady(), sourceOf("7", one, annotated("soon")), has},
			WantStatusUpdates: status(func(cps *v1alpha1.ClusterPullSecret) {
				cps.Status.MarkSourceQuestionable(ref, []string{`annotation pullsecrets.dev/expires: "soon" is not a time as in RFC 3339, such as 2026-01-31T12:00:00Z; it is ignored`})
			}),
			WantEvents: []string{"Warning SourceQuestionable Secret pullsecrets-sources/ghcr is used, but is probably misconfigured: " +
				`annotation pullsecrets.dev/expires: "soon" is not a time as in RFC 3339, such as 2026-01-31T12:00:00Z; it is ignored`},
		}, {
			Name: "a source that is gone says nothing about the copies", WantErr: true,
			Objects:           []runtime.Object{asks("team"), steady(expires(hour / 3)), has},
			WantStatusUpdates: status(expires(hour/3), lost),
			WantEvents:        []string{soon(hour / 3)},
		},
	})
}

// A credential whose key is not shown is announced as well. Its time is not that of the single
// registry in the status, for which readers would take it.
func TestExpiryOfAHiddenKey(t *testing.T) {
	const third = time.Hour / 3
	claims := fmt.Sprintf(`{"exp":%d}`, noon.Add(third).Unix())
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
	hiding := func(s *corev1.Secret) {
		s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"Registry:5000":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("robot:"+token)) + `"},"ghcr.io":{"auth":"` + one + `"}}}`)
	}
	questionable := func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.MarkSourceQuestionable(ref, []string{"entry 1: matches only images with the same spelling; use lower case"})
	}
	whole := copied("team", "7", one)
	hiding(whole)
	runRows(t, knativetesting.TableTest{{
		Name: "beside one that is shown", WantErr: true, // It is requeued.
		Objects:    []runtime.Object{asks("team"), steady(questionable), sourceOf("7", one, hiding), whole},
		WantEvents: []string{soon(third)},
	}})
	at := metav1.NewTime(noon)
	for _, test := range []struct {
		reason string
		facts  source.Facts
		want   *metav1.Time
	}{
		{"a hidden one beside a single one", source.Facts{Registries: []string{"ghcr.io"}, Life: dockerconfig.Life{Expires: at}}, nil},
		{"a single one", source.Facts{Registries: []string{"ghcr.io"}, Life: dockerconfig.Life{Expires: at}, ShownExpires: at}, &at},
		{"several, of which readers take none for the first", source.Facts{Registries: []string{"ghcr.io", "quay.io"}, Life: dockerconfig.Life{Expires: at}}, &at},
		{"a hidden one alone", source.Facts{Life: dockerconfig.Life{Expires: at}}, &at},
	} {
		if got := expiresOf(test.facts); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.reason, got, test.want)
		}
	}
}

func TestExpiredNeverReplacesGood(t *testing.T) {
	const hour = time.Hour
	has := copied("team", "7", one)
	held := fmt.Sprintf("Warning CredentialExpires Secret %s has changed, and a credential in it expired at %s; existing copies are kept, because the one that it would replace is not known to have expired", ref, stamp(-hour))
	runRows(t, knativetesting.TableTest{
		{
			Name:              "replaces one whose expiry is not known: it is held",
			Objects:           []runtime.Object{asks("team"), steady(), sourceOf("9", two, expiring(-hour)), has},
			WantStatusUpdates: status(heldExpired(-hour)),
			WantEvents:        []string{held},
		}, {
			Name: "replaces one that is valid: it is held until then", WantErr: true,
			Objects:           []runtime.Object{asks("team"), steady(expires(9 * hour)), sourceOf("9", two, expiring(-hour)), has},
			WantStatusUpdates: status(expires(9*hour), heldExpired(-hour)),
			WantEvents:        []string{held},
		}, {
			Name:              "replaces one that has expired",
			Objects:           []runtime.Object{asks("team"), steady(expires(-2 * hour)), sourceOf("9", two, expiring(-hour)), has},
			WantStatusUpdates: status(expires(-hour), expired(-hour), atVersion("9"), distributing),
		}, {
			Name: "replaces none",
			Objects: []runtime.Object{
				asks("team"), steady(fresh, func(cps *v1alpha1.ClusterPullSecret) { cps.Finalizers = []string{pullsecrets.FinalizerName} }), sourceOf("9", two, expiring(-hour)),
			},
			WantStatusUpdates: status(expires(-hour), func(cps *v1alpha1.ClusterPullSecret) {
				cps.Status.Namespaces, cps.Status.Conditions = nil, nil
				cps.Status.InitializeConditions()
			}, expired(-hour), atVersion("9"), distributing),
		},
	})
}

// login returns the entry of a registry whose credential expires so long after noon. Those with
// different users are different.
func login(registry, user string, after time.Duration) string {
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, noon.Add(after).Unix())) + ".c2ln"
	return fmt.Sprintf(`%q:{"auth":%q}`, registry, base64.StdEncoding.EncodeToString([]byte(user+":"+token)))
}

// Of several credentials, each is compared with the one that it replaces.
func TestExpiredNeverReplacesGoodOfTheSameRegistry(t *testing.T) {
	const hour, old, gone = time.Hour, -9 * time.Hour, -time.Hour
	const ghcr, quay = "ghcr.io", "quay.io"
	dead, good := login(ghcr, "dead", old), login(quay, "good", 9*hour)
	selects := func(registries ...string) ClusterPullSecretOption {
		return func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Registries = registries }
	}
	for _, test := range []struct {
		reason        string
		before, after []string
		// restarted means that the process has not seen what the copies have.
		restarted bool
		// first and edit change the ClusterPullSecret, before and instead of the source.
		first, edit ClusterPullSecretOption
		held        bool
		// until is when the source is not held any longer.
		until time.Duration
	}{
		{reason: "the good one of two is replaced", before: []string{dead, good}, after: []string{dead, login(quay, "new", gone)}, held: true, until: 9 * hour},
		{reason: "the dead one of two is replaced by another one", before: []string{dead, good}, after: []string{login(ghcr, "new", gone), good}},
		{reason: "the good one of two is rotated", before: []string{dead, good}, after: []string{dead, login(quay, "new", 12*hour)}},
		{reason: "a dead one is added to a rotation", before: []string{good}, after: []string{dead, login(quay, "new", 12*hour)}},
		{reason: "the good one is removed", before: []string{dead, good}, after: []string{dead}},
		{reason: "a dead one for a path of the host hides the good one", before: []string{good}, after: []string{login(quay+"/acme", "new", gone), good}, held: true, until: 9 * hour},
		{reason: "a dead one for the host replaces the good one for a path", before: []string{login(quay+"/acme", "good", 9*hour)}, after: []string{login(quay, "new", gone)}, held: true, until: 9 * hour},
		{reason: "the good one moves to a path, and a dead one is for the rest", before: []string{good}, after: []string{login(quay+"/acme", "good", 9*hour), login(quay, "new", gone)}, held: true, until: 9 * hour},
		{reason: "spec.registries selects a dead one as well", before: []string{dead, good}, after: []string{dead, good}, first: selects(quay), edit: selects(ghcr, quay)},
		{reason: "the good one is replaced, after a restart", before: []string{dead, good}, after: []string{dead, login(quay, "new", gone)}, restarted: true, held: true},
		{reason: "the good one is rotated, after a restart", before: []string{dead, good}, after: []string{dead, login(quay, "new", 12*hour)}, restarted: true},
		{reason: "a dead one is added to a rotation, after a restart", before: []string{good}, after: []string{dead, login(quay, "new", 12*hour)}, restarted: true},
		{reason: "a dead one is replaced by another one, after a restart", before: []string{dead, good}, after: []string{login(ghcr, "new", gone), good}, restarted: true, held: true},
		{reason: "the only one is replaced, after a restart", before: []string{good}, after: []string{login(quay, "new", gone)}, restarted: true, held: true, until: 9 * hour},
	} {
		t.Run(test.reason, func(t *testing.T) {
			with := func(version string, entries []string) *corev1.Secret {
				return sourceOf(version, one, func(s *corev1.Secret) {
					s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{` + strings.Join(entries, ",") + `}}`)
				})
			}
			a := newAsking(t, without, func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Verify = nil })
			if test.first != nil {
				test.first(a.cps)
			}
			a.replace(with("8", test.before))
			a.reconcile()
			if got := a.cps.Status.Source; got == nil || got.ResourceVersion != "8" {
				t.Fatalf("the first source is not distributed: %+v", got)
			}
			a.events()
			if test.restarted {
				a.r.sources.Keep(nil)
			}
			version := "9"
			if test.edit != nil {
				test.edit(a.cps)
				version = "8"
			}
			a.replace(with(version, test.after))
			again := a.reconcile()
			ready := a.cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
			if held := ready.IsFalse() && ready.Reason == v1alpha1.ReasonSourceExpired && a.cps.Status.Source.ResourceVersion == "8"; held != test.held {
				t.Fatalf("SourceReady is %+v, the copies are of %s; held: %t, want %t", ready, a.cps.Status.Source.ResourceVersion, held, test.held)
			}
			if !test.held {
				if got := a.cps.Status.Source.ResourceVersion; got != version {
					t.Errorf("the copies are of version %s, want %s", got, version)
				}
				return
			}
			if got := a.events(); !slices.Contains(got, "CredentialExpires") {
				t.Errorf("Events %q, want one that it is held", got)
			}
			if test.until == 0 {
				return
			}
			if again <= 0 || again > test.until {
				t.Errorf("it is requeued after %s, want at most %s", again, test.until)
			}
			a.now = noon.Add(test.until)
			if a.reconcile(); a.cps.Status.Source.ResourceVersion != "9" {
				t.Error("it is held when the copies have expired as well")
			}
		})
	}
}

// A credential that has expired does not silence the one that expires next.
func TestExpiryOfTheNext(t *testing.T) {
	const good = 20 * time.Minute
	a := newAsking(t, without, func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Verify = nil })
	a.replace(sourceOf("8", one, func(s *corev1.Secret) {
		s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{` + login("ghcr.io", "dead", -time.Hour) + "," + login("quay.io", "good", good) + `}}`)
	}))
	a.reconcile()
	a.events()
	for _, step := range []struct {
		now, most time.Duration
		want      []string
	}{
		{0, good, []string{"CredentialExpires"}},
		{good - time.Minute, time.Minute, []string{"CredentialExpires"}},
		{good, 0, nil},
	} {
		a.now = noon.Add(step.now)
		if again := a.r.reportExpiry(a.ctx, a.cps); again > step.most || (again > 0) != (step.most > 0) {
			t.Errorf("after %s, it is requeued after %s, want at most %s", step.now, again, step.most)
		}
		if got := a.events(); !slices.Equal(got, step.want) {
			t.Errorf("after %s: Events %q, want %q", step.now, got, step.want)
		}
	}
}

// The requeue is at the next time that there is something to report, and the metric has the
// time itself.
func TestExpiryIsNotPolled(t *testing.T) {
	metrics := Metrics(t)
	cps := steady()
	row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), cps, copied("team", "7", one)}}
	var r *Reconciler
	row.OtherTestData = prepared(func(made *Reconciler) { r = made })
	factory()(t, &row)
	secrets := kubeclient.Get(row.Ctx).CoreV1().Secrets(ref.Namespace)
	if _, err := secrets.Create(row.Ctx, sourceOf("7", one, expiring(9*time.Hour)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const series = "pullsecrets.credential.expires{cluster_pull_secret=ghcr}"
	for _, step := range []struct{ now, want time.Duration }{
		{0, 7 * time.Hour}, {7 * time.Hour, 2 * time.Hour}, {9*time.Hour - time.Second, time.Second}, {9 * time.Hour, 0},
	} {
		r.now = func() time.Time { return noon.Add(step.now) }
		err := r.ReconcileKind(row.Ctx, cps)
		requeue, after := controller.IsRequeueKey(err)
		if !requeue && err != nil || after != step.want {
			t.Errorf("%s after noon: requeued after %s (%v), want %s", step.now, after, err, step.want)
		}
		if got := metrics()[series]; got != noon.Add(9*time.Hour).Unix() {
			t.Errorf("the metric is %d", got)
		}
	}
	if _, err := secrets.Update(row.Ctx, sourceOf("8", one), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := r.ReconcileKind(row.Ctx, cps); err != nil {
		t.Error(err)
	}
	if _, found := metrics()[series]; found {
		t.Error("a credential without expiry has a series")
	}
}

// A change of spec.registries changes the copies without a new version of the source.
func TestRegistriesChangeCopies(t *testing.T) {
	scoped := func(registries ...string) ClusterPullSecretOption {
		return func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Registries = registries }
	}
	covers := func(registries ...string) ClusterPullSecretOption {
		return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = registries }
	}
	hiding := func(s *corev1.Secret) {
		s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"Registry:5000":{"auth":"` + two + `"},"ghcr.io":{"auth":"` + one + `"}}}`)
	}
	whole := copied("team", "7", one)
	hiding(whole)
	hidden := func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.MarkSourceQuestionable(ref, []string{"entry 1: matches only images with the same spelling; use lower case"})
	}
	lacks := func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkSourceLacks(ref, []string{"quay.io"}) }
	runRows(t, knativetesting.TableTest{
		{
			Name:              "restricted",
			Objects:           []runtime.Object{asks("team"), steady(scoped("ghcr.io/acme")), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(scoped("ghcr.io/acme"), covers("ghcr.io/acme"), atVersion("7"), distributing),
		}, {
			Name: "the copies have that version, and are still those of the whole source", WantErr: true,
			Objects:           []runtime.Object{asks("team"), steady(scoped("ghcr.io/acme"), covers("ghcr.io/acme"), distributing), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(scoped("ghcr.io/acme"), covers("ghcr.io/acme"), distributing, counted(1, 1, 0, 0, 0)),
		}, {
			Name:              "no longer restricted",
			Objects:           []runtime.Object{asks("team"), steady(covers("ghcr.io/acme")), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(atVersion("7"), distributing),
		}, {
			Name:              "restricted to all keys that are shown",
			Objects:           []runtime.Object{asks("team"), steady(scoped("ghcr.io"), covers("ghcr.io")), sourceOf("7", one, hiding), whole},
			WantStatusUpdates: status(scoped("ghcr.io"), covers("ghcr.io"), atVersion("7"), distributing),
		}, {
			Name:    "a source with a key that is not shown, after a restart",
			Objects: []runtime.Object{asks("team"), steady(covers("ghcr.io"), hidden), sourceOf("7", one, hiding), whole},
		}, {
			Name:              "the source does not cover it: the copies stay",
			Objects:           []runtime.Object{asks("team"), steady(scoped("ghcr.io/acme", "quay.io")), sourceOf("7", one), copied("team", "7", one)},
			WantStatusUpdates: status(scoped("ghcr.io/acme", "quay.io"), lacks),
			WantEvents: []string{"Warning SourceInvalid Secret pullsecrets-sources/ghcr has no credential for all images below these of spec.registries: quay.io" +
				"; existing copies are kept"},
		},
	})
}

// A fifth of the life, and at least an hour, but no more than a quarter of the life.
func TestNotice(t *testing.T) {
	const day = 24 * time.Hour
	for life, want := range map[time.Duration]time.Duration{
		365 * day: 73 * day, 12 * time.Hour: 144 * time.Minute, 5 * time.Hour: time.Hour, 4 * time.Hour: time.Hour,
		2 * time.Hour: 30 * time.Minute, time.Hour: 15 * time.Minute, time.Minute: 15 * time.Second, -time.Hour: 0,
	} {
		if got := noticeOf(dockerconfig.Life{Begins: metav1.NewTime(noon), Expires: metav1.NewTime(noon.Add(life))}); got != want {
			t.Errorf("a life of %s: %s before its end, want %s", life, got, want)
		}
	}
}

// A source that a tool refreshes in time causes no Event, and one that is refreshed no more causes
// one before its end and one at its end.
func TestRefreshedInTimeIsSilent(t *testing.T) {
	for _, tt := range []struct{ life, every time.Duration }{
		{time.Hour, 30 * time.Minute}, {time.Hour, 40 * time.Minute}, {12 * time.Hour, 6 * time.Hour}, {12 * time.Hour, 8 * time.Hour},
	} {
		t.Run(fmt.Sprintf("%s of %s", tt.every, tt.life), func(t *testing.T) {
			cps := steady(func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Source.LastChanged = new(metav1.NewTime(noon)) }, expires(tt.life))
			row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), cps}}
			var r *Reconciler
			row.OtherTestData = prepared(func(made *Reconciler) { r = made })
			_, _, recorded := factory()(t, &row)
			var now time.Duration
			r.now = func() time.Time { return noon.Add(now) }
			// until reports at each time that is asked for, up to the end.
			until := func(end time.Duration) {
				for now < end {
					next := r.reportExpiry(row.Ctx, cps)
					if next == 0 || now+next > end {
						now = end
						return
					}
					now += next
				}
			}
			for range 20 {
				until(now + tt.every)
				cps.Status.Source.LastChanged, cps.Status.Expires = new(metav1.NewTime(noon.Add(now))), new(metav1.NewTime(noon.Add(now+tt.life)))
			}
			end := now + tt.life
			until(end)
			r.reportExpiry(row.Ctx, cps)
			if got, want := recorded.Events(), []string{soon(end), over(end)}; !slices.Equal(got, want) {
				t.Errorf("Events of a source that is refreshed, and then no more: %q, want %q", got, want)
			}
		})
	}
}
