// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/merge"
)

// Service is what a declaration depends on of a Knative Service. The reconciler reads it
// from an object, the webhook from JSON.
type Service struct {
	Annotations map[string]string
	// Images returns the images that the Pods need. It is called only where an image
	// matters.
	Images func() []Image
	// Stored returns the list that the API server has, which is empty for a Service that is
	// being created. It is called only if ClusterPullSecrets cannot be read.
	Stored func() merge.Current
}

// Declaration is what is declared for a Service, and how that came about.
type Declaration struct {
	// Declared lacks the ServiceAccount, see NeedsAccount.
	merge.Declared
	// OfNamespace and OfService are the annotations, parsed.
	OfNamespace annotation.Namespace
	OfService   annotation.Service
	Policy      annotation.Policy
	// Granted is what the Namespace may have. It is empty where injection is disabled.
	Granted Grants
}

// Ask returns the value of inject by which a Service can ask for all that is declared for it. With
// declared, it would lose what ClusterPullSecrets declare, by always.services or inject: auto of
// the Namespace.
func (d Declaration) Ask() annotation.Inject {
	if d.Policy.Auto || len(d.Always)+len(d.Auto) > 0 {
		return annotation.Auto
	}
	return annotation.Declared
}

// Declare returns what is declared for a Service in the Namespace, which the
// configuration must not exclude. The reconciler and the webhook both call it, so that
// they never disagree.
func (c Catalog) Declare(namespace *corev1.Namespace, service Service, covers Covers) Declaration {
	d := Declaration{
		OfNamespace: annotation.ForNamespace(namespace.Annotations),
		OfService:   annotation.ForService(service.Annotations),
	}
	d.Policy = annotation.PolicyFor(d.OfNamespace.Inject, d.OfService.Inject)
	if d.Policy.Disabled {
		return d
	}
	d.Granted = c.For(namespace.Labels)
	d.Hold, d.Service, d.Namespace = d.Policy.Hold, d.OfService.Secrets, d.OfNamespace.Secrets
	d.Always, d.Auto = d.Granted.layers(d.Policy, service, covers)
	return d
}

// NeedsAccount reports whether the Service's ServiceAccount takes part: its entries are
// carried into a list that starts, and it may restrict what Pods name.
func (d Declaration) NeedsAccount() bool { return !d.Hold && len(d.Names()) > 0 }
