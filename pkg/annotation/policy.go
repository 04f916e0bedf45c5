// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import "pullsecrets.dev/pkg/apis/pullsecrets"

// Policy is how a Service gets pull secrets, by its own inject annotation and its
// Namespace's.
type Policy struct {
	// Disabled means that nothing is declared.
	Disabled bool
	// Hold means that a value is invalid: nothing is added and nothing is removed.
	Hold bool
	// Always means that ClusterPullSecrets with always.services count.
	Always bool
	// Auto means that granted ClusterPullSecrets that cover an image count.
	Auto bool
}

// PolicyFor combines the two inject annotations. A Service's value overrides its
// Namespace's, except that disabled on the Namespace overrides everything in it. The value
// declared on a Service excludes ClusterPullSecrets with always.services.
func PolicyFor(namespace, service Inject) Policy {
	if namespace == Disabled || service == Disabled {
		return Policy{Disabled: true}
	}
	effective := service
	if effective == Unset {
		effective = namespace
	}
	switch {
	case effective == invalid:
		return Policy{Hold: true}
	case service == Declared:
		return Policy{}
	default:
		return Policy{Always: true, Auto: effective == Auto}
	}
}

// AutoWithoutGrants returns the problem of the value auto in an installation where no
// ClusterPullSecret can grant anything.
func AutoWithoutGrants(inject Inject) []Problem {
	if inject != Auto {
		return nil
	}
	return []Problem{{
		Annotation: pullsecrets.InjectAnnotation,
		Item:       Quote(string(Auto)),
		Reason:     "adds nothing: this installation has no ClusterPullSecrets (profile inject-only)",
	}}
}
