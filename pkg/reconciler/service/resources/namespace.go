// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
)

// SameForServices reports whether two versions of a Namespace mean the same for its
// Services: what is declared for them, whether they are excluded, and which
// ClusterPullSecrets serve them. Other changes of a Namespace enqueue nothing.
func SameForServices(was, is *corev1.Namespace, offered grant.Catalog) bool {
	before, after := annotation.ForNamespace(was.Annotations), annotation.ForNamespace(is.Annotations)
	return before.Inject == after.Inject && slices.Equal(before.Secrets, after.Secrets) &&
		config.ExcludedByLabel(was.Labels) == config.ExcludedByLabel(is.Labels) &&
		slices.Equal(offered.For(was.Labels).Serving, offered.For(is.Labels).Serving)
}
