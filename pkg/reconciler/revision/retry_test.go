// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func enabled() *config.Config {
	c := config.Default()
	c.RetryFailedRevisions = true
	return c
}

func TestRetries(t *testing.T) {
	later := created.Add(time.Minute)
	resource := schema.GroupResource{Group: "serving.knative.dev", Resource: "revisions"}
	ignore := enabled()
	ignore.Uncovered = config.UncoveredIgnore
	granted := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = []string{"ghcr.io"} })
	for _, test := range []struct {
		reason    string
		config    *config.Config
		namespace *corev1.Namespace
		objects   []runtime.Object
		fail      error
		deletes   bool
		event     bool
	}{
		{reason: "the Secret changed", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)}, deletes: true, event: true},
		{reason: "the copy changed", objects: []runtime.Object{revision(rejected), granted, pullSecret("ghcr", "ghcr.io", later, grant.CopyLabels("ghcr"))}, deletes: true, event: true},
		{reason: "the copy that a bound ServiceAccount lists changed", namespace: binds("default"), objects: []runtime.Object{
			revision(rejected, WithRevisionPullSecrets()), ServiceAccount(ns, "default", nil, "ghcr"), granted, pullSecret("ghcr", "ghcr.io", later, grant.CopyLabels("ghcr")),
		}, deletes: true, event: true},
		{reason: "the ServiceAccount is not bound", namespace: binds("builder"), objects: []runtime.Object{
			revision(rejected, WithRevisionPullSecrets()), ServiceAccount(ns, "default", nil, "ghcr"), granted, pullSecret("ghcr", "ghcr.io", later, grant.CopyLabels("ghcr")),
		}},
		{reason: "coverage is not reported", config: ignore, objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)}, deletes: true, event: true},
		{reason: "it is disabled", config: config.Default(), objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)}},
		{reason: "the Secret is older", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", created, nil)}},
		{reason: "the Secret is for another registry", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "quay.io", later, nil)}},
		{reason: "the copy is still to come", objects: []runtime.Object{revision(rejected), granted}},
		{reason: "the Revision has not failed", objects: []runtime.Object{revision(), pullSecret("ghcr", "ghcr.io", later, nil)}},
		{reason: "the Revision changed meanwhile", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)},
			fail: apierrors.NewConflict(resource, "app-00001", errors.New("the UID differs")), deletes: true},
		{reason: "the Revision is gone", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)},
			fail: apierrors.NewNotFound(resource, "app-00001"), deletes: true},
		{reason: "a policy rejects it", objects: []runtime.Object{revision(rejected), pullSecret("ghcr", "ghcr.io", later, nil)},
			fail: apierrors.NewForbidden(resource, "app-00001", errors.New("a policy denied the request")), deletes: true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.config == nil {
				test.config = enabled()
			}
			if test.namespace == nil {
				test.namespace = declares("ghcr")
			}
			w := newWorld(t, test.config, append(test.objects, test.namespace, app())...)
			w.fail = test.fail
			got, _ := w.reconcile()
			var deletions, recorded []string
			if test.deletes {
				deletions = []string{"app-00001 team/app-00001 7"}
			}
			if test.event {
				recorded = []string{"Normal RevisionRetried Deleted Revision app-00001"}
			}
			w.check("deletions", w.deletions, deletions...)
			w.check("Events", got, recorded...)
		})
	}
}

// A Revision is not retried again with the same credential, neither by this process, whatever
// its cache says, nor after a restart, when the Revision is younger than the credential.
func TestRetryOncePerChange(t *testing.T) {
	later := created.Add(time.Minute)
	failed := revision(rejected)
	w := newWorld(t, enabled(), declares("ghcr"), app(), failed, pullSecret("ghcr", "ghcr.io", later, nil))
	w.reconcile()
	w.reconcile()
	w.check("a stale cache", w.deletions, "app-00001")

	again := revision(rejected, WithCreation(later.Add(time.Second)))
	w = newWorld(t, enabled(), declares("ghcr"), app(), again, pullSecret("ghcr", "ghcr.io", later, nil))
	w.reconcile()
	w.check("after a restart", w.deletions)

	key := types.NamespacedName{Namespace: ns, Name: "ghcr"}
	w.secrets["ghcr"] = pullSecret("ghcr", "ghcr.io", later.Add(time.Hour), nil)
	w.secrets["ghcr"].ResourceVersion = "2"
	w.r.secrets.observe(key, "2")
	w.r.secrets.refresh(w.ctx, key)
	w.reconcile()
	w.check("written again with the same credential", w.deletions)
	w.secrets["ghcr"].Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"ghcr.io":{"username":"robot","password":"another"}}}`)
	w.r.secrets.observe(key, "3")
	w.r.secrets.refresh(w.ctx, key)
	w.reconcile()
	w.check("changed", w.deletions, "app-00001")
}

// After a restart, no digest shows whether the controller wrote the data of a copy or only its
// metadata, which is the same field manager's.
func TestRetryAfterMetadataOfACopy(t *testing.T) {
	rotation, retried, labelled := metav1.NewTime(created.Add(time.Hour)), created.Add(time.Hour+time.Minute), metav1.NewTime(created.Add(24*time.Hour))
	granted := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.Registries, cps.Status.Source = []string{"ghcr.io"}, &v1alpha1.SourceStatus{ResourceVersion: "2", LastChanged: &rotation}
	})
	copied := pullSecret("ghcr", "ghcr.io", created, grant.CopyLabels("ghcr"))
	copied.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: "2"}
	copied.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: pullsecrets.FieldManager, Time: &labelled, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{},"f:metadata":{}}`)}}}
	for _, test := range []struct {
		reason    string
		failed    time.Time
		tried     string
		deletions []string
	}{
		{"it was retried before the restart", retried, "", nil},
		{"it failed before the credential changed", created.Add(time.Minute), "", []string{"app-00001"}},
		{"this process saw another credential fail", retried, "another", []string{"app-00001"}},
	} {
		w := newWorld(t, enabled(), declares("ghcr"), app(), revision(rejected, WithCreation(test.failed)), granted, copied)
		if w.now = w.now.Add(48 * time.Hour); test.tried != "" {
			w.r.use(types.NamespacedName{Namespace: ns, Name: "app"}, test.tried)
		}
		w.reconcile()
		w.check(test.reason, w.deletions, test.deletions...)
	}
}

// A retry that is delayed delays no report, and follows.
func TestThrottledRetry(t *testing.T) {
	routed := NewRevision(ns, "app-00000", WithRevisionPullSecrets("missing"), func(r *servingv1.Revision) {
		r.Labels["serving.knative.dev/routingState"] = "active"
	})
	w := newWorld(t, enabled(), declares("ghcr"), app(), revision(rejected), routed, pullSecret("ghcr", "ghcr.io", created.Add(time.Minute), nil))
	retries := w.r.retries
	w.r.retries = fair.NewBudget(fair.Rate{}, fair.Rate{}, time.Now)
	w.check("Events", w.lasting(), "Secret missing does not exist")
	if _, again := w.reconcile(); again != readAfter {
		t.Errorf("reconciled again after %v, want %v", again, readAfter)
	}
	w.check("deletions", w.deletions)
	w.r.retries = retries
	w.reconcile()
	w.check("deletions later", w.deletions, "app-00001")
}

// An error of the API server is returned, so that the retry is repeated.
func TestRetryFails(t *testing.T) {
	w := newWorld(t, enabled(), declares("ghcr"), app(), revision(rejected), pullSecret("ghcr", "ghcr.io", created.Add(time.Minute), nil))
	w.fail = errors.New("the API server is unavailable")
	if err := w.r.ReconcileKind(w.ctx, w.svc); err == nil || !strings.Contains(err.Error(), "failed to delete Revision team/app-00001") {
		t.Errorf("ReconcileKind: %v", err)
	}
	w.fail = nil
	got, _ := w.reconcile()
	w.check("Events", got, "RevisionRetried")
}
