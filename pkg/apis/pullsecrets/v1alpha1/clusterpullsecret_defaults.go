// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"context"

	"k8s.io/apimachinery/pkg/util/validation"
)

// SetDefaults fills in what the user may leave out.
func (c *ClusterPullSecret) SetDefaults(context.Context) {
	// An object that is made with generateName has no name yet when the
	// webhook sees it. Its secretName then stays empty, and the generated
	// reconciler, which calls this too, fills it in for its own eyes.
	// And one whose name no copy could have is refused for its name, not for a
	// field that nobody wrote.
	if c.Spec.SecretName == "" && len(c.Name) <= validation.LabelValueMaxLength {
		c.Spec.SecretName = c.Name
	}
	if c.Spec.DeletionPolicy == "" {
		c.Spec.DeletionPolicy = DeletionPolicyDelete
	}
}
