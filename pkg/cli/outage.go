// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pullsecrets.dev/pkg/explain"
)

// The resources of config/outage. The client for Kubernetes does not know them in this version.
var (
	mutatingPolicies = resource("admissionregistration.k8s.io", "mutatingadmissionpolicies")
	mutatingBindings = resource("admissionregistration.k8s.io", "mutatingadmissionpolicybindings")
)

// outagePolicies reads the versions of the policies for an outage and of their bindings, if the
// API server has their kinds.
func (r *reader) outagePolicies(ctx context.Context, in *explain.Installation) error {
	served, err := r.kube.Discovery().ServerResourcesForGroupVersion(mutatingPolicies.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discover admission policies: %w", err)
	}
	in.MutatingPolicies = slices.ContainsFunc(served.APIResources, func(a metav1.APIResource) bool { return a.Name == mutatingPolicies.Resource })
	if !in.MutatingPolicies || in.Before {
		return nil
	}
	versions := map[string]string{}
	for kind, of := range map[string]schema.GroupVersionResource{"MutatingAdmissionPolicy": mutatingPolicies, "MutatingAdmissionPolicyBinding": mutatingBindings} {
		objects, readable, err := r.metadataOf(ctx, "policies for an outage", of, "")
		if err != nil || !readable {
			return err
		}
		for i := range objects {
			versions[kind+" "+objects[i].Name] = objects[i].Labels[versionLabel]
		}
	}
	in.OutagePolicies = versions
	return nil
}
