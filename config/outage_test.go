// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
)

// outage is the directory of the policies that restore entries while the webhook is down.
// "ko apply -f config/" does not recurse, so it works on a Kubernetes without their kind.
const outage = "outage"

// policyOrBinding is the part of a MutatingAdmissionPolicy or of its binding that these
// tests depend on. The client library does not know the kinds yet; test/controlplane/policy
// decodes them strictly.
type policyOrBinding struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		FailurePolicy      string                       `json:"failurePolicy"`
		ReinvocationPolicy string                       `json:"reinvocationPolicy"`
		MatchConstraints   outageMatch                  `json:"matchConstraints"`
		MatchResources     outageMatch                  `json:"matchResources"`
		MatchConditions    []outageCondition            `json:"matchConditions"`
		Mutations          []struct{ PatchType string } `json:"mutations"`
		PolicyName         string                       `json:"policyName"`
	} `json:"spec"`
}

type outageMatch struct {
	MatchPolicy       string                                            `json:"matchPolicy"`
	NamespaceSelector *metav1.LabelSelector                             `json:"namespaceSelector"`
	ResourceRules     []admissionregistrationv1.NamedRuleWithOperations `json:"resourceRules"`
}

type outageCondition struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// loadOutage returns the policies and the bindings in config/outage.
func loadOutage(t *testing.T) (policies, bindings []policyOrBinding) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(outage, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no policies: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
			var o policyOrBinding
			if err := yaml.Unmarshal(document, &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			switch o.Kind {
			case "MutatingAdmissionPolicy":
				policies = append(policies, o)
			case "MutatingAdmissionPolicyBinding":
				bindings = append(bindings, o)
			default:
				t.Fatalf("%s contains a %s: only kinds that old versions of Kubernetes lack belong here", file, o.Kind)
			}
			want := map[string]string{"app.kubernetes.io/name": "pullsecrets", "app.kubernetes.io/component": "outage", "app.kubernetes.io/version": "devel"}
			if diff := cmp.Diff(want, o.Metadata.Labels); diff != "" {
				t.Errorf("%s: labels of %s %s (-want, +got): %s", file, o.Kind, o.Metadata.Name, diff)
			}
		}
	}
	return policies, bindings
}

// A policy applies to the objects of one webhook, never to CREATE and never to the
// controller, and an error in it rejects nothing.
func TestOutagePoliciesApplyWhereTheWebhookDoes(t *testing.T) {
	policies, _ := loadOutage(t)
	webhooks := map[string]admissionregistrationv1.MutatingWebhook{}
	for _, list := range find[*admissionregistrationv1.MutatingWebhookConfiguration](t) {
		for _, configuration := range list {
			webhooks[configuration.Name] = configuration.Webhooks[0]
		}
	}
	for name, webhook := range map[string]string{"services.outage.pullsecrets.dev": "inject.pullsecrets.dev", "serviceaccounts.outage.pullsecrets.dev": "bind.pullsecrets.dev"} {
		i := slices.IndexFunc(policies, func(p policyOrBinding) bool { return p.Metadata.Name == name })
		if i < 0 {
			t.Errorf("there is no policy %s", name)
			continue
		}
		spec := policies[i].Spec
		if spec.FailurePolicy != "Ignore" || spec.ReinvocationPolicy != "Never" || spec.MatchConstraints.MatchPolicy != "Exact" {
			t.Errorf("%s: failurePolicy %s, reinvocationPolicy %s, matchPolicy %s; want Ignore, Never and Exact", name, spec.FailurePolicy, spec.ReinvocationPolicy, spec.MatchConstraints.MatchPolicy)
		}
		rule := *webhooks[webhook].Rules[0].DeepCopy()
		rule.Operations = []admissionregistrationv1.OperationType{admissionregistrationv1.Update}
		if diff := cmp.Diff([]admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule}}, spec.MatchConstraints.ResourceRules); diff != "" {
			t.Errorf("%s: rules differ from those of %s (-want, +got): %s", name, webhook, diff)
		}
		// The bindings select by the label.
		want := webhooks[webhook].NamespaceSelector.DeepCopy()
		want.MatchExpressions = slices.DeleteFunc(want.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == pullsecrets.ExcludeLabel })
		if diff := cmp.Diff(want, spec.MatchConstraints.NamespaceSelector); diff != "" {
			t.Errorf("%s: namespaceSelector differs from that of %s (-want, +got): %s", name, webhook, diff)
		}
		for condition, part := range map[string]string{
			"not-the-controller": "!= '" + pullsecrets.ControllerUser + "'",
			"not-excluded":       excludedByDefault(t),
		} {
			if !slices.ContainsFunc(spec.MatchConditions, func(c outageCondition) bool { return c.Name == condition && strings.Contains(c.Expression, part) }) {
				t.Errorf("%s: no condition %s contains %q", name, condition, part)
			}
		}
	}
}

// excludedByDefault returns the regular expression of the default of excluded-namespaces.
func excludedByDefault(t *testing.T) string {
	t.Helper()
	var prefixes []string
	for _, glob := range config.Default().ExcludedNamespaces {
		prefix, ok := strings.CutSuffix(glob, "-*")
		if !ok {
			t.Fatalf("this test expects prefixes, and excluded-namespaces has %q by default", glob)
		}
		prefixes = append(prefixes, prefix)
	}
	return "'^(" + strings.Join(prefixes, "|") + ")-'"
}

// Each policy has bindings for exactly the namespaces that the label does not exclude, and
// no namespace has two.
func TestOutagePoliciesAreBoundOnce(t *testing.T) {
	policies, bindings := loadOutage(t)
	for _, policy := range policies {
		for _, tt := range []struct {
			labels map[string]string
			want   int
		}{{nil, 1}, {map[string]string{pullsecrets.ExcludeLabel: pullsecrets.IncludeValue}, 1}, {map[string]string{pullsecrets.ExcludeLabel: pullsecrets.ExcludeValue}, 0}, {map[string]string{pullsecrets.ExcludeLabel: "yes"}, 0}, {map[string]string{pullsecrets.ExcludeLabel: ""}, 0}} {
			matching := 0
			for _, binding := range bindings {
				if binding.Spec.PolicyName != policy.Metadata.Name {
					continue
				}
				selector, err := metav1.LabelSelectorAsSelector(binding.Spec.MatchResources.NamespaceSelector)
				if err != nil {
					t.Fatal(err)
				}
				if selector.Matches(labels.Set(tt.labels)) {
					matching++
				}
			}
			if matching != tt.want {
				t.Errorf("%d bindings of %s match a Namespace with the labels %v, want %d", matching, policy.Metadata.Name, tt.labels, tt.want)
			}
		}
	}
}
