// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/merge"
)

// layers returns the granted ClusterPullSecrets that a Service with these images
// gets by the policy, beyond what annotations name: those with always.services,
// and with inject: auto those that hold a credential for one of the images. If that is
// unknown, it is what the Service has, unless its policy excludes both.
func (g Grants) layers(policy annotation.Policy, service Service, covers Covers) (always, auto []merge.Grant) {
	if g.Unknown && policy.Always && service.Stored != nil {
		return service.Stored().Granted(), nil
	}
	var images []Image
	if policy.Auto && len(g.Serving) > 0 {
		images = service.Images()
	}
	for _, cps := range g.Serving {
		entry := merge.Grant{ClusterPullSecret: cps.Name, Secret: SecretName(cps)}
		if policy.Always && cps.Spec.Always != nil && cps.Spec.Always.Services {
			always = append(always, entry)
		}
		if policy.Auto && slices.ContainsFunc(images, func(image Image) bool { return covers(cps, image) }) {
			auto = append(auto, entry)
		}
	}
	return always, auto
}

// Bound returns the granted ClusterPullSecrets that a ServiceAccount is bound to
// by always.serviceAccounts. If that is unknown, it is what the ServiceAccount has, of
// which stored is the list.
func (g Grants) Bound(account string, stored merge.Current) []merge.Grant {
	if g.Unknown {
		return stored.Granted()
	}
	var bound []merge.Grant
	for _, cps := range g.Serving {
		if cps.Spec.Always != nil && (slices.Contains(cps.Spec.Always.ServiceAccounts, account) ||
			slices.Contains(cps.Spec.Always.ServiceAccounts, v1alpha1.AllServiceAccounts)) {
			bound = append(bound, merge.Grant{ClusterPullSecret: cps.Name, Secret: SecretName(cps)})
		}
	}
	return bound
}
