// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/cli-runtime/pkg/resource"

	"pullsecrets.dev/pkg/config"
)

const components = "../kustomize/components"

// render renders an overlay of the base with these components, as "kubectl kustomize" does.
// Objects are by kind, namespace and name.
func render(t *testing.T, names ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	return renderWith(t, "", names...)
}

// renderWith is render of an overlay with more fields.
func renderWith(t *testing.T, fields string, names ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from := func(path string) string {
		absolute, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(dir, absolute)
		if err != nil {
			t.Fatal(err)
		}
		return relative
	}
	var paths []string
	for _, name := range names {
		paths = append(paths, from(filepath.Join(components, name)))
	}
	text := fmt.Sprintf("resources: [%s]\ncomponents: [%s]\n%s", from("../kustomize/base"), strings.Join(paths, ", "), fields)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	infos, err := resource.NewLocalBuilder().Unstructured().FilenameParam(false, &resource.FilenameOptions{Kustomize: dir}).Flatten().Do().Infos()
	if err != nil {
		t.Fatal(err)
	}
	rendered := make(map[string]*unstructured.Unstructured, len(infos))
	for _, info := range infos {
		o := info.Object.(*unstructured.Unstructured)
		rendered[strings.Join([]string{o.GetKind(), o.GetNamespace(), o.GetName()}, " ")] = o
	}
	return rendered
}

func as[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	if object == nil {
		t.Fatal("the object is missing")
	}
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true); err != nil {
		t.Fatal(err)
	}
	return typed
}

// The component inject-only changes rights and the variable of both programs, and what
// concerns ClusterPullSecrets. Everything else is as in the base.
func TestInjectOnlyChangesNothingElse(t *testing.T) {
	base, profile := render(t), render(t, "inject-only")
	var removed, added, changed []string
	for key, object := range base {
		switch other, kept := profile[key]; {
		case !kept:
			removed = append(removed, key)
		case !cmp.Equal(object, other):
			changed = append(changed, key)
		}
	}
	for key := range profile {
		if base[key] == nil {
			added = append(added, key)
		}
	}
	for what, lists := range map[string][2][]string{
		"removed": {removed, {"MutatingWebhookConfiguration  defaulting.pullsecrets.dev", "ValidatingWebhookConfiguration  validation.pullsecrets.dev"}},
		"added":   {added, {"ValidatingAdmissionPolicy  inject-only.pullsecrets.dev", "ValidatingAdmissionPolicyBinding  inject-only.pullsecrets.dev"}},
		"changed": {changed, {
			"ClusterRole  pullsecrets-controller", "ClusterRole  pullsecrets-webhook",
			"Deployment pullsecrets-system controller", "Deployment pullsecrets-system webhook",
		}},
	} {
		slices.Sort(lists[0])
		if diff := cmp.Diff(lists[1], lists[0]); diff != "" {
			t.Errorf("%s objects (-want, +got):\n%s", what, diff)
		}
	}
	for _, name := range []string{"controller", "webhook"} {
		key := "Deployment pullsecrets-system " + name
		want, got := as[appsv1.Deployment](t, base[key]), as[appsv1.Deployment](t, profile[key])
		container := &got.Spec.Template.Spec.Containers[0]
		own := func(v corev1.EnvVar) bool {
			return v == corev1.EnvVar{Name: config.ProfileVariable, Value: string(config.InjectOnly)}
		}
		if !slices.ContainsFunc(container.Env, own) {
			t.Errorf("Deployment %s lacks the variable %s", name, config.ProfileVariable)
		}
		container.Env = slices.DeleteFunc(container.Env, own)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Deployment %s differs in more than the variable (-base, +profile):\n%s", name, diff)
		}
	}
}

// With the component inject-only, the controller has no right on any Secret, and the
// webhook only on its own certificate. No right is new.
func TestInjectOnlyHasNoRightOnSecrets(t *testing.T) {
	base, profile := render(t), render(t, "inject-only")
	for account, bound := range rulesOf(t, profile) {
		if len(bound) == 0 {
			t.Errorf("ServiceAccount %s has no rights: the bindings were not found", account)
		}
		all := rulesOf(t, base)[account]
		for _, rule := range bound {
			if rule.onSecrets() && (account != "webhook" || !slices.Equal(rule.ResourceNames, []string{"pullsecrets-webhook-certs"}) || rule.namespace != "pullsecrets-system") {
				t.Errorf("ServiceAccount %s has a right on Secrets in namespace %q: %v", account, rule.namespace, rule.PolicyRule)
			}
			if slices.Contains(rule.APIGroups, "pullsecrets.dev") {
				t.Errorf("ServiceAccount %s has a right on ClusterPullSecrets: %v", account, rule.PolicyRule)
			}
			if !slices.ContainsFunc(all, rule.within) {
				t.Errorf("ServiceAccount %s has a right that it lacks in the base: %v", account, rule.PolicyRule)
			}
		}
	}
	// The test finds the right if it is there.
	if !slices.ContainsFunc(rulesOf(t, base)["controller"], rule.onSecrets) {
		t.Error("the controller has no right on Secrets in the base")
	}
	for _, file := range []string{"clusterrole.yaml", "clusterrole-webhook.yaml"} {
		commented(t, filepath.Join(components, "inject-only", file))
	}
}

// rule is a rule in a namespace, or everywhere if that is empty.
type rule struct {
	rbacv1.PolicyRule
	namespace string
}

func (r rule) onSecrets() bool {
	return slices.Contains(r.Resources, "secrets") || slices.Contains(r.Resources, "*")
}

// within reports whether another rule allows the same.
func (r rule) within(other rule) bool {
	subset := func(some, all []string) bool {
		return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
	}
	return r.namespace == other.namespace && subset(r.APIGroups, other.APIGroups) && subset(r.Resources, other.Resources) && subset(r.Verbs, other.Verbs) &&
		(len(other.ResourceNames) == 0 || len(r.ResourceNames) > 0 && subset(r.ResourceNames, other.ResourceNames))
}

// rulesOf returns the rules that are bound to each ServiceAccount of the installation.
func rulesOf(t *testing.T, objects map[string]*unstructured.Unstructured) map[string][]rule {
	t.Helper()
	rules := map[string][]rule{"controller": nil, "webhook": nil}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		object := objects[key]
		if kind := object.GetKind(); kind != "RoleBinding" && kind != "ClusterRoleBinding" {
			continue
		}
		// Bindings of both kinds, and roles, have the same fields here.
		binding, inRole := as[rbacv1.RoleBinding](t, object), object.GetNamespace()
		if binding.RoleRef.Kind == "ClusterRole" {
			inRole = ""
		}
		role := as[rbacv1.Role](t, objects[strings.Join([]string{binding.RoleRef.Kind, inRole, binding.RoleRef.Name}, " ")])
		for _, subject := range binding.Subjects {
			for _, r := range role.Rules {
				rules[subject.Name] = append(rules[subject.Name], rule{r, object.GetNamespace()})
			}
		}
	}
	return rules
}

var verbs = regexp.MustCompile(`\b(get|list|watch|create|update|patch|delete)\b`)

// The table of rights in docs/threat-model.md has the verbs that each profile has.
func TestRightsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## Rights per profile\n")
	if !found {
		t.Fatal("docs/threat-model.md has no section Rights per profile")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	full, injectOnly := rulesOf(t, render(t)), rulesOf(t, render(t, "inject-only"))
	columns := [][]rule{full["controller"], injectOnly["controller"], full["webhook"], injectOnly["webhook"]}
	resources := map[string][]string{
		"Namespaces": {"namespaces"}, "Services of Knative": {"services"}, "Revisions": {"revisions"},
		"ServiceAccounts": {"serviceaccounts"}, "Secrets": {"secrets"}, "Events": {"events"},
		"ClusterPullSecrets":     {"clusterpullsecrets", "clusterpullsecrets/status"},
		"webhook configurations": {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		named, listed := resources[strings.TrimSpace(cells[0])]
		if !listed {
			continue
		}
		delete(resources, strings.TrimSpace(cells[0]))
		for i, rules := range columns {
			want := sets.New[string]()
			for _, r := range rules {
				if slices.ContainsFunc(r.Resources, func(resource string) bool { return slices.Contains(named, resource) }) {
					want.Insert(r.Verbs...)
				}
			}
			if got := sets.New(verbs.FindAllString(cells[i+1], -1)...); !got.Equal(want) {
				t.Errorf("%s, column %d: the page has %v, the manifests have %v", cells[0], i+1, sets.List(got), sets.List(want))
			}
		}
	}
	for missing := range resources {
		t.Errorf("the table has no row %s", missing)
	}
}
