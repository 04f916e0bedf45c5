// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/leaderelection"
	"knative.dev/pkg/logging"
	o11yconfigmap "knative.dev/pkg/observability/configmap"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/configmaps"
	"knative.dev/pkg/webhook/resourcesemantics"
	"knative.dev/pkg/webhook/resourcesemantics/defaulting"
	"knative.dev/pkg/webhook/resourcesemantics/validation"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
)

// Names of the webhook configurations for our own objects.
const (
	defaultingName = "defaulting.pullsecrets.dev"
	validationName = "validation.pullsecrets.dev"
	configName     = "config.pullsecrets.dev"
)

// kinds are our own kinds. Other kinds must not be added: the generic code would default
// them with our settings and drop fields that our types do not know.
var kinds = map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
	v1alpha1.SchemeGroupVersion.WithKind("ClusterPullSecret"): &v1alpha1.ClusterPullSecret{},
}

func unchanged(ctx context.Context) context.Context { return ctx }

// NewDefaultingController returns the admission that sets defaults in ClusterPullSecrets.
func NewDefaultingController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(defaulting.NewAdmissionController(ctx, defaultingName, "/defaulting", kinds, unchanged, true),
		register(ctx, defaultingName, mutatingConfigurations(ctx)))
}

// NewValidationController returns the admission that rejects invalid ClusterPullSecrets.
func NewValidationController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(validation.NewAdmissionController(ctx, validationName, "/validation", kinds, unchanged, true),
		register(ctx, validationName, validatingConfigurations(ctx)))
}

// NewConfigController returns the admission that rejects ConfigMaps with invalid
// settings, so that the current settings stay in effect and the operator sees the error
// immediately.
func NewConfigController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(configmaps.NewAdmissionController(ctx, configName, "/config-validation", configmap.Constructors{
		config.Name:                    config.NewFromConfigMap,
		logging.ConfigMapName():        logging.NewConfigFromConfigMap,
		leaderelection.ConfigMapName(): newLeaderElection,
		o11yconfigmap.Name():           o11yconfigmap.Parse,
	}), register(ctx, configName, validatingConfigurations(ctx)))
}

// mapLeasePrefix is the prefix of the keys that rename leases.
const mapLeasePrefix = "map-lease-prefix"

// newLeaderElection rejects other names for leases. A policy allows each program to write
// only leases that begin with its own name (config/705-policy-leases.yaml), so the
// program could never become the leader.
func newLeaderElection(cm *corev1.ConfigMap) (*leaderelection.Config, error) {
	for key := range cm.Data {
		if strings.HasPrefix(key, mapLeasePrefix) {
			return nil, fmt.Errorf("%s is not supported: a policy allows each program only leases that begin with its own name", key)
		}
	}
	return leaderelection.NewConfigFromConfigMap(cm)
}

// withRegistration keeps the admission and the watches of a controller of
// knative.dev/pkg, and replaces its management of the webhook configuration, which
// updates the whole object, and rewrites rules, selectors and owners.
func withRegistration(impl *controller.Impl, r *registration) *controller.Impl {
	impl.Reconciler = &admissionReconciler{registration: r, AdmissionController: impl.Reconciler.(webhook.AdmissionController)}
	return impl
}
