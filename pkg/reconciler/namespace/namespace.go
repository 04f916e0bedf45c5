// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
)

const topicAnnotations = "annotations"

// untold is when a Namespace is looked at again whose Events had to wait.
const untold = 30 * time.Second

// Reconciler tells the owner of a Namespace what is wrong with its annotations.
// It writes nothing but Events.
type Reconciler struct {
	reporter *events.Reporter
}

var (
	_ namespacereconciler.Interface  = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// ReconcileKind reports each item of the annotations that does not count.
func (r *Reconciler) ReconcileKind(ctx context.Context, namespace *corev1.Namespace) reconciler.Event {
	var reports []events.Event
	if !config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
		for _, problem := range annotation.ForNamespace(namespace.Annotations).Problems {
			reports = append(reports, events.InvalidAnnotation(problem))
		}
	}
	if _, all := r.reporter.Report(controller.GetEventRecorder(ctx), events.InItsOwn(namespace), topicAnnotations, reports); !all {
		return controller.NewRequeueAfter(untold)
	}
	return nil
}

// ObserveDeletion forgets a Namespace that is gone.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	// Reports are noted under the Namespace's own namespace; see InItsOwn.
	r.reporter.Forget(types.NamespacedName{Namespace: key.Name, Name: key.Name}, topicAnnotations)
	return nil
}
