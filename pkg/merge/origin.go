// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Origin is the reason why an entry was added.
type Origin string

const (
	// FromService is the secrets annotation of the Service.
	FromService Origin = "service"
	// FromNamespace is the secrets annotation of the Namespace.
	FromNamespace Origin = "namespace"

	clusterPullSecretPrefix = "clusterpullsecret/"
	serviceAccountPrefix    = "serviceaccount/"
)

// FromClusterPullSecret returns the origin of a ClusterPullSecret.
func FromClusterPullSecret(name string) Origin { return Origin(clusterPullSecretPrefix + name) }

// fromServiceAccount returns the origin of the imagePullSecrets of a ServiceAccount.
func fromServiceAccount(name string) Origin { return Origin(serviceAccountPrefix + name) }

// isServiceAccount reports whether the entry was carried over from a ServiceAccount.
func (o Origin) isServiceAccount() bool { return strings.HasPrefix(string(o), serviceAccountPrefix) }

// Kinds returns the kinds of all origins.
func Kinds() []string {
	return []string{FromService.Kind(), FromNamespace.Kind(), FromClusterPullSecret("").Kind(), fromServiceAccount("").Kind()}
}

// Kind returns the origin without a name: service, namespace, clusterpullsecret or
// serviceaccount.
func (o Origin) Kind() string {
	kind, _, _ := strings.Cut(string(o), "/")
	return kind
}

// isClusterPullSecret reports whether the entry was added for a ClusterPullSecret.
func (o Origin) isClusterPullSecret() bool {
	return strings.HasPrefix(string(o), clusterPullSecretPrefix)
}

// valid reports whether the text is an origin that can be in a ledger.
func (o Origin) valid() bool {
	if o == FromService || o == FromNamespace {
		return true
	}
	for _, prefix := range []string{clusterPullSecretPrefix, serviceAccountPrefix} {
		if name, ok := strings.CutPrefix(string(o), prefix); ok {
			return len(validation.IsDNS1123Subdomain(name)) == 0
		}
	}
	return false
}
