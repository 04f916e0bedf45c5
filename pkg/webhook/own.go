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

// The names of the configurations for our own objects.
const (
	defaultingName = "defaulting.pullsecrets.dev"
	validationName = "validation.pullsecrets.dev"
	configName     = "config.pullsecrets.dev"
)

// kinds are our own kinds. Kinds of others must not be among them: the generic
// code would default them with our settings and drop what our types do not know.
var kinds = map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
	v1alpha1.SchemeGroupVersion.WithKind("ClusterPullSecret"): &v1alpha1.ClusterPullSecret{},
}

func unchanged(ctx context.Context) context.Context { return ctx }

// NewDefaultingController fills in what a ClusterPullSecret leaves out.
func NewDefaultingController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(defaulting.NewAdmissionController(ctx, defaultingName, "/defaulting", kinds, unchanged, true),
		register(ctx, defaultingName, mutatingConfigurations(ctx)))
}

// NewValidationController refuses a ClusterPullSecret that is not valid.
func NewValidationController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(validation.NewAdmissionController(ctx, validationName, "/validation", kinds, unchanged, true),
		register(ctx, validationName, validatingConfigurations(ctx)))
}

// NewConfigController refuses a setting that does not parse, so that the running
// configuration stays and the operator learns why at once.
func NewConfigController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	return withRegistration(configmaps.NewAdmissionController(ctx, configName, "/config-validation", configmap.Constructors{
		config.Name:                    config.NewFromConfigMap,
		logging.ConfigMapName():        logging.NewConfigFromConfigMap,
		leaderelection.ConfigMapName(): newLeaderElection,
		o11yconfigmap.Name():           o11yconfigmap.Parse,
	}), register(ctx, configName, validatingConfigurations(ctx)))
}

// mapLeasePrefix is how the keys begin by which leases get other names.
const mapLeasePrefix = "map-lease-prefix"

// newLeaderElection refuses other names for leases. A policy lets each program write
// leases that begin with its own name alone (config/705-policy-leases.yaml), so that the
// program could never lead.
func newLeaderElection(cm *corev1.ConfigMap) (*leaderelection.Config, error) {
	for key := range cm.Data {
		if strings.HasPrefix(key, mapLeasePrefix) {
			return nil, fmt.Errorf("%s is not supported: a policy keeps each program to leases that begin with its own name", key)
		}
	}
	return leaderelection.NewConfigFromConfigMap(cm)
}

// withRegistration keeps how a controller of knative.dev/pkg answers requests, and
// what it watches, and replaces how it keeps its configuration. That one updates
// the whole object, and rewrites rules, selectors and owners.
func withRegistration(impl *controller.Impl, r *registration) *controller.Impl {
	impl.Reconciler = &admissionReconciler{registration: r, AdmissionController: impl.Reconciler.(webhook.AdmissionController)}
	return impl
}
