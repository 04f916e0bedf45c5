// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
)

// teamLabel is a label that only the platform team sets on Namespaces.
const teamLabel = "e2e.test/team"

// platform is the team that manages credentials: one ClusterPullSecret with its own
// source, both with the same random name, for a registry account of that name.
type platform struct {
	*env.Env
	t    *testing.T
	name string
	cps  versioned.Interface
	// host is the registry of the account. It does not exist unless covers sets a real
	// one.
	host string
}

// newPlatform creates a source, and no ClusterPullSecret yet.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := barePlatform(t)
	p.rotate("one")
	return p
}

// barePlatform creates neither a source nor a ClusterPullSecret, and deletes both after
// the test, whoever created them.
func barePlatform(t *testing.T) *platform {
	t.Helper()
	e := env.Get(t)
	cps, err := versioned.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{Env: e, t: t, name: "registry-" + rand.String(6), cps: cps, host: "registry.example.com"}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(ctx, p.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error("delete the ClusterPullSecret: ", err)
		}
		if err := e.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(ctx, p.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error("delete the source: ", err)
		}
	})
	return p
}

// covers moves the account to the registry of an image, for Services that run it.
func (p *platform) covers(image string) {
	p.t.Helper()
	if p.Kind == env.Existing {
		// Services do not become Ready with a credential that the registry rejects, and
		// an unknown registry cannot create the account.
		p.Need(p.t, env.Pulls)
	}
	p.host, _, _ = strings.Cut(image, "/")
	if account := p.account(); account != nil {
		p.t.Cleanup(func() {
			if err := account.RemoveUser(context.WithoutCancel(p.t.Context()), p.name); err != nil {
				p.t.Error("remove the account: ", err)
			}
		})
	}
	p.rotate("one")
}

// account returns the cluster's registry that has the account, or nil.
func (p *platform) account() *env.Registry {
	if p.Registries == nil {
		return nil
	}
	for _, registry := range []*env.Registry{p.Registries.Main, p.Registries.Other} {
		if registry.Host == p.host {
			return registry
		}
	}
	return nil
}

// pullSecret returns what "kubectl create secret docker-registry" creates, for an account
// with the name of the Secret.
func pullSecret(name, registry, password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: encode(map[string]any{"auths": map[string]any{
			registry: map[string]any{"username": name, "password": password, "auth": base64.StdEncoding.EncodeToString([]byte(name + ":" + password))},
		}})},
	}
}

// keepSource creates or replaces the source.
func (p *platform) keepSource(secret *corev1.Secret) {
	p.t.Helper()
	secrets := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace)
	_, err := secrets.Update(p.t.Context(), secret, metav1.UpdateOptions{FieldManager: user})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(p.t.Context(), secret, metav1.CreateOptions{FieldManager: user})
	}
	if err != nil {
		p.t.Fatal("write the source: ", err)
	}
}

// rotate sets another password for the account and in the source.
func (p *platform) rotate(password string) {
	p.t.Helper()
	if account := p.account(); account != nil {
		if err := account.SetUser(p.t.Context(), p.name, password, "public/"); err != nil {
			p.t.Fatal("set a password: ", err)
		}
	}
	p.keepSource(pullSecret(p.name, p.host, password))
}

// grant creates the ClusterPullSecret for Namespaces labelled with the team.
func (p *platform) grant(edits ...func(*v1alpha1.ClusterPullSecretSpec)) {
	p.t.Helper()
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: p.name}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: p.name}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{teamLabel: p.name}}
	for _, edit := range edits {
		edit(&object.Spec)
	}
	if _, err := p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(p.t.Context(), object, metav1.CreateOptions{FieldManager: user}); err != nil {
		p.t.Fatal("create the ClusterPullSecret: ", err)
	}
}

// patchGrant is "kubectl patch --type merge" of the ClusterPullSecret's spec.
func (p *platform) patchGrant(spec map[string]any) {
	p.t.Helper()
	_, err := p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Patch(p.t.Context(), p.name, types.MergePatchType,
		encode(map[string]any{"spec": spec}), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		p.t.Fatal("update the ClusterPullSecret: ", err)
	}
}

// withdraw deletes the ClusterPullSecret and waits until it and its copies are gone.
func (p *platform) withdraw() {
	p.t.Helper()
	client := p.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	if err := client.Delete(p.t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		p.t.Fatal("delete the ClusterPullSecret: ", err)
	}
	p.waitForDeletion()
}

// waitForDeletion waits until the deleted ClusterPullSecret is gone.
func (p *platform) waitForDeletion() {
	p.t.Helper()
	eventually(p.t, func(ctx context.Context) error {
		if _, err := p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, p.name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ClusterPullSecret %s still exists (%w)", p.name, err)
		}
		return nil
	})
}

// granted labels a Namespace as one of the platform's team.
func (p *platform) granted() env.NamespaceOption { return env.Labelled(teamLabel, p.name) }

// waitForStatus waits until the status satisfies the condition.
func (p *platform) waitForStatus(what string, is func(*v1alpha1.ClusterPullSecret) bool) *v1alpha1.ClusterPullSecret {
	p.t.Helper()
	var found *v1alpha1.ClusterPullSecret
	eventually(p.t, func(ctx context.Context) (err error) {
		found, err = p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, p.name, metav1.GetOptions{})
		if err == nil && !is(found) {
			err = fmt.Errorf("ClusterPullSecret %s does not report %s: %+v", p.name, what, found.Status)
		}
		return err
	})
	return found
}

// waitForSource waits for a reason of the condition SourceReady.
func (p *platform) waitForSource(reason string, parts ...string) {
	p.t.Helper()
	p.waitForStatus("SourceReady=False, "+reason, func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
		return condition.IsFalse() && condition.Reason == reason &&
			!slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(condition.Message, part) })
	})
}

// copyOf returns a Secret of the tenant, or nil.
func (n *tenant) copyOf(name string) *corev1.Secret {
	n.t.Helper()
	secret, err := n.Kube.CoreV1().Secrets(n.ns).Get(n.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return secret
}

// waitForCopy waits for a copy with this password and returns it.
func (n *tenant) waitForCopy(name, password string) *corev1.Secret {
	n.t.Helper()
	var found *corev1.Secret
	eventually(n.t, func(context.Context) error {
		if found = n.copyOf(name); found == nil {
			return fmt.Errorf("Secret %s does not exist", name)
		}
		if !hasPassword(found, password) {
			return fmt.Errorf("Secret %s does not contain the password %q", name, password)
		}
		return nil
	})
	return found
}

// hasPassword reports whether a Secret has a login with this password.
func hasPassword(secret *corev1.Secret, password string) bool {
	for _, login := range logins(secret) {
		if strings.HasSuffix(login, ":"+password) {
			return true
		}
	}
	return false
}

// waitForNoCopy waits until the Secret does not exist.
func (n *tenant) waitForNoCopy(name string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		if secret := n.copyOf(name); secret != nil {
			return fmt.Errorf("Secret %s still exists: labels %v, finalizers %v", name, secret.Labels, secret.Finalizers)
		}
		return nil
	})
}

// patchSecret is "kubectl patch secret --type merge".
func (n *tenant) patchSecret(name string, change map[string]any) {
	n.t.Helper()
	_, err := n.Kube.CoreV1().Secrets(n.ns).Patch(n.t.Context(), name, types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		n.t.Fatalf("update Secret %s: %v", name, err)
	}
}
