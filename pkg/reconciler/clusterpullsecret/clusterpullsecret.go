// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"encoding/json"
	"errors"
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
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
)

// remaining is when a deleted ClusterPullSecret is looked at again whose copies are
// being taken away. Their going wakes it too.
const remaining = 5 * time.Second

// overdue is when it is told that copies are still there.
const overdue = time.Minute

// Reconciler checks the source of a ClusterPullSecret and tells in its status how
// far the copies have come, which the Namespace reconciler writes.
type Reconciler struct {
	sources *source.Reader
	// watch follows a source; see sourceWatches.
	watch func(v1alpha1.SecretReference)

	catalog            *catalog.Catalog
	clusterPullSecrets lister

	namespaces corev1listers.NamespaceLister
	services   servinglisters.ServiceLister
	// secrets are the Secrets with our label, with digests for data.
	secrets corev1listers.SecretLister
	// liveCopies reads the metadata of the copies of a ClusterPullSecret from the API
	// server.
	liveCopies func(ctx context.Context, name string) ([]metav1.ObjectMeta, error)

	// memory is tallies and stalled.
	memory  *memory.Memory
	tallies tallies
	stalled stalls
	probe   prober
	metrics recorded
	now     func() time.Time
}

var (
	_ clusterpullsecretreconciler.Interface = (*Reconciler)(nil)
	_ clusterpullsecretreconciler.Finalizer = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface        = (*Reconciler)(nil)
)

// ReconcileKind brings the status up to date.
func (r *Reconciler) ReconcileKind(ctx context.Context, cps *v1alpha1.ClusterPullSecret) reconciler.Event {
	changed, err := r.checkSource(ctx, cps)
	if err != nil {
		if cps.Status.ObservedGeneration != cps.Generation {
			// The generated reconciler will call this generation observed all the same,
			// and what is known may be about another source.
			cps.Status.MarkSourceUnknown(cps.Spec.SecretRef)
		}
		return err
	}
	if changed {
		// What namespaces ask for by their images depends on what the source covers,
		// which caches know when the status has reached them. That brings it back.
		return nil
	}
	again, err := r.count(ctx, cps)
	if err != nil {
		return err
	}
	if again > 0 {
		return controller.NewRequeueAfter(again)
	}
	return nil
}

// checkSource says whether the source is good, and whether it holds something new.
// What is known of the last good one stays in the status, because the copies stay too.
func (r *Reconciler) checkSource(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (changed bool, err error) {
	ref, status := cps.Spec.SecretRef, &cps.Status
	if !config.FromContext(ctx).AllowsSource(ref.Namespace) {
		status.MarkSourceNotAllowed(ref, fmt.Sprintf("namespace %s is none of source-namespaces", ref.Namespace))
		return false, nil
	}
	r.watch(ref)
	facts, err := r.sources.Read(ctx, ref)
	var (
		missing   *source.NotFoundError
		copied    *source.CopyError
		wrongType *dockerconfig.WrongTypeError
		invalid   *dockerconfig.InvalidError
	)
	switch {
	case errors.As(err, &missing):
		status.MarkSourceNotFound(ref)
	case errors.As(err, &copied):
		status.MarkSourceNotAllowed(ref, copied.Error())
	case errors.As(err, &wrongType):
		status.MarkSourceWrongType(ref, wrongType.Type)
	case errors.As(err, &invalid):
		markAndTell(ctx, cps, events.SourceInvalid, func() { status.MarkSourceInvalid(ref, invalid.Error()) })
	case err != nil:
		return false, err
	default:
		if len(facts.Remarks) > 0 {
			markAndTell(ctx, cps, events.SourceQuestionable, func() { status.MarkSourceQuestionable(ref, facts.Remarks) })
		} else {
			status.MarkSourceReady()
		}
		status.Registries = facts.Registries
		if changed, err = r.changed(cps, facts); err != nil {
			return false, err
		}
		if changed {
			status.Source = &v1alpha1.SourceStatus{ResourceVersion: facts.ResourceVersion, LastChanged: new(metav1.NewTime(r.now()))}
			status.MarkDistributing()
		}
		// Where it has not changed, it is as good as that version.
		facts.ResourceVersion = status.Source.ResourceVersion
		r.sources.Know(ref, facts.ResourceVersion, facts)
	}
	return changed, nil
}

// markAndTell sets the condition of the source, and records its message as an Event
// where that is another than before.
func markAndTell(ctx context.Context, cps *v1alpha1.ClusterPullSecret, tell func(message string) events.Event, mark func()) {
	before := sourceCondition(cps)
	mark()
	if after := sourceCondition(cps); before == nil || before.Message != after.Message {
		e := tell(after.Message)
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
}

// changed tells whether the source holds something else than at the version that
// the status names. A source that was only labelled has not changed, and costs no
// write of any copy.
func (r *Reconciler) changed(cps *v1alpha1.ClusterPullSecret, facts source.Facts) (bool, error) {
	status := cps.Status.Source
	if status == nil {
		return true, nil
	}
	if status.ResourceVersion == facts.ResourceVersion {
		return false, nil
	}
	if known, isKnown := r.sources.Known(cps.Spec.SecretRef, status.ResourceVersion); isKnown {
		return known.Digest != facts.Digest, nil
	}
	copies, err := source.CopiesOf(r.secrets, cps.Name)
	if err != nil {
		return false, err
	}
	// This process has just started: the copies of that version know what it was. One
	// that holds something else has to be written anew in any case, and is not before
	// the status names the version of which that is done.
	same, other := source.Compare(copies, status.ResourceVersion, facts.Digest)
	return other || !same, nil
}

// FinalizeKind holds a deleted ClusterPullSecret until the Namespace reconciler has
// taken its copies away, or our labels off them. Namespaces that are going take
// theirs along, and are not waited for. The API server is asked last: a copy that was
// written a moment ago is not in the cache yet, and once the ClusterPullSecret is gone
// nobody knows its deletionPolicy.
func (r *Reconciler) FinalizeKind(ctx context.Context, cps *v1alpha1.ClusterPullSecret) reconciler.Event {
	cached, err := source.CopiesOf(r.secrets, cps.Name)
	if err != nil {
		return err
	}
	copies := make([]metav1.ObjectMeta, 0, len(cached))
	for _, copied := range cached {
		copies = append(copies, copied.ObjectMeta)
	}
	left := r.left(cps, copies)
	if len(left) == 0 {
		live, err := r.liveCopies(ctx, cps.Name)
		if err != nil {
			return fmt.Errorf("failed to list the copies of ClusterPullSecret %s: %w", cps.Name, err)
		}
		left = r.left(cps, live)
	}
	if len(left) == 0 {
		return nil
	}
	if r.now().Sub(cps.DeletionTimestamp.Time) > overdue && r.stalled.tell(cps.Name, "deletion") {
		slices.Sort(left)
		e := events.RevocationDelayed(left)
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
	return controller.NewRequeueAfter(remaining)
}

// left are the namespaces of the copies that a deleted ClusterPullSecret waits for.
func (r *Reconciler) left(cps *v1alpha1.ClusterPullSecret, copies []metav1.ObjectMeta) (left []string) {
	all := list(r.clusterPullSecrets)
	for _, copied := range copies {
		if slices.ContainsFunc(all, func(cps *v1alpha1.ClusterPullSecret) bool { return grant.IsSource(cps, copied.Namespace, copied.Name) }) {
			continue // Whoever put our labels on a source has made no copy of it, and nobody takes it away.
		}
		if copied.CreationTimestamp.Sub(cps.DeletionTimestamp.Time) > overdue {
			continue // Somebody keeps making Secrets that look like copies. They go as well, but hold up nothing.
		}
		namespace, err := r.namespaces.Get(copied.Namespace)
		if err == nil && namespace.DeletionTimestamp.IsZero() {
			left = append(left, namespace.Name)
		}
	}
	return left
}

// liveCopiesBy asks the API server for the metadata of the Secrets that are labelled as
// copies of a ClusterPullSecret, so that no credential is sent.
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
			return nil, fmt.Errorf("the API server's metadata does not parse: %w", err)
		}
		copies := make([]metav1.ObjectMeta, 0, len(found.Items))
		for _, item := range found.Items {
			copies = append(copies, item.ObjectMeta)
		}
		return copies, nil
	}
}

// ObserveDeletion forgets a ClusterPullSecret that is gone.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}
