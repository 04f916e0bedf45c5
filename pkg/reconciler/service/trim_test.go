// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/service/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
	. "pullsecrets.dev/pkg/rollout"
	"pullsecrets.dev/pkg/trim"
)

// TestTrim checks that a trimmed object leads to the same decision, and that
// nothing which is not needed is kept.
func TestTrim(t *testing.T) {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	entry := func(manager, raw string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Time: &now, FieldsV1: &metav1.FieldsV1{Raw: []byte(raw)}}
	}
	svc := Service("ns", "app",
		WithPullSecrets("mine", "n"), WithServiceAccount("builder"), WithTemplateName("app-1"),
		WithAnnotation("pullsecrets.dev/added", `{"n":"namespace"}`), WithAnnotation("pullsecrets.dev/secrets", "n"),
		WithAnnotation(serving.UpdaterAnnotation, "alice"), WithAnnotation("example.com/large", strings.Repeat("x", 1000)),
		WithAnnotation(corev1.LastAppliedConfigAnnotation, `{"metadata":{"large":"x"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"mine"}],"containers":[{"image":"x"}]}}}}`),
	)
	svc.ManagedFields = []metav1.ManagedFieldsEntry{
		entry("kubectl", `{"f:spec":{"f:template":{"f:spec":{"f:containers":{},"f:imagePullSecrets":{"k:{\"name\":\"mine\"}":{".":{},"f:name":{}}}}}}}`),
		entry("pullsecrets", `{"f:spec":{"f:template":{"f:spec":{"f:imagePullSecrets":{"k:{\"name\":\"n\"}":{}}}}}}`),
		entry("controller", `{"f:status":{}}`),
	}
	svc.Spec.Template.Spec.InitContainers = []corev1.Container{{Image: "quay.io/acme/setup:v1"}}
	svc.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "LARGE", Value: strings.Repeat("x", 1000)}}
	svc.Spec.Template.Spec.Volumes = []corev1.Volume{
		{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "quay.io/acme/model:v1", PullPolicy: corev1.PullAlways}}},
		{Name: "large", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
	}
	svc.Labels = map[string]string{"example.com/large": strings.Repeat("x", 60), "pullsecrets.dev/secrets": "n"}
	svc.Annotations["pullsecrets.dev/secret"] = strings.Repeat("x", 1000)
	svc.Spec.Template.Labels = map[string]string{"pullsecrets.dev/inject": "auto", "example.com/large": "x"}
	svc.Spec.Template.Annotations = map[string]string{"pullsecrets.dev/secrets": strings.Repeat("x", 1000), "autoscaling.knative.dev/minScale": "1"}
	before := svc.DeepCopy()

	object, err := trim.Object(svc)
	if err != nil {
		t.Fatal(err)
	}
	got := object.(*servingv1.Service)
	if diff := cmp.Diff(before, svc); diff != "" {
		t.Errorf("the object was changed (-before, +after):\n%s", diff)
	}
	for what, pair := range map[string][2]any{
		"current":  {first(Current(svc)), first(Current(got))},
		"ready":    {[]bool{IsReady(svc), WasReady(svc)}, []bool{IsReady(got), WasReady(got)}},
		"pinned":   {Pinned(svc), Pinned(got)},
		"images":   {catalog.Images(svc), catalog.Images(got)},
		"account":  {svc.Spec.Template.Spec.ServiceAccountName, got.Spec.Template.Spec.ServiceAccountName},
		"asked":    {annotation.ForService(svc.Annotations), annotation.ForService(got.Annotations)},
		"strays":   {Misplaced(svc), Misplaced(got)},
		"template": {svc.Spec.Template.Name, got.Spec.Template.Name},
		"identity": {[]any{svc.Name, svc.Namespace, svc.UID, svc.ResourceVersion, svc.Generation}, []any{got.Name, got.Namespace, got.UID, got.ResourceVersion, got.Generation}},
		"patch":    {string(first(MakePatch(svc, merge.Result{ListChanged: true}))), string(first(MakePatch(got, merge.Result{ListChanged: true})))},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-whole, +trimmed):\n%s", what, diff)
		}
	}
	if text, err := json.Marshal(got); err != nil || len(text) > 1700 {
		t.Errorf("%d bytes are kept (%v):\n%s", len(text), err, text)
	}

	ns := Namespace("ns", WithNamespaceAnnotation("pullsecrets.dev/secrets", "n"), WithNamespaceAnnotation("example.com/large", "x"), WithNamespaceLabel("team", "a"))
	ns.ManagedFields = []metav1.ManagedFieldsEntry{
		entry("kubectl", `{"f:metadata":{"f:annotations":{"f:pullsecrets.dev/secrets":{}}}}`),
		entry("rancher", `{"f:metadata":{"f:annotations":{"f:cattle.io/status":{}}}}`),
		{Manager: "nobody"},
	}
	if object, err = trim.Object(ns); err != nil {
		t.Fatal(err)
	}
	want := Namespace("ns", WithNamespaceAnnotation("pullsecrets.dev/secrets", "n"), WithNamespaceLabel("team", "a"))
	want.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &now}}
	trimmed := new(int64(-1)) // How it is told, see trim.
	want.DeletionGracePeriodSeconds = trimmed
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("Namespace (-want, +got):\n%s", diff)
	}
	account := ServiceAccount("ns", "default", map[string]string{"example.com/large": "x", "kubernetes.io/enforce-mountable-secrets": "true"}, "sa")
	if object, err = trim.Object(account); err != nil {
		t.Fatal(err)
	}
	wantAccount := ServiceAccount("ns", "default", map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}, "sa")
	wantAccount.DeletionGracePeriodSeconds = trimmed
	if diff := cmp.Diff(wantAccount, object); diff != "" {
		t.Errorf("ServiceAccount (-want, +got):\n%s", diff)
	}
	if object, err = trim.Object("another"); err != nil || object != "another" {
		t.Errorf("Object() = %v, %v, want other objects as they are", object, err)
	}
}

func first[T any](value T, _ error) T { return value }

// That there is no room is known of what is trimmed too.
func TestTrimmedIsFull(t *testing.T) {
	for size, want := range map[int]bool{0: false, 200 << 10: false, 256<<10 - 100: true} {
		filler := strings.Repeat("x", size)
		for _, whole := range []metav1.Object{
			Service("ns", "app", WithAnnotation("example.com/filler", filler)),
			ServiceAccount("ns", "default", map[string]string{"example.com/filler": filler}),
		} {
			object, err := trim.Object(whole)
			if err != nil {
				t.Fatal(err)
			}
			if trimmed := object.(metav1.Object); trim.IsFull(whole) != want || trim.IsFull(trimmed) != want || len(trimmed.GetAnnotations()["example.com/filler"]) > 0 {
				t.Errorf("%T with %d bytes of annotations: IsFull = %t, trimmed %t, want %t", whole, size, trim.IsFull(whole), trim.IsFull(trimmed), want)
			}
		}
	}
}
