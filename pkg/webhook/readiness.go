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

// Readiness reports whether a replica may receive requests. Before its caches have
// synced, it would leave every request to the reconciler, and each rollout would leave a
// gap.
type Readiness struct {
	mu  sync.Mutex
	all []requirement
}

type requirement struct {
	name string
	met  func() bool
}

func (r *Readiness) require(name string, met func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, requirement{name, met})
}

// Check returns an error that names an unmet requirement, or nil.
func (r *Readiness) Check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return errors.New("starting")
	}
	for _, required := range r.all {
		if !required.met() {
			return errors.New("waiting for " + required.name)
		}
	}
	return nil
}

// WatchOnlySecret restricts knative.dev/pkg's informer of the webhook's certificate to
// that Secret. By default it lists all Secrets of the namespace, which needs permissions
// that this program does not have. It must be called before the program's main.
func WatchOnlySecret(name string) {
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
