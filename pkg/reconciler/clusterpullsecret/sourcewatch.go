// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/trim"
)

// sourceWatches watches sources, each by a watch of that one Secret. Sources are few, and
// their namespace may hold many unrelated Secrets.
type sourceWatches struct {
	client  kubernetes.Interface
	changed func(v1alpha1.SecretReference)

	mu      sync.Mutex
	cancels map[v1alpha1.SecretReference]context.CancelFunc
}

// follow starts to watch a source, unless it is watched already.
func (s *sourceWatches) follow(ctx context.Context, ref v1alpha1.SecretReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, watched := s.cancels[ref]; watched {
		return
	}
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0,
		informers.WithNamespace(ref.Namespace),
		informers.WithTransform(trim.Object),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, ref.Name).String()
		}))
	changed := func() { s.changed(ref) }
	// The first event counts as a change: the source may have been created between the
	// last read and the start of the watch.
	_, err := factory.Core().V1().Secrets().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() },
		UpdateFunc: func(before, after any) {
			if before.(*corev1.Secret).ResourceVersion != after.(*corev1.Secret).ResourceVersion {
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return // Only an informer that has stopped rejects handlers.
	}
	ctx, stop := context.WithCancel(ctx)
	if s.cancels == nil {
		s.cancels = make(map[v1alpha1.SecretReference]context.CancelFunc)
	}
	s.cancels[ref] = stop
	factory.Start(ctx.Done())
}

// keep stops the watches of all other sources.
func (s *sourceWatches) keep(refs sets.Set[v1alpha1.SecretReference]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, stop := range s.cancels {
		if !refs.Has(ref) {
			stop()
			delete(s.cancels, ref)
		}
	}
}
