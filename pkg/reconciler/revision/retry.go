// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/reconciler/revision/resources"
	"pullsecrets.dev/pkg/rollout"
)

// Limits of retries: in total, and for each namespace. Each is an attempt of Knative to
// resolve tags, of which it makes ten per second.
var (
	retriesOfAll  = fair.Rate{PerSecond: 5, Burst: 50}
	retriesOfEach = fair.Rate{PerSecond: 1, Burst: 20}
)

// retry deletes the newest Revision of a Service if it could succeed with the credential in a
// Secret that changed after the Revision was created. Knative creates it again under the same
// name. The decision is made from live objects, and the deletion has them as preconditions, so
// neither a stale cache nor another replica can cause another one.
func (r *Reconciler) retry(ctx context.Context, s *subject, failed *resources.Revision, secret string) error {
	credential, err := r.secretOf(ctx, s, secret)
	// What is found stands: the Secret was known a moment ago, when it was compared with the images.
	s.retryAfter, s.wait = s.wait, 0
	if err != nil || credential.digest == "" {
		return err
	}
	used := r.lastUsed(s.key)
	if used == credential.digest {
		return nil
	}
	if !r.retries.Take(s.Namespace) {
		s.retryAfter = readAfter
		return nil
	}
	attempt, err := r.attempt(ctx, s, failed.Name, secret, used == "")
	if apierrors.IsNotFound(err) {
		return nil // An event will follow.
	}
	if err != nil {
		return fmt.Errorf("failed to read what a retry of Revision %s/%s depends on: %w", s.Namespace, failed.Name, err)
	}
	verdict := resources.Decide(attempt)
	if verdict == resources.Unchanged {
		r.use(s.key, credential.digest)
	}
	if verdict != resources.Retry {
		return nil
	}
	err = r.serving.ServingV1().Revisions(s.Namespace).Delete(ctx, failed.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &attempt.Revision.UID, ResourceVersion: &attempt.Revision.ResourceVersion},
	})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // It changed, and its event will enqueue the Service.
	case events.Refused(err):
		logging.FromContext(ctx).Warnw("Retry of a Revision was rejected", "revision", failed.Name, "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("failed to delete Revision %s/%s: %w", s.Namespace, failed.Name, err)
	}
	r.use(s.key, credential.digest)
	r.metrics.retried.Add(ctx, 1)
	e := events.RevisionRetried(failed.Name, secret)
	controller.GetEventRecorder(ctx).Event(s.Service, e.Type, e.Reason, e.Message)
	return nil
}

// attempt reads what the decision depends on from the API server. first means that this process
// knows of no other credential that was tried, so the digest does not show that it changed.
func (r *Reconciler) attempt(ctx context.Context, s *subject, revision, secret string, first bool) (a resources.Attempt, err error) {
	if a.Service, err = r.serving.ServingV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{}); err != nil {
		return a, err
	}
	if a.Revision, err = r.serving.ServingV1().Revisions(s.Namespace).Get(ctx, revision, metav1.GetOptions{}); err != nil {
		return a, err
	}
	meta, err := r.metadata(ctx, types.NamespacedName{Namespace: s.Namespace, Name: secret})
	if err != nil {
		return a, err
	}
	a.Changed = rollout.Changed(meta)
	if owner := grant.Owner(&corev1.Secret{ObjectMeta: *meta}); first && owner != "" {
		cps, err := r.clusterPullSecrets.Get(owner)
		if err != nil {
			return a, client(err)
		}
		a.Changed = rollout.ChangedCopy(meta, cps.Status.Source)
	}
	return a, nil
}

// lastUsed returns the digest of the credential with which a Service was retried last, or need
// not be. It is empty if this process knows of none.
func (r *Reconciler) lastUsed(service types.NamespacedName) (digest string) {
	r.used.Do(service, func(last *string) bool {
		digest = *last
		return digest != ""
	})
	return digest
}

// use notes that the newest Revision of a Service is younger than a credential.
func (r *Reconciler) use(service types.NamespacedName, digest string) {
	r.used.Do(service, func(last *string) bool {
		*last = digest
		return true
	})
}

// metadataBy returns a function that reads the metadata of a Secret, so that the API server
// sends no credential.
func metadataBy(kube kubernetes.Interface) func(context.Context, types.NamespacedName) (*metav1.ObjectMeta, error) {
	return func(ctx context.Context, key types.NamespacedName) (*metav1.ObjectMeta, error) {
		raw, err := kube.CoreV1().RESTClient().Get().Namespace(key.Namespace).Resource("secrets").Name(key.Name).
			SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var found metav1.PartialObjectMetadata
		if err := json.Unmarshal(raw, &found); err != nil {
			return nil, fmt.Errorf("decode the metadata of Secret %s: %w", key, err)
		}
		return &found.ObjectMeta, nil
	}
}
