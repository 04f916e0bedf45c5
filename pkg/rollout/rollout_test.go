// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
	. "pullsecrets.dev/pkg/rollout"
)

const digest = "ghcr.io/acme/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestReady(t *testing.T) {
	failed := WithConfigurationsReady(corev1.ConditionFalse)
	behind := func(svc *servingv1.Service) { svc.Generation++ }
	first := func(svc *servingv1.Service) { svc.Status.LatestReadyRevisionName = "" }
	// What Knative writes between seeing the Service and its Configuration seeing it.
	outOfDate := func(svc *servingv1.Service) { svc.Status.MarkConfigurationNotReconciled() }
	tests := []struct {
		reason  string
		svc     *servingv1.Service
		isReady bool
		was     bool
	}{
		{"the newest Revision is Ready", Service("ns", "app"), true, true},
		{"the first one failed", Service("ns", "app", failed, first), false, false},
		{"it failed, and an earlier one serves", Service("ns", "app", failed), false, false},
		{"it is on its way, and an earlier one serves", Service("ns", "app", WithConfigurationsReady(corev1.ConditionUnknown)), false, false},
		{"it was Ready and fails now", Service("ns", "app", NoLongerReady), false, true},
		{"only the route is not Ready", Service("ns", "app", func(svc *servingv1.Service) {
			svc.Status.Conditions = append(svc.Status.Conditions[:1:1], svc.Status.Conditions[1])
			svc.Status.Conditions[1].Status = corev1.ConditionFalse
		}), true, true},
		{"Knative has not seen the newest generation, and the one before is Ready", Service("ns", "app", behind), true, true},
		{"Knative has not seen the newest generation, and the one before failed, but an earlier one serves", Service("ns", "app", failed, behind), true, true},
		{"Knative has not seen the newest generation, and nothing was ever Ready", Service("ns", "app", failed, first, behind), false, false},
		{"its Configuration has not, and the one before failed, but an earlier one serves", Service("ns", "app", failed, outOfDate), true, true},
		{"its Configuration has not, and nothing was ever Ready", Service("ns", "app", failed, first, outOfDate), false, false},
		{"Knative has not seen it at all", Service("ns", "app", func(svc *servingv1.Service) { svc.Status = servingv1.ServiceStatus{} }), false, false},
		{"Knative has seen it and made nothing yet", Service("ns", "app", func(svc *servingv1.Service) {
			svc.Status = servingv1.ServiceStatus{}
			svc.Status.ObservedGeneration = svc.Generation
		}), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if is, was := IsReady(tt.svc), WasReady(tt.svc); is != tt.isReady || was != tt.was {
				t.Errorf("IsReady() = %t, WasReady() = %t, want %t, %t", is, was, tt.isReady, tt.was)
			}
		})
	}
}

func TestPinned(t *testing.T) {
	sidecar := func(image string) ServiceOption {
		return func(svc *servingv1.Service) {
			svc.Spec.Template.Spec.Containers = append(svc.Spec.Template.Spec.Containers, corev1.Container{Image: image})
		}
	}
	initial := func(image string) ServiceOption {
		return func(svc *servingv1.Service) {
			svc.Spec.Template.Spec.InitContainers = []corev1.Container{{Image: image}}
		}
	}
	volume := func(image string) ServiceOption {
		return func(svc *servingv1.Service) {
			svc.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "empty"}, {
				Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}},
			}}
		}
	}
	tests := []struct {
		reason string
		svc    *servingv1.Service
		want   bool
	}{
		{"a tag", Service("ns", "app"), false},
		{"neither tag nor digest", Service("ns", "app", WithImage("nginx")), false},
		{"a digest", Service("ns", "app", WithImage(digest)), true},
		{"a tag and a digest", Service("ns", "app", WithImage(strings.Replace(digest, "@", ":v1@", 1))), true},
		{"a digest that is none", Service("ns", "app", WithImage("ghcr.io/acme/app@sha256:1234")), false},
		{"a sidecar by tag", Service("ns", "app", WithImage(digest), sidecar("ghcr.io/acme/sidecar:v1")), false},
		{"an init container by tag", Service("ns", "app", WithImage(digest), initial("ghcr.io/acme/init:v1")), false},
		{"an image volume by tag", Service("ns", "app", WithImage(digest), volume("ghcr.io/acme/model:v1")), false},
		{"all by digest", Service("ns", "app", WithImage(digest), sidecar(digest), initial(digest), volume(digest)), true},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := Pinned(tt.svc); got != tt.want {
				t.Errorf("Pinned() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	fromNamespace := merge.Result{ListChanged: true, Added: []merge.Entry{{Name: "n", Origin: merge.FromNamespace}}}
	fromService := merge.Result{ListChanged: true, Added: []merge.Entry{{Name: "s", Origin: merge.FromService}}}
	taken := merge.Result{ListChanged: true, Taken: []merge.Entry{{Name: "s", Origin: merge.FromService}}}
	endless := merge.Result{LedgerChanged: true, Ledger: merge.Ledger{strings.Repeat("n", merge.MaxLedger): merge.FromNamespace}}
	ready := Service("ns", "app")
	failed := Service("ns", "app", WithConfigurationsReady(corev1.ConditionFalse))
	named := Service("ns", "app", WithTemplateName("app-1"))
	skip := func(reason Reason) Decision { return Decision{Reason: reason} }
	safe, all, write := config.BackfillSafe, config.BackfillAll, Decision{Action: Write}
	tests := []struct {
		reason string
		facts  Facts
		want   Decision
	}{
		{"the ledger alone", Facts{Mode: safe, Service: ready}, write},
		{"the ledger alone, a named Revision, a paused namespace", Facts{Mode: safe, Service: named, Culprit: "victim"}, write},
		{"the ledger alone, report", Facts{Mode: config.BackfillReport, Service: ready}, skip(Disabled)},
		{"all", Facts{Mode: all, Service: ready, Result: fromNamespace}, write},
		{"report", Facts{Mode: config.BackfillReport, Service: failed, Result: fromService}, skip(Deferred)},
		{"disabled", Facts{Mode: config.BackfillDisabled, Service: failed, Result: fromService}, skip(Disabled)},
		{"disabled, a named Revision", Facts{Mode: config.BackfillDisabled, Service: named, Result: fromService}, skip(Disabled)},
		{"safe, a tag", Facts{Mode: safe, Service: ready, Result: fromNamespace}, skip(Deferred)},
		{"safe, a digest", Facts{Mode: safe, Service: Service("ns", "app", WithImage(digest)), Result: fromNamespace}, write},
		{"safe, never Ready", Facts{Mode: safe, Service: failed, Result: fromNamespace}, write},
		{"safe, was Ready and fails now", Facts{Mode: safe, Service: Service("ns", "app", NoLongerReady), Result: fromNamespace}, skip(Deferred)},
		{"safe, was Ready and fails now, a digest", Facts{Mode: safe, Service: Service("ns", "app", NoLongerReady, WithImage(digest)), Result: fromNamespace}, write},
		{"safe, the Service declares the name", Facts{Mode: safe, Service: ready, Result: fromService}, write},
		{"safe, the Service retracts the name", Facts{Mode: safe, Service: ready, Result: taken}, write},
		{"safe, the Service asks", Facts{Mode: safe, Service: ready, Asked: annotation.Service{Inject: annotation.Auto}, Result: fromNamespace}, write},
		{"safe, the Service declares another name", Facts{Mode: safe, Service: ready, Asked: annotation.Service{Secrets: []string{"s"}}, Result: fromNamespace}, skip(Deferred)},
		{"a named Revision", Facts{Mode: safe, Service: named, Result: fromNamespace, Denied: true}, skip(NamedRevision)},
		{"rejected before", Facts{Mode: all, Service: ready, Result: fromNamespace, Denied: true, Full: true}, skip(Denied)},
		{"no room", Facts{Mode: all, Service: ready, Result: fromNamespace, Full: true, Contested: time.Hour}, skip(NoRoom)},
		{"no room, and nothing to add", Facts{Mode: all, Service: ready, Result: taken, Full: true}, write},
		{"the ledger would be too long", Facts{Mode: all, Service: ready, Result: endless}, skip(NoRoom)},
		{"contested", Facts{Mode: all, Service: ready, Result: fromNamespace, Contested: time.Hour, Culprit: "victim"}, Decision{Action: Wait, Reason: Contested, Until: time.Hour}},
		{"paused", Facts{Mode: all, Service: ready, Result: fromNamespace, Culprit: "victim"}, Decision{Action: Wait, Reason: Paused}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := Decide(tt.facts)
			if (got.Remedy != "") != (got.Reason == Deferred) {
				t.Errorf("the remedy is %q", got.Remedy)
			}
			if got.Remedy = ""; got != tt.want {
				t.Errorf("Decide() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A Service is never advised to ask in a way by which it loses what ClusterPullSecrets declare.
func TestRemedyKeepsWhatIsDeclared(t *testing.T) {
	added := merge.Result{ListChanged: true, Added: []merge.Entry{{Name: "n", Origin: merge.FromNamespace}}}
	granted := []merge.Grant{{ClusterPullSecret: "ghcr", Secret: "ghcr"}}
	for reason, test := range map[string]struct {
		declaration grant.Declaration
		want        string
	}{
		"names alone":                           {grant.Declaration{}, "inject: declared or auto"},
		"always.services":                       {grant.Declaration{Declared: merge.Declared{Always: granted}}, "inject: auto, because"},
		"what covers an image":                  {grant.Declaration{Declared: merge.Declared{Auto: granted}}, "inject: auto, because"},
		"auto, and nothing covers an image yet": {grant.Declaration{Policy: annotation.Policy{Auto: true}}, "inject: auto, because"},
	} {
		got := Decide(Facts{Mode: config.BackfillSafe, Service: Service("ns", "app"), Declaration: test.declaration, Result: added})
		if !strings.Contains(got.Remedy, test.want) {
			t.Errorf("%s: the remedy is %q, want %q in it", reason, got.Remedy, test.want)
		}
	}
}

func TestCausedFailure(t *testing.T) {
	const us = "system:serviceaccount:pullsecrets-system:controller"
	failed := WithConfigurationsReady(corev1.ConditionFalse)
	ours := WithAnnotation(serving.UpdaterAnnotation, us)
	tests := []struct {
		reason string
		svc    *servingv1.Service
		user   string
		want   bool
	}{
		{"ours failed", Service("ns", "app", ours, failed), us, true},
		{"ours is Ready", Service("ns", "app", ours), us, false},
		{"ours is on its way", Service("ns", "app", ours, WithConfigurationsReady(corev1.ConditionUnknown)), us, false},
		{"somebody else's failed", Service("ns", "app", failed, WithAnnotation(serving.UpdaterAnnotation, "alice")), us, false},
		{"a newer generation", Service("ns", "app", ours, failed, func(svc *servingv1.Service) { svc.Generation++ }), us, false},
		{"nobody's", Service("ns", "app", failed), "", false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := CausedFailure(tt.svc, tt.user); got != tt.want {
				t.Errorf("CausedFailure() = %v, want %v", got, tt.want)
			}
		})
	}
}
