// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	. "pullsecrets.dev/pkg/reconciler/revision/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// What Knative writes when the registry rejects a tag: with a response without a body, with a
// code of the registry, and from the server of tokens.
const (
	unauthorized = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)`
	denied       = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: GET https://ghcr.io/token?scope=repository%3Aacme%2Fapp%3Apull: DENIED: denied`
	forbidden    = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: GET https://auth.example.com/token: unexpected status code 403 Forbidden: no`
)

func TestDecide(t *testing.T) {
	svc := func(options ...ServiceOption) *servingv1.Service {
		return Service("ns", "app", append([]ServiceOption{func(svc *servingv1.Service) { svc.Status.LatestCreatedRevisionName = "app-00001" }}, options...)...)
	}
	failed := func(options ...RevisionOption) *servingv1.Revision {
		return NewRevision("ns", "app-00001", append([]RevisionOption{
			WithCreation(created), WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ContainerMissing", unauthorized),
		}, options...)...)
	}
	message := func(text string) RevisionOption {
		return WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ContainerMissing", text)
	}
	later := metav1.NewTime(created.Add(time.Second))
	deleted := func(r *servingv1.Revision) { r.DeletionTimestamp = &later }
	for _, test := range []struct {
		reason  string
		attempt Attempt
		want    Verdict
	}{
		{"the credential changed after it", Attempt{svc(), failed(), later}, Retry},
		{"denied by the registry", Attempt{svc(), failed(message(denied)), later}, Retry},
		{"forbidden by the server of tokens", Attempt{svc(), failed(message(forbidden)), later}, Retry},
		{"the credential changed in the same second", Attempt{svc(), failed(), metav1.NewTime(created.Add(900 * time.Millisecond))}, Unchanged},
		{"the credential changed before it", Attempt{svc(), failed(), metav1.NewTime(created.Add(-time.Hour))}, Unchanged},
		{"the image does not exist", Attempt{svc(), failed(message(`Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 404 Not Found`)), later}, NotRejected},
		{"too many requests", Attempt{svc(), failed(message(`Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: TOOMANYREQUESTS: slow down`)), later}, NotRejected},
		{"another image is named", Attempt{svc(), failed(message(`Unable to fetch image "ghcr.io/acme/other:401": status code 401`)), later}, NotRejected},
		{"its digests are known", Attempt{svc(), failed(WithDigests(1)), later}, NotRejected},
		{"it is Ready", Attempt{svc(), failed(WithCondition(servingv1.RevisionConditionReady, corev1.ConditionTrue, "", "")), later}, NotRejected},
		{"it failed for another reason", Attempt{svc(), NewRevision("ns", "app-00001", WithCreation(created),
			WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ExitCode1", unauthorized)), later}, NotRejected},
		{"tags are being resolved", Attempt{svc(), NewRevision("ns", "app-00001", WithCreation(created)), later}, NotRejected},
		{"it is being deleted", Attempt{svc(), failed(deleted), later}, BeingDeleted},
		{"its Service is being deleted", Attempt{svc(func(svc *servingv1.Service) { svc.DeletionTimestamp = &later }), failed(), later}, BeingDeleted},
		{"it is not the newest", Attempt{Service("ns", "app", WithConfigurationsReady(corev1.ConditionFalse)), failed(), later}, NotNewest},
		{"a newer one is due", Attempt{svc(func(svc *servingv1.Service) { svc.Generation++ }), failed(), later}, NotNewest},
		{"it is another Service's", Attempt{svc(), failed(func(r *servingv1.Revision) { r.Labels = nil }), later}, NotNewest},
	} {
		if got := Decide(test.attempt); got != test.want {
			t.Errorf("%s: Decide() = %s, want %s", test.reason, got, test.want)
		}
	}
}
