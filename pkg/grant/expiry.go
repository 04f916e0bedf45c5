// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// ExpiresOf returns when the credential of each registry of a ClusterPullSecret expires, or zero.
// The status has the first expiry of all credentials, so it is known only of a single one, see
// [Single].
func ExpiresOf(cps *v1alpha1.ClusterPullSecret) (expires metav1.Time) {
	if cps.Status.Expires != nil && Single(cps.Status.Registries) {
		expires = *cps.Status.Expires
	}
	return expires
}

// Single reports whether registries share one credential: there is one of them, or both of
// Docker Hub. A copy has each credential of docker.io for index.docker.io too, see
// [dockerconfig.Config.WithHub]. If the source has two of them, the first expiry is reported
// for both. Who writes the status takes care of credentials whose registries it does not show.
func Single(registries []string) bool {
	switch len(registries) {
	case 1:
		return true
	case 2:
		sorted := slices.Sorted(slices.Values(registries))
		host, path, _ := strings.Cut(sorted[0], "/")
		other, otherPath, _ := strings.Cut(sorted[1], "/")
		return host == "docker.io" && other == "index.docker.io" && path == otherPath
	}
	return false
}
