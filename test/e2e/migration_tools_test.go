// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// deployment creates the Deployment of a tool. Its replicas show whether the tool runs;
// it needs no Pod.
func (m *migration) deployment(name string) {
	m.t.Helper()
	labels := map[string]string{"app": name}
	object := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}}
	object.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	object.Spec.Template.Labels = labels
	object.Spec.Template.Spec.Containers = []corev1.Container{{Name: "tool", Image: image(m.t, m.Env, "IMAGE_BY_TAG")}}
	if _, err := m.Kube.AppsV1().Deployments(m.home.ns).Create(m.t.Context(), object, metav1.CreateOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// runs reports whether the Deployment of a tool runs.
func (m *migration) runs(ctx context.Context, name string) (bool, error) {
	found, err := m.Kube.AppsV1().Deployments(m.home.ns).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && *found.Spec.Replicas > 0, err
}

// readSecret reads a Secret, or nil where there is none.
func (n *tenant) readSecret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret, err := n.Kube.CoreV1().Secrets(n.ns).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return secret, err
}

func (n *tenant) makeSecret(ctx context.Context, secret *corev1.Secret) error {
	_, err := n.Kube.CoreV1().Secrets(n.ns).Create(ctx, secret, metav1.CreateOptions{FieldManager: user})
	return err
}

func (n *tenant) writeSecret(ctx context.Context, secret *corev1.Secret) error {
	_, err := n.Kube.CoreV1().Secrets(n.ns).Update(ctx, secret, metav1.UpdateOptions{FieldManager: user})
	return err
}

func (n *tenant) removeSecret(ctx context.Context, name string) error {
	err := n.Kube.CoreV1().Secrets(n.ns).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// appendToAccounts appends a name to the lists of ServiceAccounts that lack it.
func (n *tenant) appendToAccounts(ctx context.Context, name string, accounts ...string) error {
	var errs []error
	for _, account := range accounts {
		list, _, err := n.accountList(ctx, account)
		if err == nil && !slices.Contains(list, name) {
			err = n.changeAccount(account, func(refs []corev1.LocalObjectReference) []corev1.LocalObjectReference {
				return append(refs, corev1.LocalObjectReference{Name: name})
			})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kind creates a cluster-scoped kind of another tool with an open schema. It fails on a
// cluster that has the real one.
func (m *migration) kind(group, version, kind, plural, singular string) schema.GroupVersionResource {
	m.t.Helper()
	crds := m.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + "." + group, "labels": map[string]any{standInLabel: "true"}},
		"spec": map[string]any{
			"group": group, "scope": "Cluster",
			"names": map[string]any{"kind": kind, "listKind": kind + "List", "plural": plural, "singular": singular},
			"versions": []any{map[string]any{"name": version, "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			}}},
		},
	}}
	name := definition.GetName()
	if _, err := crds.Create(m.t.Context(), definition, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		found, err := crds.Get(m.t.Context(), name, metav1.GetOptions{})
		if err != nil || found.GetLabels()[standInLabel] == "" {
			m.t.Fatalf("This cluster has %s already (%v), which the test would have to replace: run it on another cluster", name, err)
		}
	} else if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := crds.Delete(context.WithoutCancel(m.t.Context()), name, metav1.DeleteOptions{}); err != nil {
			m.t.Error(err)
		}
	})
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
}

// standInLabel is on kinds that a test created.
const standInLabel = "e2e.test/stand-in"

// makeObject creates an object of a new kind as soon as the API server serves it.
func (m *migration) makeObject(resource schema.GroupVersionResource, object map[string]any) {
	m.t.Helper()
	eventually(m.t, func(ctx context.Context) error {
		_, err := m.Dynamic.Resource(resource).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
		return err
	})
}

// registryCreds is alexellis/registry-creds: a Secret in every namespace, owned by its
// ClusterPullSecret, never updated, and listed in every ServiceAccount. Newer versions
// remove the entries when the ClusterPullSecret is deleted.
type registryCreds struct {
	*migration
	resource schema.GroupVersionResource
	data     map[string][]byte
}

const registryCredsDeployment = "registry-creds-registry-creds-controller"

func newRegistryCreds(m *migration) tool {
	m.t.Helper()
	m.deployment(registryCredsDeployment)
	c := &registryCreds{migration: m, data: pullSecret(m.secret, "registry.example.com", "one").Data}
	c.resource = m.kind("ops.alexellis.io", "v1", "ClusterPullSecret", "clusterpullsecrets", "clusterpullsecret")
	c.makeObject(c.resource, map[string]any{
		"apiVersion": "ops.alexellis.io/v1", "kind": "ClusterPullSecret", "metadata": map[string]any{"name": m.secret},
		"spec": map[string]any{"secretRef": map[string]any{"name": "registry-creds", "namespace": m.home.ns}},
	})
	return c
}

func (c *registryCreds) turn(ctx context.Context) error {
	if runs, err := c.runs(ctx, registryCredsDeployment); err != nil || !runs {
		return err
	}
	owner, err := c.Dynamic.Resource(c.resource).Get(ctx, c.secret, metav1.GetOptions{})
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return err
	}
	for _, n := range []*tenant{c.tenant, c.left} {
		if gone {
			err = n.changeAccount("default", func(refs []corev1.LocalObjectReference) []corev1.LocalObjectReference {
				return slices.DeleteFunc(refs, func(ref corev1.LocalObjectReference) bool { return ref.Name == c.secret })
			})
		} else {
			err = c.serve(ctx, n, owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *registryCreds) serve(ctx context.Context, n *tenant, owner *unstructured.Unstructured) error {
	found, err := n.readSecret(ctx, c.secret)
	if err == nil && found == nil {
		err = n.makeSecret(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: c.secret, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GroupVersionKind())}},
			Type:       corev1.SecretTypeDockerConfigJson, Data: c.data,
		})
	}
	if err != nil {
		return err
	}
	accounts := []string{"default"}
	if n == c.tenant {
		accounts = append(accounts, "robot")
	}
	return n.appendToAccounts(ctx, c.secret, accounts...)
}

// patcher is titansoft's imagepullsecret-patcher: a Secret that differs in any byte from
// its own is deleted and recreated.
type patcher struct {
	*migration
	config []byte
}

const patcherDeployment = "imagepullsecret-patcher"

func newPatcher(m *migration) tool {
	m.t.Helper()
	m.deployment(patcherDeployment)
	return &patcher{m, pullSecret(m.secret, "registry.example.com", "one").Data[corev1.DockerConfigJsonKey]}
}

func (p *patcher) turn(ctx context.Context) error {
	if runs, err := p.runs(ctx, patcherDeployment); err != nil || !runs {
		return err
	}
	for _, n := range []*tenant{p.tenant, p.left} {
		found, err := n.readSecret(ctx, p.secret)
		if err == nil && found != nil && string(found.Data[corev1.DockerConfigJsonKey]) != string(p.config) {
			found, err = nil, n.removeSecret(ctx, p.secret)
		}
		if err == nil && found == nil {
			err = n.makeSecret(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: p.secret, Annotations: map[string]string{"app.kubernetes.io/managed-by": patcherDeployment}},
				Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: p.config},
			})
		}
		if err == nil {
			err = n.appendToAccounts(ctx, p.secret, "default")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reflector is emberstack's reflector. Its copies are marked by annotations. It deletes
// them when the original is deleted or no longer allows them: those that it finds and
// those that it remembers.
type reflector struct {
	*migration
	original   *tenant
	remembered map[*tenant]bool
}

const (
	reflectorDeployment = "reflector"
	reflectorPrefix     = "reflector.v1.k8s.emberstack.com/"
)

func newReflector(m *migration, original *tenant) tool {
	m.t.Helper()
	m.deployment(reflectorDeployment)
	secret := pullSecret(m.secret, "registry.example.com", "one")
	secret.Annotations = map[string]string{reflectorPrefix + "reflection-allowed": "true", reflectorPrefix + "reflection-auto-enabled": "true"}
	if err := original.makeSecret(m.t.Context(), secret); err != nil {
		m.t.Fatal(err)
	}
	return &reflector{migration: m, original: original}
}

func (r *reflector) turn(ctx context.Context) error {
	runs, err := r.runs(ctx, reflectorDeployment)
	if err != nil || !runs {
		r.remembered = nil
		return err
	}
	source, err := r.original.readSecret(ctx, r.secret)
	if err != nil {
		return err
	}
	allowed := source != nil && source.Annotations[reflectorPrefix+"reflection-allowed"] == "true" && source.Annotations[reflectorPrefix+"reflection-auto-enabled"] == "true"
	for _, n := range []*tenant{r.tenant, r.left} {
		found, err := n.readSecret(ctx, r.secret)
		if err != nil {
			return err
		}
		marked := found != nil && found.Annotations[reflectorPrefix+"auto-reflects"] == "True" && found.Annotations[reflectorPrefix+"reflects"] == r.original.ns+"/"+r.secret
		switch {
		case !allowed && (marked || r.remembered[n]):
			err = n.removeSecret(ctx, r.secret)
		case allowed && (found == nil || marked):
			err = r.reflect(ctx, n, source, found)
		}
		if err != nil {
			return err
		}
	}
	if !allowed {
		r.remembered = nil
	}
	return nil
}

func (r *reflector) reflect(ctx context.Context, n *tenant, source, found *corev1.Secret) error {
	if r.remembered == nil {
		r.remembered = map[*tenant]bool{}
	}
	r.remembered[n] = true
	marks := map[string]string{
		reflectorPrefix + "auto-reflects": "True", reflectorPrefix + "reflects": r.original.ns + "/" + r.secret,
		reflectorPrefix + "reflected-version": source.ResourceVersion, reflectorPrefix + "reflected-at": "2026-01-01T00:00:00.0000000+00:00",
	}
	if found == nil {
		return n.makeSecret(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: r.secret, Annotations: marks}, Type: source.Type, Data: source.Data})
	}
	if found.Annotations[reflectorPrefix+"reflected-version"] == source.ResourceVersion {
		return nil
	}
	maps.Copy(found.Annotations, marks)
	found.Data = source.Data
	return n.writeSecret(ctx, found)
}

// kyverno is a generate rule that clones a Secret. It restores the clone while it
// synchronizes, and some versions delete it with the policy.
type kyverno struct {
	*migration
	original     *tenant
	resource     schema.GroupVersionResource
	synchronized bool
}

func newKyverno(m *migration, original *tenant) tool {
	m.t.Helper()
	if err := original.makeSecret(m.t.Context(), pullSecret(m.secret, "registry.example.com", "one")); err != nil {
		m.t.Fatal(err)
	}
	k := &kyverno{migration: m, original: original}
	k.resource = m.kind("kyverno.io", "v1", "ClusterPolicy", "clusterpolicies", "clusterpolicy")
	k.makeObject(k.resource, map[string]any{
		"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": map[string]any{"name": m.secret},
		"spec": map[string]any{"rules": []any{map[string]any{
			"name": "sync-image-pull-secret",
			"generate": map[string]any{
				"apiVersion": "v1", "kind": "Secret", "name": m.secret, "namespace": "{{request.object.metadata.name}}", "synchronize": true,
				"clone": map[string]any{"namespace": original.ns, "name": m.secret},
			},
		}}},
	})
	return k
}

func (k *kyverno) turn(ctx context.Context) error {
	policy, err := k.Dynamic.Resource(k.resource).Get(ctx, k.secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if k.synchronized {
			return errors.Join(k.removeSecret(ctx, k.secret), k.left.removeSecret(ctx, k.secret))
		}
		return nil
	}
	if err != nil {
		return err
	}
	rules, _, err := unstructured.NestedSlice(policy.Object, "spec", "rules")
	if err != nil {
		return err
	}
	k.synchronized, _, err = unstructured.NestedBool(rules[0].(map[string]any), "generate", "synchronize")
	if err != nil {
		return err
	}
	source, err := k.original.readSecret(ctx, k.secret)
	if err != nil {
		return err
	}
	return errors.Join(k.generate(ctx, k.tenant, source), k.generate(ctx, k.left, source))
}

func (k *kyverno) generate(ctx context.Context, n *tenant, source *corev1.Secret) error {
	want := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: k.secret, Labels: k.labels(n)}, Type: source.Type, Data: source.Data}
	found, err := n.readSecret(ctx, k.secret)
	switch {
	case err != nil:
		return err
	case found == nil:
		return n.makeSecret(ctx, want)
	case !k.synchronized || maps.Equal(found.Labels, want.Labels) && reflect.DeepEqual(found.Data, want.Data):
		return nil
	}
	found.Labels, found.Data = want.Labels, want.Data
	return n.writeSecret(ctx, found)
}

func (k *kyverno) labels(n *tenant) map[string]string {
	const prefix = "generate.kyverno.io/"
	return map[string]string{
		"app.kubernetes.io/managed-by": "kyverno",
		prefix + "policy-name":         k.secret, prefix + "policy-namespace": "", prefix + "rule-name": "sync-image-pull-secret",
		prefix + "source-group": "", prefix + "source-kind": "Secret", prefix + "source-version": "v1",
		prefix + "source-name": k.secret, prefix + "source-namespace": k.original.ns, prefix + "source-uid": "00000000-0000-0000-0000-000000000001",
		prefix + "trigger-group": "", prefix + "trigger-kind": "Namespace", prefix + "trigger-version": "v1",
		prefix + "trigger-name": n.ns, prefix + "trigger-namespace": "", prefix + "trigger-uid": "00000000-0000-0000-0000-000000000002",
		prefix + "clone-source": "",
	}
}
