// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"slices"
	"sync"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// registries holds what copies of ClusterPullSecrets have credentials for, by the name of the
// ClusterPullSecret, so that all their copies share it.
type registries struct {
	mu    sync.Mutex
	known map[string]granted
}

type granted struct {
	registries []string
	facts      dockerconfig.Facts
}

// of returns what a copy of a ClusterPullSecret has credentials for. No Secret is read for it.
func (r *registries) of(cps *v1alpha1.ClusterPullSecret) coverage.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, known := r.known[cps.Name]
	if !known || !slices.Equal(g.registries, cps.Status.Registries) {
		g = granted{cps.Status.Registries, dockerconfig.FactsOf(cps.Status.Registries)}
		if r.known == nil {
			r.known = make(map[string]granted)
		}
		r.known[cps.Name] = g
	}
	return coverage.Secret{State: coverage.Known, Facts: g.facts, Expires: grant.ExpiresOf(cps), CopyOf: cps.Name}
}

// forget drops a ClusterPullSecret that is gone.
func (r *registries) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, name)
}

// readinessChanged reports whether a source became ready, or is no longer. The verification of a
// rotation is no change before it ends: existing copies stay as they are.
func readinessChanged(was, is *v1alpha1.ClusterPullSecret) bool {
	return !unverified(is) && (unverified(was) || sourceReady(was) != sourceReady(is))
}

func unverified(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).GetReason() == v1alpha1.ReasonSourceUnverified
}

// sourceReady reports whether copies of a ClusterPullSecret can be created.
func sourceReady(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
}
