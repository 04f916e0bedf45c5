// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

// Policy is what a Service gets, once its own inject annotation and its
// Namespace's are taken together.
type Policy struct {
	// Disabled: as if nothing were declared.
	Disabled bool
	// Hold: an invalid value; nothing is added and nothing is taken away.
	Hold bool
	// Always: ClusterPullSecrets with always.services count.
	Always bool
	// Auto: granted ClusterPullSecrets that cover an image count.
	Auto bool
}

// PolicyFor resolves the two inject annotations. A Service's value wins over
// its Namespace's, but a Namespace's disabled wins over everything in it. The
// value declared on a Service means its own and its Namespace's secrets alone.
func PolicyFor(namespace, service Inject) Policy {
	if namespace == Disabled || service == Disabled {
		return Policy{Disabled: true}
	}
	effective := service
	if effective == Unset {
		effective = namespace
	}
	switch {
	case effective == Invalid:
		return Policy{Hold: true}
	case service == Declared:
		return Policy{}
	default:
		return Policy{Always: true, Auto: effective == Auto}
	}
}
