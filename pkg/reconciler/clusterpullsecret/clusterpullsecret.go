// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretreconciler "pullsecrets.dev/pkg/client/injection/reconciler/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
)

// finalizeInterval is when a deleted ClusterPullSecret is reconciled again while copies
// exist. Their deletions enqueue it too.
const finalizeInterval = 5 * time.Second

// finalizeTimeout is when an Event reports that copies still exist.
const finalizeTimeout = time.Minute

// Reconciler validates the source of a ClusterPullSecret and reports in its status how
// far the copies are distributed. The Namespace reconciler writes the copies.
type Reconciler struct {
	sources *source.Reader
	// watch starts to watch a source; see sourceWatches.
	watch func(v1alpha1.SecretReference)

	catalog            *catalog.Catalog
	clusterPullSecrets lister

	namespaces corev1listers.NamespaceLister
	accounts   corev1listers.ServiceAccountLister
	services   servinglisters.ServiceLister
	// secrets lists the Secrets with our labels. Their data are digests.
	secrets corev1listers.SecretLister
	// liveCopies reads the metadata of the copies of a ClusterPullSecret from the API
	// server.
	liveCopies func(ctx context.Context, name string) ([]metav1.ObjectMeta, error)

	// checker asks registries. Its checks run in goroutines, which inBackground starts, and
	// enqueue their ClusterPullSecret at the end.
	checker      checker
	inBackground func(func())
	enqueue      func(name string)

	// memory owns tallies, diagnoses and verifications, and what the reporter and the metrics keep.
	memory        *memory.Memory
	reporter      *events.Reporter
	tallies       tallies
	diagnoses     diagnoses
	verifications verifications
	probe         prober
	metrics       recorded
	now           func() time.Time
}

var (
	_ clusterpullsecretreconciler.Interface = (*Reconciler)(nil)
	_ clusterpullsecretreconciler.Finalizer = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface        = (*Reconciler)(nil)
)

// ReconcileKind updates the status.
func (r *Reconciler) ReconcileKind(ctx context.Context, cps *v1alpha1.ClusterPullSecret) reconciler.Event {
	defer r.memory.Settle(keyFor(cps.Name))
	changed, sourceAfter, err := r.checkSource(ctx, cps)
	if err != nil {
		if cps.Status.ObservedGeneration != cps.Generation {
			// The generated reconciler marks this generation as observed anyway, but the
			// status may describe another source.
			cps.Status.MarkSourceUnknown(cps.Spec.SecretRef)
		}
		return err
	}
	if changed {
		// The images that the source covers determine which namespaces ask for copies.
		// The caches show them once this status is written, which enqueues it again.
		return nil
	}
	requeueAfter, err := r.updateDistribution(ctx, cps)
	if err != nil {
		return err
	}
	requeueAfter = sooner(sooner(requeueAfter, sourceAfter), sooner(r.reportExpiry(ctx, cps), r.untilCheck(cps.Name)))
	if requeueAfter > 0 {
		return controller.NewRequeueAfter(requeueAfter)
	}
	return nil
}

// sooner returns the shorter of two delays, of which each may be zero for none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// FinalizeKind keeps a deleted ClusterPullSecret until the Namespace reconciler has
// removed its copies, or our labels from them. Copies in terminating namespaces do not
// count. The API server is read last: a copy that was just written is not cached yet, and
// its deletionPolicy is lost with the ClusterPullSecret.
func (r *Reconciler) FinalizeKind(ctx context.Context, cps *v1alpha1.ClusterPullSecret) reconciler.Event {
	defer r.memory.Settle(keyFor(cps.Name))
	cached, err := source.CopiesOf(r.secrets, cps.Name)
	if err != nil {
		return err
	}
	copies := make([]metav1.ObjectMeta, 0, len(cached))
	for _, copied := range cached {
		copies = append(copies, copied.ObjectMeta)
	}
	left := r.namespacesLeft(cps, copies)
	if len(left) == 0 {
		live, err := r.liveCopies(ctx, cps.Name)
		if err != nil {
			return fmt.Errorf("failed to list the copies of ClusterPullSecret %s: %w", cps.Name, err)
		}
		left = r.namespacesLeft(cps, live)
	}
	if len(left) == 0 {
		return nil
	}
	if r.now().Sub(cps.DeletionTimestamp.Time) > finalizeTimeout && r.diagnoses.reportOnce(cps.Name, "deletion") {
		slices.Sort(left)
		e := events.RevocationDelayed(left)
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
	return controller.NewRequeueAfter(finalizeInterval)
}

// namespacesLeft returns the namespaces whose copies a deleted ClusterPullSecret waits
// for.
func (r *Reconciler) namespacesLeft(cps *v1alpha1.ClusterPullSecret, copies []metav1.ObjectMeta) (left []string) {
	all := list(r.clusterPullSecrets)
	for _, copied := range copies {
		if slices.ContainsFunc(all, func(cps *v1alpha1.ClusterPullSecret) bool { return grant.IsSource(cps, copied.Namespace, copied.Name) }) {
			continue // A source is no copy, even if it has our labels, and is never removed.
		}
		if copied.CreationTimestamp.Sub(cps.DeletionTimestamp.Time) > finalizeTimeout {
			continue // It was created after the deletion. It is removed too, but must not block the finalizer.
		}
		namespace, err := r.namespaces.Get(copied.Namespace)
		if err == nil && namespace.DeletionTimestamp.IsZero() {
			left = append(left, namespace.Name)
		}
	}
	return left
}

// liveCopiesBy returns a function that lists the Secrets that are labelled as copies of a
// ClusterPullSecret. It requests only the metadata, so that the API server sends no
// credential.
func liveCopiesBy(kube kubernetes.Interface) func(context.Context, string) ([]metav1.ObjectMeta, error) {
	return func(ctx context.Context, name string) ([]metav1.ObjectMeta, error) {
		raw, err := kube.CoreV1().RESTClient().Get().Resource("secrets").
			VersionedParams(&metav1.ListOptions{LabelSelector: labels.SelectorFromSet(grant.CopyLabels(name)).String()}, metav1.ParameterCodec).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var found metav1.PartialObjectMetadataList
		if err := json.Unmarshal(raw, &found); err != nil {
			return nil, fmt.Errorf("failed to decode the metadata of Secrets: %w", err)
		}
		copies := make([]metav1.ObjectMeta, 0, len(found.Items))
		for _, item := range found.Items {
			copies = append(copies, item.ObjectMeta)
		}
		return copies, nil
	}
}

// ObserveDeletion drops the state of a ClusterPullSecret that was deleted.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}
