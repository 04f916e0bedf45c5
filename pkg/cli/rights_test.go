// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/config"
)

// check asks for each right of the controller's ClusterRole, and for no other.
func TestRightsAreThoseOfTheManifest(t *testing.T) {
	for profile, file := range map[config.Profile]string{
		config.Full:       "../../config/200-clusterrole.yaml",
		config.InjectOnly: "../../kustomize/components/inject-only/clusterrole.yaml",
	} {
		t.Run(string(profile), func(t *testing.T) { compareRights(t, file, rightsOf(profile)) })
	}
}

func compareRights(t *testing.T, file string, checked []right) {
	t.Helper()
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(manifest, &role); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, right := range each(group, resource, rule.Verbs...) {
					want = append(want, right.String())
				}
			}
		}
	}
	var got []string
	for _, right := range checked {
		got = append(got, right.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("rights (-manifest, +checked):\n%s", diff)
	}
}

// A review names the subresource as the API server expects it.
func TestReviewOfSubresource(t *testing.T) {
	status := right{"update", "pullsecrets.dev", "clusterpullsecrets/status"}
	if a := status.attributes(); a.Resource != "clusterpullsecrets" || a.Subresource != "status" {
		t.Errorf("attributes are %v", a)
	}
	if got := status.String(); got != "update clusterpullsecrets.pullsecrets.dev/status" || strings.Contains(right{"get", "", "secrets"}.String(), "/") {
		t.Errorf("right is %q", got)
	}
}

// The rights of inject-only are those that every profile needs.
func TestEveryProfileNeedsTheRightsOfInjectOnly(t *testing.T) {
	for _, right := range rightsOf("") {
		if !slices.Contains(ofController, right) || !slices.Contains(ofInjectOnly, right) {
			t.Errorf("not every profile needs %s", right)
		}
	}
}

// The rights that check asks for depend on the profile of the Deployment.
func TestProfileOf(t *testing.T) {
	for value, want := range map[string]config.Profile{"": config.Full, "full": config.Full, "inject-only": config.InjectOnly, "none": ""} {
		d := deployment("controller", 1)
		d.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Name: "OTHER", Value: "inject-only"}, {Name: config.ProfileVariable, Value: value}}}}
		if got := profileOf(d); got != want {
			t.Errorf("with %q, the profile is %q, want %q", value, got, want)
		}
	}
	d := deployment("controller", 1)
	d.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Name: config.ProfileVariable, ValueFrom: &corev1.EnvVarSource{}}}}}
	if got := profileOf(d); got != "" {
		t.Errorf("with a value of another object, the profile is %q", got)
	}
	if got := profileOf(deployment("controller", 1)); got != config.Full {
		t.Errorf("without the variable, the profile is %q", got)
	}
}
