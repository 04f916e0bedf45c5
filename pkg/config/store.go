// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/system"
)

type contextKey struct{}

// Store follows the ConfigMap. A value that does not parse is logged, and the previous
// configuration stays in use.
type Store struct {
	*configmap.UntypedStore
}

// NewStore returns a store that calls onChange after each change.
func NewStore(logger configmap.Logger, onChange ...func(name string, value any)) *Store {
	return &Store{configmap.NewUntypedStore("pullsecrets", logger, configmap.Constructors{Name: NewFromConfigMap}, onChange...)}
}

// WatchConfigs follows the ConfigMap. If it is missing at the start, the defaults apply
// until it is created: it is written through an API server that may call the webhook, so
// the programs must start without it. When it is deleted later, the last settings stay in
// use. WatchConfigs shadows the method of UntypedStore, which waits for the ConfigMap
// without a limit.
func (s *Store) WatchConfigs(ctx context.Context, cmw configmap.Watcher) {
	defaulting, ok := cmw.(configmap.DefaultingWatcher)
	if ok {
		_, err := kubeclient.Get(ctx).CoreV1().ConfigMaps(system.Namespace()).Get(ctx, Name, metav1.GetOptions{})
		ok = apierrors.IsNotFound(err)
	}
	if !ok {
		// A watch with a default could report the default first, and the program
		// would start with it although the ConfigMap exists.
		cmw.Watch(Name, s.OnConfigChanged)
		return
	}
	defaulting.WatchWithDefault(corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: Name}}, func(cm *corev1.ConfigMap) {
		if cm.ResourceVersion == "" && s.UntypedLoad(Name) != nil {
			// Deleted: the watcher reports the default once more.
			return
		}
		s.OnConfigChanged(cm)
	})
}

// ToContext attaches the current configuration to a context, so that one reconciliation
// uses one configuration.
func (s *Store) ToContext(ctx context.Context) context.Context {
	return WithConfig(ctx, s.Load())
}

// Load returns the current configuration, or the default if there is none yet.
func (s *Store) Load() *Config {
	if c, ok := s.UntypedLoad(Name).(*Config); ok {
		return c
	}
	return Default()
}

// WithConfig attaches a configuration to a context.
func WithConfig(ctx context.Context, c *Config) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the attached configuration, or the default.
func FromContext(ctx context.Context) *Config {
	if c, ok := ctx.Value(contextKey{}).(*Config); ok {
		return c
	}
	return Default()
}
