// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"context"

	"k8s.io/apimachinery/pkg/util/validation"
)

// SetDefaults sets the optional fields of the spec.
func (c *ClusterPullSecret) SetDefaults(context.Context) {
	// An object with generateName has no name yet in its admission request, so its
	// secretName stays empty. The generated reconciler calls SetDefaults too, on its own
	// copy. A name that is too long for a copy is rejected as metadata.name, and not for a
	// field that the user did not set.
	if c.Spec.SecretName == "" && len(c.Name) <= validation.LabelValueMaxLength {
		c.Spec.SecretName = c.Name
	}
	if c.Spec.DeletionPolicy == "" {
		c.Spec.DeletionPolicy = DeletionPolicyDelete
	}
}
