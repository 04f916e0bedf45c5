// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// A Ready Service lacks a Secret, which its user creates later. No event says so.
func TestMissingSecret(t *testing.T) {
	read := Metrics(t)
	secrets := fakeSecrets{}
	row := knativetesting.TableRow{
		Key: ns + "/app", Ctx: with(config.BackfillAll, 0),
		Objects:       []runtime.Object{Service(ns, "app"), declares("n")},
		OtherTestData: map[string]any{"secrets": secrets},
	}
	c, _, _ := factory()(t, &row)
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, row.Key)); !again || after != recheckAfter {
		t.Fatalf("requeued: %t after %s, want it after %s", again, after, recheckAfter)
	}
	if diff := cmp.Diff(int64(1), read()["pullsecrets.secrets.missing{namespace="+ns+"}"]); diff != "" {
		t.Error("missing (-want, +got):", diff)
	}
	secrets[ns+"/n"] = corev1.SecretTypeDockercfg
	if err := c.Reconcile(row.Ctx, row.Key); err != nil {
		t.Errorf("Once it is there: %v, want no more looking", err)
	}
	if got, found := read()["pullsecrets.secrets.missing{namespace="+ns+"}"]; found {
		t.Errorf("missing = %d, want no series", got)
	}
}

// lateSecrets answer only the second question.
type lateSecrets struct{ asked int }

func (l *lateSecrets) TypesOf(context.Context, types.NamespacedName, time.Time, []string) (map[string]corev1.SecretType, time.Duration, error) {
	if l.asked++; l.asked == 1 {
		return nil, readEvery, nil
	}
	return nil, 0, nil
}

// The read of the Secrets has to wait, and meanwhile the list is written and its Revision
// is Ready. The missing Secret is reported all the same, once.
func TestMissingSecretIsReportedAfterTheChange(t *testing.T) {
	svc, secrets := Service(ns, "app"), &lateSecrets{}
	row := knativetesting.TableRow{
		Key: ns + "/app", Ctx: with(config.BackfillAll, 0),
		Objects:       []runtime.Object{svc, declares("n")},
		OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.secrets = secrets }},
	}
	c, _, told := factory()(t, &row)
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, row.Key)); !again || after != readEvery {
		t.Fatalf("requeued: %t after %s, want it after %s", again, after, readEvery)
	}
	svc.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "n"}}
	svc.Annotations = map[string]string{pullsecrets.AddedAnnotation: `{"n":"namespace"}`}
	for range 2 {
		if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, row.Key)); !again || after != recheckAfter {
			t.Errorf("requeued: %t after %s, want it after %s", again, after, recheckAfter)
		}
	}
	missing := slices.DeleteFunc(told.Events(), func(e string) bool { return !strings.Contains(e, events.ReasonSecretMissing) })
	if len(missing) != 1 {
		t.Errorf("SecretMissing was reported %d times, want once: %q", len(missing), missing)
	}
}

// That somebody keeps removing an entry is no reason to look less often for its Secret.
func TestMissingSecretOfAContestedService(t *testing.T) {
	row := knativetesting.TableRow{
		Key: ns + "/app", Ctx: with(config.BackfillAll, 0),
		Objects: []runtime.Object{Service(ns, "app"), declares("n")},
		OtherTestData: map[string]any{"secrets": fakeSecrets{}, "prepare": func(r *Reconciler) {
			svc, result := Service(ns, "app"), merge.Result{Added: []merge.Entry{{Name: "n"}}, ListChanged: true}
			svc.ResourceVersion = "earlier"
			for range contest.Most + 1 {
				r.attempts.wrote(svc, "after", result)
			}
		}},
	}
	c, actions, _ := factory()(t, &row)
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, row.Key)); !again || after != recheckAfter {
		t.Errorf("requeued: %t after %s, want it after %s", again, after, recheckAfter)
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Patches) > 0 {
		t.Errorf("%d patches (%v), want the Service left alone", len(all.Patches), err)
	}
}

// Whatever wants a Service to be looked at again, the soonest counts.
func TestNoLaterThan(t *testing.T) {
	broken := errors.New("broken")
	if got := noLaterThan(broken, time.Second); !errors.Is(got, broken) {
		t.Errorf("After an error: %v, want the error", got)
	}
	for _, test := range []struct {
		event      error
		most, want time.Duration
	}{
		{nil, time.Minute, time.Minute},
		{controller.NewRequeueAfter(time.Hour), time.Minute, time.Minute},
		{controller.NewRequeueAfter(time.Second), time.Minute, time.Second},
		{controller.NewRequeueImmediately(), time.Minute, 0},
	} {
		if again, after := controller.IsRequeueKey(noLaterThan(test.event, test.most)); !again || after != test.want {
			t.Errorf("noLaterThan(%v, %s) requeued: %t after %s, want after %s", test.event, test.most, again, after, test.want)
		}
	}
}

func TestMissingByNamespace(t *testing.T) {
	read := Metrics(t)
	recorded, err := newMetrics(&memory.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	m := recorded.missing
	app, other, elsewhere := types.NamespacedName{Namespace: "a", Name: "app"}, types.NamespacedName{Namespace: "a", Name: "other"}, types.NamespacedName{Namespace: "b", Name: "app"}
	m.note(app, []string{"x", "y"})
	m.note(other, []string{"y", "z"})
	m.note(elsewhere, []string{"x"})
	want := map[string]int64{"pullsecrets.secrets.missing{namespace=a}": 3, "pullsecrets.secrets.missing{namespace=b}": 1}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Error("each Secret counts once (-want, +got):", diff)
	}
	m.note(app, nil)
	m.note(elsewhere, nil)
	if diff := cmp.Diff(map[string]int64{"pullsecrets.secrets.missing{namespace=a}": 2}, read()); diff != "" {
		t.Error("what came counts no more (-want, +got):", diff)
	}
	if m.ForgetThose(func(types.NamespacedName) bool { return true }); len(read()) != 0 {
		t.Error("after another replica has taken over:", read())
	}
}
