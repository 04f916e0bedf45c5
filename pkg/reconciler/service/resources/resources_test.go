// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/service/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

const digest = "ghcr.io/acme/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestReady(t *testing.T) {
	behind := func(svc *servingv1.Service) { svc.Generation++ }
	tests := []struct {
		reason string
		svc    *servingv1.Service
		want   bool
	}{
		{"the newest Revision is Ready", Service("ns", "app"), true},
		{"it failed", Service("ns", "app", WithConfigurationsReady(corev1.ConditionFalse)), false},
		{"it is on its way", Service("ns", "app", WithConfigurationsReady(corev1.ConditionUnknown)), false},
		{"only the route is not Ready", Service("ns", "app", func(svc *servingv1.Service) {
			svc.Status.Conditions = append(svc.Status.Conditions[:1:1], svc.Status.Conditions[1])
			svc.Status.Conditions[1].Status = corev1.ConditionFalse
		}), true},
		{"Knative has not looked yet, and an earlier Revision serves", Service("ns", "app", behind), true},
		{"Knative has not looked yet, and nothing serves", Service("ns", "app", func(svc *servingv1.Service) {
			svc.Status = servingv1.ServiceStatus{}
		}), false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := Ready(tt.svc); got != tt.want {
				t.Errorf("Ready() = %v, want %v", got, tt.want)
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
	volume := func(source corev1.VolumeSource) ServiceOption {
		return func(svc *servingv1.Service) { svc.Spec.Template.Spec.Volumes = []corev1.Volume{{VolumeSource: source}} }
	}
	model := func(image string) ServiceOption {
		return volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}})
	}
	tests := []struct {
		reason string
		svc    *servingv1.Service
		want   bool
	}{
		{"an image volume by tag", Service("ns", "app", WithImage(digest), model("ghcr.io/acme/model:v1")), false},
		{"an image volume by digest", Service("ns", "app", WithImage(digest), model(digest)), true},
		{"another volume", Service("ns", "app", WithImage(digest), volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})), true},
		{"a tag", Service("ns", "app"), false},
		{"neither tag nor digest", Service("ns", "app", WithImage("nginx")), false},
		{"a digest", Service("ns", "app", WithImage(digest)), true},
		{"a tag and a digest", Service("ns", "app", WithImage(strings.Replace(digest, "@", ":v1@", 1))), true},
		{"a digest that is none", Service("ns", "app", WithImage("ghcr.io/acme/app@sha256:1234")), false},
		{"a sidecar by tag", Service("ns", "app", WithImage(digest), sidecar("ghcr.io/acme/sidecar:v1")), false},
		{"an init container by tag", Service("ns", "app", WithImage(digest), initial("ghcr.io/acme/init:v1")), false},
		{"all by digest", Service("ns", "app", WithImage(digest), sidecar(digest), initial(digest)), true},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := Pinned(tt.svc); got != tt.want {
				t.Errorf("Pinned() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	fromNamespace := merge.Result{ListChanged: true, Added: []merge.Entry{{Name: "n", Origin: merge.FromNamespace}}}
	fromService := merge.Result{ListChanged: true, Added: []merge.Entry{{Name: "s", Origin: merge.FromService}}}
	taken := merge.Result{ListChanged: true, Taken: []merge.Entry{{Name: "s", Origin: merge.FromService}}}
	ready := Service("ns", "app")
	failed := Service("ns", "app", WithConfigurationsReady(corev1.ConditionFalse))
	tests := []struct {
		reason string
		mode   config.Backfill
		svc    *servingv1.Service
		asked  annotation.Service
		result merge.Result
		write  bool
		silent bool
	}{
		{reason: "the ledger alone", mode: config.BackfillSafe, svc: ready, write: true},
		{reason: "the ledger alone, report", mode: config.BackfillReport, svc: ready, silent: true},
		{reason: "all", mode: config.BackfillAll, svc: ready, result: fromNamespace, write: true},
		{reason: "report", mode: config.BackfillReport, svc: failed, result: fromService},
		{reason: "disabled", mode: config.BackfillDisabled, svc: failed, result: fromService, silent: true},
		{reason: "safe, a tag", mode: config.BackfillSafe, svc: ready, result: fromNamespace},
		{reason: "safe, a digest", mode: config.BackfillSafe, svc: Service("ns", "app", WithImage(digest)), result: fromNamespace, write: true},
		{reason: "safe, not Ready", mode: config.BackfillSafe, svc: failed, result: fromNamespace, write: true},
		{reason: "safe, the Service declares the name", mode: config.BackfillSafe, svc: ready, result: fromService, write: true},
		{reason: "safe, the Service retracts the name", mode: config.BackfillSafe, svc: ready, result: taken, write: true},
		{reason: "safe, the Service asks", mode: config.BackfillSafe, svc: ready, asked: annotation.Service{Inject: annotation.Auto}, result: fromNamespace, write: true},
		{reason: "safe, the Service declares another name", mode: config.BackfillSafe, svc: ready, asked: annotation.Service{Secrets: []string{"s"}}, result: fromNamespace},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := Judge(tt.mode, tt.svc, tt.asked, tt.result)
			if got.Write != tt.write || (got.Why == "") != (tt.write || tt.silent) {
				t.Errorf("Judge() = %+v, want write: %v", got, tt.write)
			}
		})
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
