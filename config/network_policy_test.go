// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// The component network-policy denies everything in the namespace of the installation, and
// then selects the Pods of each Deployment and opens those of their ports that others call.
func TestNetworkPolicies(t *testing.T) {
	objects := render(t, "network-policy")
	policies := map[string]*networkingv1.NetworkPolicy{}
	for key := range objects {
		if object := objects[key]; object.GetKind() == "NetworkPolicy" {
			if object.GetNamespace() != "pullsecrets-system" {
				t.Errorf("%s is in another namespace", key)
			}
			policies[object.GetName()] = as[networkingv1.NetworkPolicy](t, object)
		}
	}
	both := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	deny := policies["default-deny"]
	if deny == nil || len(deny.Spec.PodSelector.MatchLabels)+len(deny.Spec.PodSelector.MatchExpressions)+len(deny.Spec.Ingress)+len(deny.Spec.Egress) > 0 ||
		!slices.Equal(deny.Spec.PolicyTypes, both) {
		t.Fatalf("default-deny is %v, want one that selects every Pod and allows nothing", deny)
	}
	opened := map[string][]string{"controller": {"metrics"}, "webhook": {"https-webhook", "metrics"}}
	if len(policies) != len(opened)+1 {
		t.Errorf("found %d policies, want default-deny and one for each Deployment", len(policies))
	}
	for name, want := range opened {
		policy := policies[name]
		if policy == nil {
			t.Errorf("there is no policy for Deployment %s", name)
			continue
		}
		d := as[appsv1.Deployment](t, objects["Deployment pullsecrets-system "+name])
		selects(t, "network-policy.yaml", "policy "+name, &policy.Spec.PodSelector, d)
		if !slices.Equal(policy.Spec.PolicyTypes, both) {
			t.Errorf("policy %s is for %v, want both directions", name, policy.Spec.PolicyTypes)
		}
		if diff := cmp.Diff(want, openedBy(t, policy, d)); diff != "" {
			t.Errorf("policy %s opens (-want, +got):\n%s", name, diff)
		}
		apiServer := slices.ContainsFunc(policy.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
			return len(r.To) == 0 && slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == 6443 })
		})
		if !apiServer {
			t.Errorf("policy %s does not allow requests to the API server", name)
		}
	}
}

// openedBy returns the names of the ports that a policy opens, and checks that nothing but
// admission is open to all.
func openedBy(t *testing.T, policy *networkingv1.NetworkPolicy, d *appsv1.Deployment) (opened []string) {
	t.Helper()
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			i := slices.IndexFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == port.Port.IntVal })
			if i < 0 {
				t.Errorf("policy %s opens port %s, which the Pods do not have", policy.Name, port.Port)
				continue
			}
			name := d.Spec.Template.Spec.Containers[0].Ports[i].Name
			if len(rule.From) == 0 && name != "https-webhook" {
				t.Errorf("policy %s opens port %s to all", policy.Name, name)
			}
			opened = append(opened, name)
		}
	}
	slices.Sort(opened)
	return opened
}

// The documented patch restricts the first rule of both programs, which has the port of the
// API server, and nothing else.
func TestNetworkPoliciesCanBeNarrowed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "profiles.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, patches, found := strings.Cut(string(page), "```yaml\npatches:\n")
	if !found {
		t.Fatal("docs/profiles.md has no patches")
	}
	patches, _, _ = strings.Cut(patches, "```")
	before, after := render(t, "network-policy"), renderWith(t, "patches:\n"+patches, "network-policy")
	for _, name := range []string{"controller", "webhook", "default-deny"} {
		key := "NetworkPolicy pullsecrets-system " + name
		want, got := as[networkingv1.NetworkPolicy](t, before[key]), as[networkingv1.NetworkPolicy](t, after[key])
		if name != "default-deny" {
			want.Spec.Egress[0].To = []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.1/32"}}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("policy %s (-want, +got):\n%s", name, diff)
		}
	}
}
