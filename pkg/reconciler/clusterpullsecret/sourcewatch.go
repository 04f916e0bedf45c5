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

// sourceWatches follows sources, each by a watch of that one Secret: they are few,
// and may lie next to many that are none of our business.
type sourceWatches struct {
	client  kubernetes.Interface
	changed func(v1alpha1.SecretReference)

	mu      sync.Mutex
	stopped map[v1alpha1.SecretReference]context.CancelFunc
}

// follow begins to follow a source unless it is followed.
func (s *sourceWatches) follow(ctx context.Context, ref v1alpha1.SecretReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, followed := s.stopped[ref]; followed {
		return
	}
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0,
		informers.WithNamespace(ref.Namespace),
		informers.WithTransform(trim.Object),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, ref.Name).String()
		}))
	changed := func() { s.changed(ref) }
	// The first look counts as a change: the source may have come after it was
	// read last, and before it was followed.
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
		return // Only an informer that has stopped refuses handlers.
	}
	ctx, stop := context.WithCancel(ctx)
	if s.stopped == nil {
		s.stopped = make(map[v1alpha1.SecretReference]context.CancelFunc)
	}
	s.stopped[ref] = stop
	factory.Start(ctx.Done())
}

// keep stops to follow all sources but these.
func (s *sourceWatches) keep(refs sets.Set[v1alpha1.SecretReference]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, stop := range s.stopped {
		if !refs.Has(ref) {
			stop()
			delete(s.stopped, ref)
		}
	}
}
