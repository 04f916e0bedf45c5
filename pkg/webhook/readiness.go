// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/clients/namespacedkube/informers/factory"
	"knative.dev/pkg/system"
)

// Readiness tells whether a replica may be sent requests. Before its caches are
// filled it would leave everything to the reconciler, and a rollout would open a
// gap.
type Readiness struct {
	mu  sync.Mutex
	all []need
}

type need struct {
	what string
	met  func() bool
}

func (r *Readiness) needs(what string, met func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, need{what, met})
}

// Check returns what is missing, or nil when nothing is.
func (r *Readiness) Check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return errors.New("starting")
	}
	for _, n := range r.all {
		if !n.met() {
			return errors.New("waiting for " + n.what)
		}
	}
	return nil
}

// SeeOnlySecret makes the informer that knative.dev/pkg uses for the webhook's
// certificate see that one Secret. By itself it lists all of the namespace, which
// would need rights that this program shall not have. To be called before the
// program's main.
func SeeOnlySecret(name string) {
	injection.Default.RegisterInformerFactory(func(ctx context.Context) context.Context {
		return context.WithValue(ctx, factory.Key{}, informers.NewSharedInformerFactoryWithOptions(
			kubeclient.Get(ctx), controller.GetResyncPeriod(ctx),
			informers.WithNamespace(system.Namespace()),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}),
		))
	})
}
