// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package config tests the manifests beside it, which are the whole installation. The
// tests find faults that a cluster shows late or never: a misspelled field, a rule
// without a reason, a documented default that is not the real one.
package config

import (
	"bufio"
	"bytes"
	"errors"
	"io"
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
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/leaderelection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/observability"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
)

// manifest is one object of the installation and the file that contains it.
type manifest struct {
	file   string
	object runtime.Object
}

// load reads all manifests. Unknown fields and duplicate keys are errors.
func load(t *testing.T) []manifest {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()

	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no manifests: %v", err)
	}
	var manifests []manifest
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if onlyComments(document) {
				continue
			}
			object, _, err := decoder.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			manifests = append(manifests, manifest{file: file, object: object})
		}
	}
	return manifests
}

// find returns the objects of one type, by file.
func find[T runtime.Object](t *testing.T) map[string][]T {
	t.Helper()
	found := map[string][]T{}
	for _, m := range load(t) {
		if object, ok := m.object.(T); ok {
			found[m.file] = append(found[m.file], object)
		}
	}
	if len(found) == 0 {
		t.Fatalf("found no %T", *new(T))
	}
	return found
}

// "ko apply -f config/" does not recurse and applies files in the order of their names.
func TestFilesAreFlatAndNumbered(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^[1-9][0-9]{2}-[a-z][a-z0-9-]*\.yaml$`)
	for _, entry := range entries {
		if entry.Name() == "monitoring" || entry.Name() == outage {
			continue // They need kinds that not every cluster has, and are not part of the installation.
		}
		if entry.IsDir() {
			t.Errorf("%s is a directory, and ko does not recurse: move its files to config/", entry.Name())
		} else if !name.MatchString(entry.Name()) && filepath.Ext(entry.Name()) != ".go" {
			t.Errorf("%s is not named like 500-controller.yaml: the number determines the order of installation", entry.Name())
		}
	}

	// Objects that others need come first.
	hundreds := map[string]string{
		"Namespace":                "1",
		"ServiceAccount":           "2",
		"ClusterRole":              "2",
		"Role":                     "2",
		"ClusterRoleBinding":       "2",
		"RoleBinding":              "2",
		"CustomResourceDefinition": "3",
		"ConfigMap":                "4",
		"Deployment":               "5",
		"Service":                  "5",
		"PodDisruptionBudget":      "5",
		"HorizontalPodAutoscaler":  "5",
		// The certificate and the webhook configurations come last, so that the API
		// server does not call a webhook that is not running yet.
		"Secret":                         "6",
		"MutatingWebhookConfiguration":   "6",
		"ValidatingWebhookConfiguration": "6",
		// Policies restrict what the roles allow.
		"ValidatingAdmissionPolicy":        "7",
		"ValidatingAdmissionPolicyBinding": "7",
	}
	for _, m := range load(t) {
		kind := m.object.GetObjectKind().GroupVersionKind().Kind
		switch want, known := hundreds[kind]; {
		case !known:
			t.Errorf("%s: add the number range of kind %s to this test", m.file, kind)
		case !strings.HasPrefix(m.file, want):
			t.Errorf("%s contains a %s, which belongs in a file numbered %s00 to %s99", m.file, kind, want, want)
		}
	}
}

func TestEveryObjectIsLabelled(t *testing.T) {
	check := func(file, what string, got map[string]string) {
		if got["app.kubernetes.io/name"] != "pullsecrets" {
			t.Errorf("%s: %s lacks the label app.kubernetes.io/name: pullsecrets", file, what)
		}
		if got["app.kubernetes.io/component"] == "" {
			t.Errorf("%s: %s lacks the label app.kubernetes.io/component", file, what)
		}
		// A release replaces this value by its version.
		if got["app.kubernetes.io/version"] != "devel" {
			t.Errorf("%s: %s lacks the label app.kubernetes.io/version: devel", file, what)
		}
	}
	for _, m := range load(t) {
		accessor, err := meta.Accessor(m.object)
		if err != nil {
			t.Fatalf("%s: %v", m.file, err)
		}
		check(m.file, m.object.GetObjectKind().GroupVersionKind().Kind+" "+accessor.GetName(), accessor.GetLabels())
		if deployment, ok := m.object.(*appsv1.Deployment); ok {
			check(m.file, "the Pod template of "+deployment.Name, deployment.Spec.Template.Labels)
		}
	}
}

// knativeFile contains all objects in Knative's namespace and no others.
const knativeNamespace, knativeFile = "knative-serving", "202-knative-serving.yaml"

// For a Knative in another namespace, the documentation must list every manifest that
// contains the namespace.
func TestKnativeNamespace(t *testing.T) {
	operations, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policies, err := filepath.Glob(filepath.Join(outage, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, policies...) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(knativeNamespace)) && !bytes.Contains(operations, []byte("`config/"+file+"`")) {
			t.Errorf("%s contains Knative's namespace, but docs/operations.md does not list it", file)
		}
	}
	for _, m := range load(t) {
		if accessor, err := meta.Accessor(m.object); err != nil || m.file == knativeFile && accessor.GetNamespace() != knativeNamespace {
			t.Errorf("%s: %s is not in namespace %s (%v)", m.file, accessor.GetName(), knativeNamespace, err)
		}
		deployment, ok := m.object.(*appsv1.Deployment)
		if !ok {
			continue
		}
		for _, container := range deployment.Spec.Template.Spec.Containers {
			if !slices.Contains(container.Env, corev1.EnvVar{Name: "KNATIVE_NAMESPACE", Value: knativeNamespace}) {
				t.Errorf("%s: container %s has no KNATIVE_NAMESPACE=%s", m.file, container.Name, knativeNamespace)
			}
		}
	}
}

// readsNamedConfigMaps reports whether an object is a Role that grants nothing but read
// access to named ConfigMaps, or a binding, which another test checks.
func readsNamedConfigMaps(object any) bool {
	role, ok := object.(*rbacv1.Role)
	if !ok {
		_, ok = object.(*rbacv1.RoleBinding)
		return ok
	}
	return !slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
		return len(rule.ResourceNames) == 0 || !slices.Equal(rule.Resources, []string{"configmaps"}) ||
			!slices.Equal(rule.Verbs, []string{"get", "list", "watch"})
	})
}

// The installation creates its own namespaces, and their names are compiled into the
// programs.
func TestNamespaces(t *testing.T) {
	var names []string
	for _, namespaces := range find[*corev1.Namespace](t) {
		for _, ns := range namespaces {
			names = append(names, ns.Name)
			for _, mode := range []string{"enforce", "audit", "warn"} {
				if got := ns.Labels["pod-security.kubernetes.io/"+mode]; got != "restricted" {
					t.Errorf("Namespace %s has pod security %s=%q, want restricted", ns.Name, mode, got)
				}
			}
			if ns.Labels[pullsecrets.ExcludeLabel] != pullsecrets.ExcludeValue {
				t.Errorf("Namespace %s belongs to the installation but lacks the label %s=%s", ns.Name, pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{pullsecrets.SourcesNamespace, pullsecrets.SystemNamespace}, names); diff != "" {
		t.Error("Namespaces (-want, +got):", diff)
	}
	for _, m := range load(t) {
		accessor, err := meta.Accessor(m.object)
		if err != nil {
			t.Fatal(err)
		}
		switch ns := accessor.GetNamespace(); {
		case ns == "" || ns == pullsecrets.SystemNamespace:
		case ns == knativeNamespace && m.file == knativeFile && readsNamedConfigMaps(m.object):
			// Access to Knative's settings can only be granted in Knative's namespace.
		default:
			t.Errorf("%s: %s is in namespace %s, want %s", m.file, accessor.GetName(), ns, pullsecrets.SystemNamespace)
		}
	}
}

func TestPodsAreHardened(t *testing.T) {
	accounts := map[string]bool{}
	for _, list := range find[*corev1.ServiceAccount](t) {
		for _, account := range list {
			accounts[account.Name] = true
		}
	}
	configMaps := map[string]bool{}
	for _, list := range find[*corev1.ConfigMap](t) {
		for _, cm := range list {
			configMaps[cm.Name] = true
		}
	}
	for file, deployments := range find[*appsv1.Deployment](t) {
		for _, d := range deployments {
			pod := d.Spec.Template.Spec
			if !accounts[pod.ServiceAccountName] {
				t.Errorf("%s: Deployment %s runs as ServiceAccount %q, which is not in config/", file, d.Name, pod.ServiceAccountName)
			}
			if pod.HostNetwork || pod.HostPID || pod.HostIPC {
				t.Errorf("%s: Deployment %s shares a namespace of its node", file, d.Name)
			}
			if pod.Affinity == nil || pod.Affinity.PodAntiAffinity == nil ||
				len(pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
				t.Errorf("%s: Deployment %s allows all replicas on one node", file, d.Name)
			} else {
				for _, term := range pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
					selects(t, file, "the anti-affinity", term.PodAffinityTerm.LabelSelector, d)
				}
			}
			selects(t, file, "the selector", d.Spec.Selector, d)
			for _, volume := range pod.Volumes {
				if volume.HostPath != nil {
					t.Errorf("%s: Deployment %s mounts %s from its node", file, d.Name, volume.HostPath.Path)
				}
			}
			if len(pod.InitContainers) != 0 {
				t.Errorf("%s: Deployment %s has init containers, which this test does not check", file, d.Name)
			}
			for _, container := range pod.Containers {
				hardened(t, file, d.Name, container)
				importable(t, file, container.Image)
				for _, env := range container.Env {
					if strings.HasPrefix(env.Name, "CONFIG_") && !configMaps[env.Value] {
						t.Errorf("%s: %s of Deployment %s is %q, a ConfigMap that is not in config/", file, env.Name, d.Name, env.Value)
					}
				}
			}
		}
	}
}

func hardened(t *testing.T, file, deployment string, c corev1.Container) {
	t.Helper()
	sc := c.SecurityContext
	if sc == nil {
		t.Errorf("%s: container %s of Deployment %s has no securityContext", file, c.Name, deployment)
		return
	}
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	for what, ok := range map[string]bool{
		"runAsNonRoot: true":                                 is(sc.RunAsNonRoot, true),
		"readOnlyRootFilesystem: true":                       is(sc.ReadOnlyRootFilesystem, true),
		"allowPrivilegeEscalation: false":                    is(sc.AllowPrivilegeEscalation, false),
		"privileged unset":                                   sc.Privileged == nil,
		"capabilities.drop: [ALL]":                           sc.Capabilities != nil && slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(sc.Capabilities.Add) == 0,
		"seccompProfile.type: RuntimeDefault":                sc.SeccompProfile != nil && sc.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"a request and a limit of cpu and memory":            len(c.Resources.Requests) == 2 && len(c.Resources.Limits) == 2,
		"a liveness probe":                                   c.LivenessProbe != nil,
		"a readiness probe":                                  c.ReadinessProbe != nil,
		"no runAsUser: the image's user is already non-root": sc.RunAsUser == nil,
	} {
		if !ok {
			t.Errorf("%s: container %s of Deployment %s must have %s", file, c.Name, deployment, what)
		}
	}
}

// importable checks that ko can build the program.
func importable(t *testing.T, file, image string) {
	t.Helper()
	path, ok := strings.CutPrefix(image, "ko://pullsecrets.dev/")
	if !ok {
		t.Errorf("%s: image %s is not built from this module, so a release would not pin its digest", file, image)
		return
	}
	if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(path), "main.go")); err != nil {
		t.Errorf("%s: image %s: %v", file, image, err)
	}
}

func selects(t *testing.T, file, what string, selector *metav1.LabelSelector, d *appsv1.Deployment) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Errorf("%s: %s: %v", file, what, err)
		return
	}
	if s.Empty() || !s.Matches(labels.Set(d.Spec.Template.Labels)) {
		t.Errorf("%s: %s does not select the Pods of Deployment %s", file, what, d.Name)
	}
	// The version label changes with each release, so selecting by it would orphan
	// running Pods.
	if strings.Contains(s.String(), "app.kubernetes.io/version") {
		t.Errorf("%s: %s selects by version", file, what)
	}
}

func TestServicesAndBudgetsSelectPods(t *testing.T) {
	byName := map[string]*appsv1.Deployment{}
	for _, list := range find[*appsv1.Deployment](t) {
		for _, d := range list {
			byName[d.Name] = d
		}
	}
	for file, services := range find[*corev1.Service](t) {
		for _, s := range services {
			d := byName[s.Name]
			if d == nil {
				t.Errorf("%s: there is no Deployment for Service %s", file, s.Name)
				continue
			}
			selects(t, file, "the Service", &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, d)
			ports := map[string]bool{}
			for _, port := range d.Spec.Template.Spec.Containers[0].Ports {
				ports[port.Name] = true
			}
			for _, port := range s.Spec.Ports {
				if port.TargetPort.Type != intstr.String || !ports[port.TargetPort.StrVal] {
					t.Errorf("%s: port %s targets %s, which is not a named port of the Pods", file, port.Name, port.TargetPort.String())
				}
			}
		}
	}
	for file, budgets := range find[*policyv1.PodDisruptionBudget](t) {
		for _, b := range budgets {
			if d := byName[b.Name]; d == nil {
				t.Errorf("%s: there is no Deployment for PodDisruptionBudget %s", file, b.Name)
			} else {
				selects(t, file, "the budget", b.Spec.Selector, d)
			}
			// With minAvailable, a small number of replicas could block a drain forever.
			if most := b.Spec.MaxUnavailable; most == nil || *most != intstr.FromInt32(1) {
				t.Errorf("%s: maxUnavailable is %v, want 1, so that any number of replicas can be drained", file, most)
			}
		}
	}
}

// Administrators who review the installation need the reason of every rule.
func TestEveryRuleHasAReason(t *testing.T) {
	rules := 0
	for file := range maps.Keys(find[*rbacv1.ClusterRole](t)) {
		rules += commented(t, file)
	}
	for file := range maps.Keys(find[*rbacv1.Role](t)) {
		rules += commented(t, file)
	}
	want := 0
	for _, m := range load(t) {
		switch role := m.object.(type) {
		case *rbacv1.ClusterRole:
			want += len(role.Rules)
		case *rbacv1.Role:
			want += len(role.Rules)
		}
	}
	if rules != want {
		t.Errorf("this test found %d of %d rules: start each rule with apiGroups", rules, want)
	}
}

func commented(t *testing.T, file string) (rules int) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := ""
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "- apiGroups:") {
			rules++
			if !strings.HasPrefix(before, "#") {
				t.Errorf("%s:%d: this rule has no comment above it that gives its reason", file, i+1)
			}
		}
		before = line
	}
	return rules
}

// Rights that the programs must never have.
func TestRightsHaveLimits(t *testing.T) {
	for _, m := range load(t) {
		var name string
		var rules []rbacv1.PolicyRule
		switch role := m.object.(type) {
		case *rbacv1.ClusterRole:
			name, rules = role.Name, role.Rules
		case *rbacv1.Role:
			name, rules = role.Name, role.Rules
		}
		for _, rule := range rules {
			for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
				if slices.Contains(list, "*") {
					t.Errorf("%s: %s grants a wildcard: %v", m.file, name, rule)
				}
			}
			for _, verb := range []string{"escalate", "bind", "impersonate"} {
				if slices.Contains(rule.Verbs, verb) {
					t.Errorf("%s: %s may %s, which allows privilege escalation", m.file, name, verb)
				}
			}
			// Only the controller, which manages the copies in all namespaces, may access
			// Secrets without naming them.
			if slices.Contains(rule.Resources, "secrets") && len(rule.ResourceNames) == 0 && name != "pullsecrets-controller" {
				t.Errorf("%s: %s has access to Secrets without resourceNames", m.file, name)
			}
			if slices.Contains(rule.APIGroups, "serving.knative.dev") {
				for _, verb := range []string{"create", "update", "delete", "deletecollection"} {
					// A policy limits which Revisions the controller deletes, and when.
					retries := name == "pullsecrets-controller" && verb == "delete" && slices.Equal(rule.Resources, []string{"revisions"})
					if slices.Contains(rule.Verbs, verb) && !retries {
						t.Errorf("%s: %s may %s Services; only a patch preserves fields that this version does not know", m.file, name, verb)
					}
				}
				if slices.Contains(rule.Resources, "services/status") {
					t.Errorf("%s: %s may write the status of Services, which is Knative's", m.file, name)
				}
			}
		}
	}
}

func TestBindingsReferToExistingObjects(t *testing.T) {
	have := map[string]bool{}
	for _, m := range load(t) {
		accessor, err := meta.Accessor(m.object)
		if err != nil {
			t.Fatal(err)
		}
		have[m.object.GetObjectKind().GroupVersionKind().Kind+" "+accessor.GetNamespace()+"/"+accessor.GetName()] = true
	}
	check := func(file, binding, namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if ref.Kind == "ClusterRole" {
			namespace = ""
		}
		if !have[ref.Kind+" "+namespace+"/"+ref.Name] {
			t.Errorf("%s: binding %s refers to %s %s, which is not in config/", file, binding, ref.Kind, ref.Name)
		}
		if len(subjects) == 0 {
			t.Errorf("%s: binding %s has no subjects", file, binding)
		}
		for _, s := range subjects {
			if !have[s.Kind+" "+s.Namespace+"/"+s.Name] {
				t.Errorf("%s: binding %s is for %s %s/%s, which is not in config/", file, binding, s.Kind, s.Namespace, s.Name)
			}
		}
	}
	for file, list := range find[*rbacv1.ClusterRoleBinding](t) {
		for _, b := range list {
			check(file, b.Name, "", b.RoleRef, b.Subjects)
		}
	}
	for file, list := range find[*rbacv1.RoleBinding](t) {
		for _, b := range list {
			check(file, b.Name, b.Namespace, b.RoleRef, b.Subjects)
		}
	}
}

// parsers are the functions with which the programs parse each ConfigMap.
var parsers = map[string]func(map[string]string) (any, error){
	"config-logging": func(data map[string]string) (any, error) {
		cfg, err := logging.NewConfigFromMap(data)
		if err != nil {
			return nil, err
		}
		// Compares the logger that a program builds from both.
		logger, level := logging.NewLoggerFromConfig(cfg, "controller")
		_ = logger.Sync()
		return level.String(), nil
	},
	"config-pullsecrets":     func(data map[string]string) (any, error) { return config.NewFromMap(data) },
	"config-observability":   func(data map[string]string) (any, error) { return observability.NewFromMap(data) },
	"config-leader-election": func(data map[string]string) (any, error) { return leaderelection.NewConfigFromMap(data) },
}

// Each example lists every setting with its default. Examples are compared as the
// programs parse them, so a documented default is always the real one.
func TestConfigMapsDocumentThemselves(t *testing.T) {
	for file, list := range find[*corev1.ConfigMap](t) {
		for _, cm := range list {
			t.Run(cm.Name, func(t *testing.T) {
				if want := "400-" + cm.Name + ".yaml"; file != want {
					t.Errorf("ConfigMap %s is in %s, want %s", cm.Name, file, want)
				}
				parse := parsers[cm.Name]
				if parse == nil {
					t.Fatalf("add the parser of ConfigMap %s to this test", cm.Name)
				}
				example := cm.Data[configmap.ExampleKey]
				if example == "" {
					t.Fatalf("%s is missing: it documents the settings for operators", configmap.ExampleKey)
				}
				if got, want := cm.Annotations[configmap.ExampleChecksumAnnotation], configmap.Checksum(example); got != want {
					t.Errorf("%s is %q, want %q: run hack/update-codegen.sh", configmap.ExampleChecksumAnnotation, got, want)
				}

				settings := map[string]string{}
				if err := yaml.UnmarshalStrict([]byte(example), &settings); err != nil {
					t.Fatalf("parse the example: %v", err)
				}
				got, err := parse(settings)
				if err != nil {
					t.Fatalf("a program rejects the example: %v", err)
				}
				installed := maps.Clone(cm.Data)
				delete(installed, configmap.ExampleKey)
				want, err := parse(installed)
				if err != nil {
					t.Fatalf("a program rejects the data: %v", err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the example differs from the defaults (-defaults, +example):\n%s", diff)
				}
			})
		}
	}
}

func TestCustomResourceDefinition(t *testing.T) {
	var crd *apiextensionsv1.CustomResourceDefinition
	for _, list := range find[*apiextensionsv1.CustomResourceDefinition](t) {
		crd = list[0]
	}
	gvk := new(v1alpha1.ClusterPullSecret).GetGroupVersionKind()
	if crd.Spec.Group != gvk.Group || crd.Spec.Names.Kind != gvk.Kind || crd.Spec.Versions[0].Name != gvk.Version {
		t.Errorf("CRD is for %s %s %s, the Go type for %s", crd.Spec.Group, crd.Spec.Versions[0].Name, crd.Spec.Names.Kind, gvk)
	}
	if crd.Spec.Scope != apiextensionsv1.ClusterScoped || !slices.Equal(crd.Spec.Names.ShortNames, []string{"cps"}) {
		t.Errorf("CRD has scope %s and short names %v, want Cluster and cps", crd.Spec.Scope, crd.Spec.Names.ShortNames)
	}
	if crd.Labels["knative.dev/crd-install"] != "true" {
		t.Error("CRD lacks the label knative.dev/crd-install, by which installers select what to apply first")
	}
	var columns []string
	for _, column := range crd.Spec.Versions[0].AdditionalPrinterColumns {
		if column.Priority == 0 {
			columns = append(columns, column.Name)
		}
	}
	if diff := cmp.Diff([]string{"Ready", "Reason", "Source", "Registries", "Synced", "Age"}, columns); diff != "" {
		t.Error("Columns of kubectl get cps (-want, +got):", diff)
	}

	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	documented(t, "", *schema)
	if got := schema.Properties["spec"].Properties["deletionPolicy"].Default; got == nil || string(got.Raw) != `"Delete"` {
		t.Errorf("schema default of deletionPolicy is %v, but SetDefaults sets Delete", got)
	}
}

// While the webhook is down, only the schema validates a ClusterPullSecret. Both must
// reject the same names.
func TestSchemaRejectsWhatValidationRejects(t *testing.T) {
	var spec apiextensionsv1.JSONSchemaProps
	for _, list := range find[*apiextensionsv1.CustomResourceDefinition](t) {
		spec = list[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	}
	always := spec.Properties["always"]
	fields := map[string]struct {
		schema apiextensionsv1.JSONSchemaProps
		set    func(*v1alpha1.ClusterPullSecretSpec, string)
	}{
		"secretRef.namespace": {
			spec.Properties["secretRef"].Properties["namespace"],
			func(s *v1alpha1.ClusterPullSecretSpec, value string) { s.SecretRef.Namespace = value },
		},
		"secretRef.name": {
			spec.Properties["secretRef"].Properties["name"],
			func(s *v1alpha1.ClusterPullSecretSpec, value string) { s.SecretRef.Name = value },
		},
		"secretName": {
			spec.Properties["secretName"],
			func(s *v1alpha1.ClusterPullSecretSpec, value string) { s.SecretName = value },
		},
		"always.serviceAccounts": {
			*always.Properties["serviceAccounts"].Items.Schema,
			func(s *v1alpha1.ClusterPullSecretSpec, value string) {
				s.Always = &v1alpha1.Always{ServiceAccounts: []string{value}}
			},
		},
	}
	names := []string{
		"a", "ghcr", "ghcr-robot", "ghcr.io", "0", "a..b", ".a", "a.", "-a", "a-", "a_b", "A", "a/b", "a b", "*", "a*", "ä", "\n", "a\n",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254),
		strings.Repeat("a.", 31) + "a", strings.Repeat("a.", 32) + "a", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a",
	}
	for field, f := range fields {
		pattern, err := regexp.Compile(f.schema.Pattern)
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		if f.schema.MaxLength == nil {
			t.Fatalf("%s: the schema has no maxLength", field)
		}
		for _, value := range names {
			bySchema := pattern.MatchString(value) && int64(len(value)) <= *f.schema.MaxLength
			s := v1alpha1.ClusterPullSecretSpec{
				SecretRef:         v1alpha1.SecretReference{Namespace: "ns", Name: "name"},
				NamespaceSelector: &metav1.LabelSelector{},
			}
			f.set(&s, value)
			if err := s.Validate(t.Context()); (err == nil) != bySchema {
				t.Errorf("%s: %q: schema accepts it: %t; Validate: %v", field, value, bySchema, err)
			}
		}
	}
}

// documented checks that every field has a description for "kubectl explain", and that no
// field accepts arbitrary content.
func documented(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if schema.XPreserveUnknownFields != nil {
		t.Errorf("schema accepts any field in %s", path)
	}
	for name, property := range schema.Properties {
		at := path + "." + name
		if property.Description == "" && at != ".metadata" {
			t.Errorf("schema has no description of %s: add a doc comment to the Go field", at)
		}
		documented(t, at, property)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		documented(t, path+"[]", *schema.Items.Schema)
	}
}

// onlyComments reports whether a YAML document has no content besides comments.
func onlyComments(document []byte) bool {
	for line := range strings.SplitSeq(string(document), "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}
