// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// Asks is what the annotations in one Namespace request. It is about copies, so inject:
// disabled, which is about Services, does not reduce it.
type Asks struct {
	// Names of Secrets in annotations of the Namespace and its Services.
	Names sets.Set[string]
	// All is set by inject: auto on the Namespace, which requests everything that is
	// granted.
	All bool
	// Images of Services with inject: auto, which request what covers them.
	Images sets.Set[Image]
}

// NewAsks returns what a Namespace requests by its own annotations.
func NewAsks(namespace annotation.Namespace) Asks {
	return Asks{Names: sets.New(namespace.Secrets...), All: namespace.Inject == annotation.Auto, Images: sets.New[Image]()}
}

// AddService adds what a Service with these images requests.
func (a Asks) AddService(service annotation.Service, images []Image) {
	a.Names.Insert(service.Secrets...)
	if service.Inject == annotation.Auto {
		a.Images.Insert(images...)
	}
}

// Wanted returns the granted ClusterPullSecrets of which the Namespace needs a copy, by
// name.
func (g Grants) Wanted(asks Asks, covers Covers) []*v1alpha1.ClusterPullSecret {
	return slices.DeleteFunc(slices.Clone(g.Serving), func(cps *v1alpha1.ClusterPullSecret) bool { return !asks.Want(cps, covers) })
}

// Want reports whether a Namespace needs a copy of a ClusterPullSecret that serves it.
func (a Asks) Want(cps *v1alpha1.ClusterPullSecret, covers Covers) bool {
	if cps.Spec.Always != nil || a.All || a.Names.Has(SecretName(cps)) {
		return true
	}
	for image := range a.Images {
		if covers(cps, image) {
			return true
		}
	}
	return false
}
