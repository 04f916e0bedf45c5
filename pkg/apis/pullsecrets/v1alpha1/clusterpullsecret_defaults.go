// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "context"

// SetDefaults fills in what the user may leave out.
func (c *ClusterPullSecret) SetDefaults(context.Context) {
	// An object that is made with generateName has no name yet when the
	// webhook sees it. Its secretName then stays empty, and the generated
	// reconciler, which calls this too, fills it in for its own eyes.
	if c.Spec.SecretName == "" {
		c.Spec.SecretName = c.Name
	}
	if c.Spec.DeletionPolicy == "" {
		c.Spec.DeletionPolicy = DeletionPolicyDelete
	}
}
