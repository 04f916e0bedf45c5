// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package knative follows the settings of Knative Serving that decide how Knative handles a
// Service: ConfigMaps in Knative's own namespace, parsed with Knative's own parsers.
package knative

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
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
	"knative.dev/serving/pkg/deployment"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/template"
)

// systemNamespace is the namespace of Knative Serving. The environment variable
// KNATIVE_NAMESPACE overrides it.
func systemNamespace() string { return cmp.Or(os.Getenv("KNATIVE_NAMESPACE"), "knative-serving") }

// The ConfigMaps that can be followed.
const (
	Defaults   = config.DefaultsConfigName
	Features   = config.FeaturesConfigName
	Deployment = deployment.ConfigName
)

// grace is how long a program waits at its start for settings that it cannot read.
const grace = 5 * time.Second

// Settings are the current settings of Knative. If a ConfigMap is missing, cannot be read
// or does not parse, the last valid state stays in use, which at first are Knative's
// defaults. Only Known and Wait wait for it, for a short time.
type Settings struct {
	logger   configmap.Logger
	synced   []cache.InformerSynced
	started  time.Time
	template atomic.Pointer[template.Settings]
	images   atomic.Pointer[grant.ImageSettings]

	mu            sync.Mutex
	defaults      *config.Defaults
	features      *config.Features
	imagesChanged []func()
}

// NewSettings returns Knative's default settings.
func NewSettings() *Settings {
	s := &Settings{}
	s.publishTemplate()
	s.images.Store(&grant.ImageSettings{Unresolved: compiledUnresolved()})
	return s
}

// Follow follows ConfigMaps until the context ends. Each has its own watch, so that
// permissions can be limited to their names.
func (s *Settings) Follow(ctx context.Context, kube kubernetes.Interface, logger configmap.Logger, names ...string) error {
	s.logger, s.started = logger, time.Now()
	take := func(object any) {
		if cm, ok := object.(*corev1.ConfigMap); ok {
			s.OnConfigChanged(cm)
		}
	}
	for _, name := range names {
		informer := informers.NewSharedInformerFactoryWithOptions(kube, 0,
			informers.WithNamespace(systemNamespace()),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}),
		).Core().V1().ConfigMaps().Informer()
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: take, UpdateFunc: func(_, object any) { take(object) },
		})
		if err != nil {
			return fmt.Errorf("failed to watch ConfigMap %s: %w", name, err)
		}
		s.synced = append(s.synced, handler.HasSynced)
		go informer.RunWithContext(ctx)
	}
	return nil
}

// OnConfigChanged applies a ConfigMap. It does not use the stores of knative.dev/pkg,
// which end the program if the first ConfigMap does not parse.
func (s *Settings) OnConfigChanged(cm *corev1.ConfigMap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(cm); err != nil {
		s.logger.Errorf("Failed to parse ConfigMap %s of Knative, the previous settings stay in use: %v", cm.Name, err)
	}
}

// read requires the lock.
func (s *Settings) read(cm *corev1.ConfigMap) error {
	switch cm.Name {
	case Defaults:
		defaults, err := config.NewDefaultsConfigFromConfigMap(cm)
		if err != nil {
			return err
		}
		s.defaults = defaults
		s.publishTemplate()
	case Features:
		features, err := config.NewFeaturesConfigFromConfigMap(cm)
		if err != nil {
			return err
		}
		s.features = features
		s.publishTemplate()
	case Deployment:
		images, err := imageSettings(cm)
		if err != nil {
			return err
		}
		s.publishImages(images)
	}
	return nil
}

func (s *Settings) publishTemplate() {
	settings := template.NewSettings(s.defaults, s.features)
	s.template.Store(&settings)
}

func (s *Settings) publishImages(images grant.ImageSettings) {
	if before := s.images.Swap(&images); before.Equal(images) {
		return
	}
	for _, changed := range s.imagesChanged {
		changed()
	}
}

// Template returns the settings for defaults of templates.
func (s *Settings) Template() template.Settings { return *s.template.Load() }

// Covers reports whether a ClusterPullSecret holds a credential for an image, by the
// current settings of images.
func (s *Settings) Covers(cps *v1alpha1.ClusterPullSecret, image grant.Image) bool {
	return s.images.Load().Covers(cps, image)
}

// Images returns the settings of images.
func (s *Settings) Images() grant.ImageSettings { return *s.images.Load() }

// OnImages registers a function that is called when the result of Covers or Images may have changed.
func (s *Settings) OnImages(changed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imagesChanged = append(s.imagesChanged, changed)
}

// Wait waits until the settings are Known or the context ends.
func (s *Settings) Wait(ctx context.Context) {
	for !s.Known() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Known reports whether the settings have been read, or could not be read within the grace
// period.
func (s *Settings) Known() bool {
	for _, synced := range s.synced {
		if !synced() {
			return time.Since(s.started) > grace
		}
	}
	return true
}
