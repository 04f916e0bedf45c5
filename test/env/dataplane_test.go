// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingfake "knative.dev/networking/pkg/client/clientset/versioned/fake"
	"knative.dev/pkg/apis"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
)

// startTestDataPlane runs a data plane with one Namespace with this label and one
// unfinished object of each kind.
func startTestDataPlane(t *testing.T, fate string) *dataPlane {
	t.Helper()
	at := metav1.ObjectMeta{Namespace: "ns", Name: "app", Labels: map[string]string{serving.RevisionLabelKey: "app"}}
	d := newDataPlane(
		kubefake.NewClientset(
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Labels: map[string]string{RevisionsLabel: fate}}},
			&corev1.Pod{ObjectMeta: at, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container"}}}},
		),
		servingfake.NewSimpleClientset(&autoscalingv1alpha1.PodAutoscaler{ObjectMeta: at}),
		networkingfake.NewSimpleClientset(&networkingv1alpha1.Ingress{ObjectMeta: at}),
	)
	if err := d.start(t.Context(), t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// revision returns the Revision's condition that Knative's controller derives from the
// PodAutoscaler's status.
func (d *dataPlane) revision(ctx context.Context) (*apis.Condition, error) {
	pa, err := d.serving.AutoscalingV1alpha1().PodAutoscalers("ns").Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	status := &servingv1.RevisionStatus{}
	status.InitializeConditions()
	status.PropagateAutoscalerStatus(&pa.Status)
	return status.GetCondition(servingv1.RevisionConditionReady), nil
}

// settle waits until all goroutines are idle, including retries. In a synctest bubble
// this takes no time.
func settle() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

func (d *dataPlane) ingressReady(t *testing.T) bool {
	t.Helper()
	ingress, err := d.networking.NetworkingV1alpha1().Ingresses("ns").Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ingress.IsReady()
}

func (d *dataPlane) checkRevision(t *testing.T, status corev1.ConditionStatus, reason string) {
	t.Helper()
	settle()
	got, err := d.revision(t.Context())
	if err != nil || got.Status != status || got.Reason != reason {
		t.Errorf("the Revision would be %+v (%v), want %s %s", got, err, status, reason)
	}
}

func (d *dataPlane) podPhase(t *testing.T) corev1.PodPhase {
	t.Helper()
	pod, err := d.kube.CoreV1().Pods("ns").Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod.Status.Phase
}

func TestDataPlaneMakesAllReady(t *testing.T) { synctest.Test(t, testDataPlaneMakesAllReady) }

func testDataPlaneMakesAllReady(t *testing.T) {
	d := startTestDataPlane(t, "")
	d.checkRevision(t, corev1.ConditionTrue, "")
	if !d.ingressReady(t) || d.podPhase(t) != corev1.PodRunning {
		t.Error("the Ingress is not ready or the Pod does not run")
	}
}

func TestDataPlaneFailsRevisions(t *testing.T) { synctest.Test(t, testDataPlaneFailsRevisions) }

func testDataPlaneFailsRevisions(t *testing.T) {
	d := startTestDataPlane(t, RevisionsFail)
	d.checkRevision(t, corev1.ConditionFalse, servingv1.ReasonProgressDeadlineExceeded)
	if phase := d.podPhase(t); phase == corev1.PodRunning {
		t.Error("a Pod of a failed Revision runs")
	}
}

func TestDataPlaneLetsRevisionsWait(t *testing.T) { synctest.Test(t, testDataPlaneLetsRevisionsWait) }

func testDataPlaneLetsRevisionsWait(t *testing.T) {
	d := startTestDataPlane(t, RevisionsWait)
	d.checkRevision(t, corev1.ConditionUnknown, servingv1.ReasonDeploying)
	if !d.ingressReady(t) {
		t.Error("the Ingress is not ready, although the label does not affect it")
	}

	ns, err := d.kube.CoreV1().Namespaces().Get(t.Context(), "ns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(ns.Labels, RevisionsLabel)
	if _, err := d.kube.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.checkRevision(t, corev1.ConditionTrue, "")
}
