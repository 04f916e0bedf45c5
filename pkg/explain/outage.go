// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"
)

const (
	outageCheck = "policies for an outage"
	// noMutatingPolicies is why a cluster has none, which is no finding.
	noMutatingPolicies = "not possible: the cluster has no MutatingAdmissionPolicies (Kubernetes 1.36 and later)"
	applyOutage        = "kubectl apply -f outage.yaml"
)

// outagePolicies are the policies of config/outage and their bindings, by kind and name.
var outagePolicies = []string{
	"MutatingAdmissionPolicy services.outage.pullsecrets.dev", "MutatingAdmissionPolicyBinding services.outage.pullsecrets.dev",
	"MutatingAdmissionPolicyBinding services-included.outage.pullsecrets.dev",
	"MutatingAdmissionPolicy serviceaccounts.outage.pullsecrets.dev", "MutatingAdmissionPolicyBinding serviceaccounts.outage.pullsecrets.dev",
	"MutatingAdmissionPolicyBinding serviceaccounts-included.outage.pullsecrets.dev",
}

// outagePossible reports whether the policies for an outage can be installed.
func (i *inspection) outagePossible() {
	if !i.MutatingPolicies {
		i.ok(outageCheck, noMutatingPolicies)
		return
	}
	i.ok(outageCheck, "possible; apply outage.yaml after release.yaml")
}

// outage checks the policies for an outage, which are optional: either none is installed, or all
// are, in the version of the programs.
func (i *inspection) outage() {
	switch {
	case !i.MutatingPolicies:
		i.ok(outageCheck, noMutatingPolicies)
		return
	case i.OutagePolicies == nil:
		i.unknown(outageCheck, "not checked (cannot list mutatingadmissionpolicies and their bindings)")
		return
	}
	var missing, other []string
	for _, object := range outagePolicies {
		version, exists := i.OutagePolicies[object]
		switch {
		case !exists:
			missing = append(missing, object)
		case version != "" && i.Version != "" && version != i.Version:
			other = append(other, object+" is of version "+version)
		}
	}
	switch {
	case len(missing) == len(outagePolicies):
		i.ok(outageCheck, "not installed")
		i.findings = append(i.findings, found(OutagePolicies, Info, outageCheck, "they are not installed, so a writer that drops added entries while the webhook is down removes them",
			"install them").with(applyOutage))
	case len(missing) > 0:
		i.failed(outageCheck, fmt.Sprintf("%d missing", len(missing)), found(OutagePolicies, Warning, outageCheck, "missing: "+strings.Join(missing, ", "), "apply them again").with(applyOutage))
	case len(other) > 0:
		i.failed(outageCheck, "another version", found(OutagePolicies, Warning, outageCheck, "the programs are of version "+i.Version+", and "+strings.Join(other, ", "), "apply those of the same release").with(applyOutage))
	default:
		i.ok(outageCheck, "installed")
	}
}
