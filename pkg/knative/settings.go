// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package knative follows the settings of Knative Serving that decide what Knative
// makes of a Service: ConfigMaps in Knative's own namespace, read with Knative's own
// parsers.
package knative

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/configmap"
	"knative.dev/serving/pkg/apis/config"

	"pullsecrets.dev/pkg/template"
)

// Namespace is where Knative Serving is installed. The environment variable
// KNATIVE_NAMESPACE names another one.
func Namespace() string { return cmp.Or(os.Getenv("KNATIVE_NAMESPACE"), "knative-serving") }

// grace is how long a replica waits at its start for settings that it cannot read.
const grace = 5 * time.Second

// Settings is the current state of Knative's settings. A ConfigMap that is absent,
// cannot be read or does not parse leaves the last good state, which at first is what
// Knative is compiled with. Nothing waits for it but Known, for a moment.
type Settings struct {
	store    *configmap.UntypedStore
	synced   []cache.InformerSynced
	started  time.Time
	template atomic.Pointer[template.Settings]
}

// Follow follows the settings until the context ends. Each ConfigMap has a watch of
// its own, so that rights can be limited to their names.
func Follow(ctx context.Context, kube kubernetes.Interface, logger configmap.Logger) (*Settings, error) {
	s := newSettings(logger)
	for _, name := range []string{config.DefaultsConfigName, config.FeaturesConfigName} {
		informer := informers.NewSharedInformerFactoryWithOptions(kube, 0,
			informers.WithNamespace(Namespace()),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}),
		).Core().V1().ConfigMaps().Informer()
		take := func(object any) {
			if cm, ok := object.(*corev1.ConfigMap); ok {
				s.store.OnConfigChanged(cm)
			}
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: take, UpdateFunc: func(_, object any) { take(object) },
		}); err != nil {
			return nil, fmt.Errorf("failed to watch ConfigMap %s: %w", name, err)
		}
		s.synced = append(s.synced, informer.HasSynced)
		go informer.RunWithContext(ctx)
	}
	return s, nil
}

func newSettings(logger configmap.Logger) *Settings {
	s := &Settings{started: time.Now()}
	s.store = configmap.NewUntypedStore("knative", logger, configmap.Constructors{
		config.DefaultsConfigName: config.NewDefaultsConfigFromConfigMap,
		config.FeaturesConfigName: config.NewFeaturesConfigFromConfigMap,
	}, func(string, any) { s.publish() })
	s.publish()
	return s
}

func (s *Settings) publish() {
	defaults, _ := s.store.UntypedLoad(config.DefaultsConfigName).(*config.Defaults)
	features, _ := s.store.UntypedLoad(config.FeaturesConfigName).(*config.Features)
	settings := template.NewSettings(defaults, features)
	s.template.Store(&settings)
}

// Template returns the settings by which Knative fills in templates.
func (s *Settings) Template() template.Settings { return *s.template.Load() }

// Known reports whether the settings have been read, or could not be for so long that
// nobody should wait for them.
func (s *Settings) Known() bool {
	for _, synced := range s.synced {
		if !synced() {
			return time.Since(s.started) > grace
		}
	}
	return true
}
