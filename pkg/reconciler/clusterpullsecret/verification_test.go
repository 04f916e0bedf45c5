// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"knative.dev/pkg/apis"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/verify"
)

// asking is a reconciler whose registry is a function, with a clock and one ClusterPullSecret
// that verifies the image ghcr.io/acme/app.
type asking struct {
	t   *testing.T
	r   *Reconciler
	ctx context.Context
	cps *v1alpha1.ClusterPullSecret
	now time.Time
	// answer is the result for a password, and asked are the passwords that were sent.
	answer func(password string) verify.Result
	asked  []string
	// background are checks that wait to run, and enqueued counts those that ended.
	background []func()
	enqueued   int
	recorder   *record.FakeRecorder
}

// Check implements checker.
func (a *asking) Check(_ context.Context, config dockerconfig.Config, questions []verify.Question, _ bool) (answers []verify.Answer) {
	for _, q := range questions {
		_, password, _ := config.LoginOf(q.Registry, q.Image)
		a.asked = append(a.asked, password)
		answers = append(answers, verify.Answer{Question: q, Result: a.answer(password), Why: "so it says"})
	}
	return answers
}

func newAsking(t *testing.T, edits ...ClusterPullSecretOption) *asking {
	t.Helper()
	return newAskingWith(t, nil, edits...)
}

// newAskingWith returns an asking in a cluster with these objects, too.
func newAskingWith(t *testing.T, objects []runtime.Object, edits ...ClusterPullSecretOption) *asking {
	t.Helper()
	a := &asking{t: t, now: noon, recorder: record.NewFakeRecorder(100), answer: func(string) verify.Result { return verify.Accepted }}
	a.cps = steady(append([]ClusterPullSecretOption{func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Verify = &v1alpha1.Verify{Images: []string{"ghcr.io/acme/app"}}
	}}, edits...)...)
	row := knativetesting.TableRow{Objects: append([]runtime.Object{asks("team"), a.cps, copied("team", "7", one)}, objects...)}
	row.OtherTestData = prepared(func(made *Reconciler) {
		a.r = made
		made.checker, made.now = a, func() time.Time { return a.now }
		made.inBackground = func(do func()) { a.background = append(a.background, do) }
		made.enqueue = func(string) { a.enqueued++ }
	})
	factory()(t, &row)
	a.ctx = controller.WithEventRecorder(row.Ctx, a.recorder)
	if _, err := kubeclient.Get(a.ctx).CoreV1().Secrets(ref.Namespace).Create(a.ctx, sourceOf("7", one), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return a
}

// rotate replaces the source.
func (a *asking) rotate(version, password string) {
	a.t.Helper()
	a.replace(sourceOf(version, password))
}

func (a *asking) replace(source *corev1.Secret) {
	a.t.Helper()
	if _, err := kubeclient.Get(a.ctx).CoreV1().Secrets(ref.Namespace).Update(a.ctx, source, metav1.UpdateOptions{}); err != nil {
		a.t.Fatal(err)
	}
}

// reconcile reconciles once, and returns the requeue delay.
func (a *asking) reconcile() time.Duration {
	a.t.Helper()
	err := a.r.ReconcileKind(a.ctx, a.cps)
	requeue, after := controller.IsRequeueKey(err)
	if err != nil && !requeue {
		a.t.Fatal(err)
	}
	a.cps.Status.ObservedGeneration = a.cps.Generation
	return after
}

// finish runs the checks that wait, and reconciles as their end makes it.
func (a *asking) finish() time.Duration {
	a.t.Helper()
	for _, do := range a.background {
		do()
	}
	a.background = nil
	return a.reconcile()
}

// expect compares the status: that of SourceReady and CredentialAccepted, and the version of
// the copies.
func (a *asking) expect(reason string, source, accepted corev1.ConditionStatus, version string) {
	a.t.Helper()
	s := &a.cps.Status
	gotSource := s.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
	gotAccepted := s.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted)
	if gotSource == nil || gotAccepted == nil || gotSource.Status != source || gotAccepted.Status != accepted || s.Source == nil || s.Source.ResourceVersion != version {
		a.t.Errorf("%s: SourceReady %+v, CredentialAccepted %+v, source %+v; want %s, %s, %s", reason, gotSource, gotAccepted, s.Source, source, accepted, version)
	}
}

// events returns the reasons of the Events since the last call.
func (a *asking) events() (reasons []string) {
	for {
		select {
		case event := <-a.recorder.Events:
			reasons = append(reasons, strings.Fields(event)[1])
		default:
			return reasons
		}
	}
}

const (
	yes, no, maybe = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
)

// A rejected credential replaces no copies, however long the registry rejects it, and is
// distributed soon after the registry accepts it.
func TestRejectedCredentialIsHeld(t *testing.T) {
	metrics := Metrics(t)
	a := newAsking(t)
	a.reconcile()
	a.finish()
	a.expect("the credential of the copies", yes, yes, "7")
	a.answer = func(password string) verify.Result {
		if password == "two" {
			return verify.Rejected
		}
		return verify.Accepted
	}
	a.rotate("9", two)
	if after := a.reconcile(); after <= 0 || after > checkTimeout {
		t.Errorf("while the check runs, it is requeued after %s", after)
	}
	a.expect("while the check runs", maybe, maybe, "7")
	for range 12 { // An hour.
		if after := a.finish(); after <= 0 || after > rejectedRetry+rejectedRetry/10 {
			t.Fatalf("rejected, it is requeued after %s", after)
		}
		a.expect("rejected", no, no, "7")
		a.now = a.now.Add(rejectedRetry + rejectedRetry/10)
		a.reconcile()
		a.expect("while it is tried again", no, no, "7")
	}
	if got := a.events(); !slices.Equal(got, []string{"CredentialRejected"}) {
		t.Errorf("Events %q, want one", got)
	}
	if got := metrics(); got["pullsecrets.credential.rejected{cluster_pull_secret=ghcr}"] != 1 ||
		got["pullsecrets.credential.checks{result=rejected}"] != 12 {
		t.Errorf("metrics: %v", got)
	}
	a.answer = func(string) verify.Result { return verify.Accepted }
	a.finish()
	a.expect("accepted", yes, yes, "9")
	if got := metrics()["pullsecrets.credential.rejected{cluster_pull_secret=ghcr}"]; got != 0 {
		t.Errorf("the metric is %d", got)
	}
}

// An entry that spec.registries newly selects is new in the copies, so its rejection holds it,
// although the source has not changed.
func TestRejectedEntryOfAnotherRegistryIsHeld(t *testing.T) {
	a := newAsking(t, func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Verify.Images, cps.Spec.Registries = append(cps.Spec.Verify.Images, "quay.io/acme/app"), []string{"ghcr.io"}
	})
	a.replace(sourceOf("8", one, func(s *corev1.Secret) {
		s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"ghcr.io":{"auth":"` + one + `"},"quay.io":{"auth":"` + two + `"}}}`)
	}))
	a.answer = func(password string) verify.Result {
		if password == "two" {
			return verify.Rejected
		}
		return verify.Accepted
	}
	a.reconcile()
	a.finish()
	if got := a.cps.Status.Registries; !slices.Equal(got, []string{"ghcr.io"}) {
		t.Fatalf("the copies have %q", got)
	}
	a.cps.Spec.Registries = append(a.cps.Spec.Registries, "quay.io")
	a.cps.Generation++
	for range 3 {
		a.reconcile()
		a.finish()
		if got := a.cps.Status.Registries; !slices.Equal(got, []string{"ghcr.io"}) {
			t.Fatalf("the copies have %q, want the rejected entry held", got)
		}
	}
}

// withoutRoute makes a Service not Ready whose Revision is.
func withoutRoute(svc *servingv1.Service) {
	for i := range svc.Status.Conditions {
		if of := &svc.Status.Conditions[i]; of.Type == apis.ConditionReady || of.Type == servingv1.ServiceConditionRoutesReady {
			of.Status = no
		}
	}
}

// The rejection of an image of a Service counts if its newest Revision is Ready and its Pods use the copy, by
// the list of the template, or without one by that of their ServiceAccount.
func TestRejectionOfAnImageThatUsesTheCopy(t *testing.T) {
	const name = "ghcr"
	app := func(options ...ServiceOption) *servingv1.Service {
		return Service("team", "app", append([]ServiceOption{WithImage("ghcr.io/acme/app")}, options...)...)
	}
	for _, test := range []struct {
		reason  string
		objects []runtime.Object
		held    bool
	}{
		{"the template lists it", []runtime.Object{app(WithPullSecrets(name))}, true},
		{"the ServiceAccount lists it", []runtime.Object{app(), ServiceAccount("team", "default", nil, "other", name)}, true},
		{"its own ServiceAccount lists it", []runtime.Object{app(WithServiceAccount("builder")), ServiceAccount("team", "builder", nil, name)}, true},
		{"another ServiceAccount lists it", []runtime.Object{app(WithServiceAccount("builder")), ServiceAccount("team", "default", nil, name)}, false},
		{"the template hides what the ServiceAccount lists", []runtime.Object{app(WithPullSecrets("other")), ServiceAccount("team", "default", nil, name)}, false},
		{"the Service is not Ready, because of its Route", []runtime.Object{app(WithPullSecrets(name), withoutRoute)}, true},
		{"its status is of an older generation", []runtime.Object{app(WithPullSecrets(name), func(svc *servingv1.Service) { svc.Generation++ })}, false},
		{"the newest Revision is not Ready", []runtime.Object{app(WithConfigurationsReady(no)), ServiceAccount("team", "default", nil, name)}, false},
		{"the ServiceAccount does not exist", []runtime.Object{app()}, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			a := newAskingWith(t, test.objects, func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Verify.Images = nil })
			a.answer = func(password string) verify.Result {
				return map[bool]verify.Result{true: verify.Rejected, false: verify.Accepted}[password == "two"]
			}
			a.reconcile()
			a.finish()
			a.expect("the credential of the copies", yes, yes, "7")
			a.rotate("9", two)
			a.reconcile()
			a.finish()
			if test.held {
				a.expect("rejected", no, no, "7")
			} else {
				a.expect("nothing is proven", yes, maybe, "9")
			}
		})
	}
}

// A corrected source is checked at once.
func TestCorrectedCredential(t *testing.T) {
	a := newAsking(t)
	a.answer = func(password string) verify.Result {
		return map[bool]verify.Result{true: verify.Rejected, false: verify.Accepted}[password == "two"]
	}
	a.reconcile()
	a.finish()
	a.rotate("9", two)
	a.reconcile()
	a.finish()
	a.expect("rejected", no, no, "7")
	a.rotate("10", one) // As before: the copies have it already.
	a.reconcile()
	a.expect("as it was", yes, maybe, "7")
	a.finish()
	a.expect("accepted", yes, yes, "7")
}

// A registry that does not say holds nothing up, and neither does a check that does not end.
func TestUnknownHoldsNothingUp(t *testing.T) {
	a := newAsking(t)
	a.answer = func(string) verify.Result { return verify.Unknown }
	a.reconcile()
	a.finish()
	a.expect("the credential of the copies", yes, maybe, "7")
	a.rotate("9", two)
	a.reconcile()
	a.expect("while the check runs", maybe, maybe, "7")
	a.finish()
	a.expect("the registry does not say", yes, maybe, "9")
	a.rotate("10", one)
	a.reconcile()
	a.expect("while the check hangs", maybe, maybe, "9")
	a.now = a.now.Add(checkTimeout)
	a.reconcile()
	a.expect("the check did not end", yes, maybe, "10")
	if got := a.events(); slices.Contains(got, "CredentialRejected") {
		t.Errorf("Events %q", got)
	}
}

// The first credential replaces nothing, so it is distributed while its check runs, and stays
// if it is rejected.
func TestFirstCredentialIsNotHeld(t *testing.T) {
	a := newAsking(t, without)
	a.answer = func(string) verify.Result { return verify.Rejected }
	a.reconcile()
	a.expect("while the check runs", yes, maybe, "7")
	a.finish()
	a.expect("rejected", yes, no, "7")
	if got := a.events(); !slices.Contains(got, "CredentialRejected") {
		t.Errorf("Events %q, want one that it is rejected", got)
	}
}

// The credential of the copies is checked again after the interval, and not before. A rejection
// touches no copies, and Ready does not depend on it.
func TestCredentialIsCheckedPeriodically(t *testing.T) {
	a := newAsking(t, func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Verify.Interval = &metav1.Duration{Duration: time.Hour}
	})
	a.reconcile()
	if after := a.finish(); after < time.Hour || after > time.Hour+6*time.Minute {
		t.Errorf("it is requeued after %s, want an hour and up to a tenth", after)
	}
	for range 5 {
		a.now = a.now.Add(10 * time.Minute)
		a.rotate("8", one) // Only labels.
		a.reconcile()
	}
	if len(a.background) != 0 || len(a.asked) != 1 {
		t.Errorf("%d checks run, and %d requests were made within the interval", len(a.background), len(a.asked))
	}
	a.answer = func(string) verify.Result { return verify.Rejected }
	a.now = a.now.Add(16 * time.Minute)
	a.reconcile()
	a.expect("while it is checked again", yes, yes, "7")
	a.finish()
	a.expect("rejected", yes, no, "7")
	if !a.cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionReady).IsTrue() {
		t.Error("it is not Ready")
	}
}

// A source that changes while it is checked is checked again, and the result for the old one
// counts for nothing.
func TestSourceChangesDuringTheCheck(t *testing.T) {
	a := newAsking(t)
	a.reconcile()
	a.finish()
	a.rotate("9", two)
	a.reconcile()
	a.rotate("10", "cm9ib3Q6dGhyZWU=") // robot:three
	a.answer = func(password string) verify.Result {
		return map[bool]verify.Result{true: verify.Rejected, false: verify.Accepted}[password == "three"]
	}
	a.finish() // Of version 9, which is no longer there.
	a.expect("a new check runs", maybe, maybe, "7")
	a.finish()
	a.expect("rejected", no, no, "7")
	if slices.Contains(a.asked, "two") {
		t.Error("a credential was sent that the source no longer has")
	}
}

// Without spec.verify, there is no condition, and no request. A process that has just started
// does not repeat the checks of all ClusterPullSecrets at once.
func TestNothingIsAskedAtRest(t *testing.T) {
	a := newAsking(t, func(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkCredentialAccepted() })
	if after := a.reconcile(); after <= 0 || after > v1alpha1.DefaultVerifyInterval {
		t.Errorf("it is requeued after %s", after)
	}
	a.expect("as the status says", yes, yes, "7")
	a.cps.Spec.Verify = nil
	a.rotate("9", two)
	a.reconcile()
	if got := a.cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted); got != nil || a.cps.Status.Source.ResourceVersion != "9" {
		t.Errorf("without verification: %+v, source %+v", got, a.cps.Status.Source)
	}
	if len(a.background) != 0 || len(a.asked) != 0 {
		t.Error("a registry was asked")
	}
	// Nor where no Service has an image of the source.
	a.cps.Spec.Verify = &v1alpha1.Verify{}
	a.reconcile()
	a.expect("no image", yes, maybe, "9")
	if len(a.background) != 0 {
		t.Error("a check runs")
	}
}

// An entry that is dead already does not hold up the rotation of the others, but a good one
// that becomes bad does.
func TestDeadEntryHoldsNothingUp(t *testing.T) {
	const three, four = "cm9ib3Q6dGhyZWU=", "cm9ib3Q6Zm91cg==" // robot:three, robot:four
	with := func(version, ghcr, quay string) *corev1.Secret {
		return sourceOf(version, ghcr, func(s *corev1.Secret) {
			s.Data[corev1.DockerConfigJsonKey] = fmt.Appendf(nil, `{"auths":{"ghcr.io":{"auth":%q},"quay.io":{"auth":%q}}}`, ghcr, quay)
		})
	}
	a := newAsking(t, func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Verify.Images = []string{"ghcr.io/acme/app", "quay.io/acme/app"}
	})
	a.answer = func(password string) verify.Result {
		return map[bool]verify.Result{true: verify.Rejected, false: verify.Accepted}[password == "three" || password == "four"]
	}
	a.reconcile()
	a.finish()
	a.expect("ghcr.io is good, and there is no key for quay.io", yes, maybe, "7")
	for _, step := range []struct {
		reason     string
		source     *corev1.Secret
		held       bool
		acceptance corev1.ConditionStatus
		want       string
	}{
		{"both are good", with("8", one, two), false, yes, "8"},
		{"one becomes bad", with("9", two, three), true, no, "8"},
		{"it is corrected", with("10", two, two), false, yes, "10"},
	} {
		a.replace(step.source)
		a.reconcile()
		a.finish()
		a.expect(step.reason, map[bool]corev1.ConditionStatus{true: no, false: yes}[step.held], step.acceptance, step.want)
	}
	a.events()
	// The credential of the copies is revoked.
	revoked := true
	a.answer = func(password string) verify.Result {
		return map[bool]verify.Result{true: verify.Rejected, false: verify.Accepted}[password == "three" || password == "four" || password == "two" && revoked]
	}
	a.replace(with("11", one, two)) // quay.io keeps its dead entry.
	a.reconcile()
	a.finish()
	a.expect("the entry is as dead as in the copies", yes, no, "11")
	if got := a.events(); !slices.Contains(got, "CredentialRejected") {
		t.Errorf("Events %q, want one about the dead entry", got)
	}
	a.reconcile()
	a.replace(with("12", one, three))
	a.reconcile()
	a.finish()
	a.expect("a dead entry is replaced by another dead one", yes, no, "12")
	a.reconcile()
	a.replace(with("13", four, three))
	a.reconcile()
	a.finish()
	a.expect("the good entry becomes bad", no, no, "12")
	// A process that has just started does not know what the copies have.
	a.r.sources.Keep(nil)
	a.replace(with("14", two, three))
	revoked = false
	a.reconcile()
	a.finish()
	a.expect("after a restart", no, no, "12")
}

// The credential of a source that is lost or not valid is unverified, whatever it was before.
func TestLostSourceIsUnverified(t *testing.T) {
	for reason, end := range map[string]func(*asking){
		"missing": func(a *asking) {
			if err := kubeclient.Get(a.ctx).CoreV1().Secrets(ref.Namespace).Delete(a.ctx, ref.Name, metav1.DeleteOptions{}); err != nil {
				a.t.Fatal(err)
			}
		},
		"invalid":         func(a *asking) { a.replace(sourceOf("9", one, invalid)) },
		"of another type": func(a *asking) { a.replace(sourceOf("9", one, opaque)) },
		"invalid, and no verification": func(a *asking) {
			a.replace(sourceOf("9", one, invalid))
			a.cps.Spec.Verify = nil
		},
	} {
		t.Run(reason, func(t *testing.T) {
			metrics := Metrics(t)
			a := newAsking(t)
			a.answer = func(string) verify.Result { return verify.Rejected }
			a.reconcile()
			a.finish()
			a.expect("rejected", yes, no, "7")
			end(a)
			a.reconcile()
			got := a.cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted)
			if verifies := a.cps.Spec.Verify != nil; verifies != (got != nil) || verifies && got.Reason != v1alpha1.ReasonCredentialUnverified {
				t.Errorf("the condition is %+v; spec.verify is set: %t", got, verifies)
			}
			if _, found := metrics()["pullsecrets.credential.rejected{cluster_pull_secret=ghcr}"]; found {
				t.Error("the gauge still has a value")
			}
		})
	}
}
