// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// binds is a Namespace that declares pull secrets for these ServiceAccounts too.
func binds(accounts string) env.NamespaceOption {
	return env.Annotated(pullsecrets.ServiceAccountsAnnotation, accounts)
}

// makeAccount creates a ServiceAccount with pull secrets.
func (n *tenant) makeAccount(name string, secrets ...string) {
	n.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, secret := range secrets {
		account.ImagePullSecrets = append(account.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	if _, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Create(n.t.Context(), account, metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
}

// changeAccount reads, changes and writes back the list of a ServiceAccount.
func (n *tenant) changeAccount(name string, change func([]corev1.LocalObjectReference) []corev1.LocalObjectReference) error {
	return retryOnConflict(func() error {
		account, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Get(n.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		account.ImagePullSecrets = change(account.ImagePullSecrets)
		_, err = n.Kube.CoreV1().ServiceAccounts(n.ns).Update(n.t.Context(), account, metav1.UpdateOptions{FieldManager: user})
		return err
	})
}

// accountList returns the list of a ServiceAccount and its ledger.
func (n *tenant) accountList(ctx context.Context, name string) (list []string, ledger map[string]string, err error) {
	account, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	for _, ref := range account.ImagePullSecrets {
		list = append(list, ref.Name)
	}
	if text := account.Annotations[pullsecrets.AddedAnnotation]; text != "" {
		err = json.Unmarshal([]byte(text), &ledger)
	}
	return list, ledger, err
}

// waitForAccount waits until a ServiceAccount has exactly these pull secrets and this
// ledger.
func (n *tenant) waitForAccount(name string, ledger map[string]string, want ...string) {
	n.t.Helper()
	eventually(n.t, func(ctx context.Context) error {
		list, got, err := n.accountList(ctx, name)
		if err == nil && (!slices.Equal(list, want) || !maps.Equal(got, ledger)) {
			err = fmt.Errorf("ServiceAccount %s has imagePullSecrets %q and the ledger %v, want %q and %v", name, list, got, want, ledger)
		}
		return err
	})
}

// The ServiceAccounts that a Namespace names get its pull secrets behind their own,
// including ServiceAccounts that are created later, and lose exactly these again.
func TestServiceAccountsAreBound(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), binds("robot, default"))
	n.makeAccount("robot", "own-b", "own-a")
	n.makeAccount("other", "own")
	ours := map[string]string{"ghcr": "namespace"}
	n.waitForAccount("default", ours, "ghcr")
	n.waitForAccount("robot", ours, "own-b", "own-a", "ghcr")

	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "*")
	n.waitForAccount("other", ours, "own", "ghcr")
	n.makeAccount("late")
	n.waitForAccount("late", ours, "ghcr")
	n.checkPodSecrets("late", "ghcr")

	// Another writer adds an entry, which keeps its place.
	if err := n.changeAccount("robot", func(refs []corev1.LocalObjectReference) []corev1.LocalObjectReference {
		return append(refs, corev1.LocalObjectReference{Name: "robot-dockercfg-x"})
	}); err != nil {
		t.Fatal(err)
	}
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "quay")
	n.waitForAccount("robot", map[string]string{"quay": "namespace"}, "own-b", "own-a", "robot-dockercfg-x", "quay")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	n.waitForAccount("robot", nil, "own-b", "own-a", "robot-dockercfg-x")
	n.waitForAccount("default", nil)
}

// checkPodSecrets checks that a Pod gets the pull secrets of its ServiceAccount.
func (n *tenant) checkPodSecrets(account string, want ...string) {
	n.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-" + account}}
	pod.Spec.ServiceAccountName = account
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: image(n.t, n.Env, "IMAGE_BY_DIGEST")}}
	made, err := n.Kube.CoreV1().Pods(n.ns).Create(n.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		n.t.Fatal(err)
	}
	var got []string
	for _, ref := range made.Spec.ImagePullSecrets {
		got = append(got, ref.Name)
	}
	if !slices.Equal(got, want) {
		n.t.Errorf("A Pod of ServiceAccount %s has imagePullSecrets %q, want %q", account, got, want)
	}
}

// With inject: disabled the ServiceAccounts are still bound, and no Service is written,
// so there is no Revision.
func TestDisabledInjectStillBindsServiceAccounts(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), binds("*"), env.Annotated(pullsecrets.InjectAnnotation, "disabled"))
	n.waitForAccount("default", map[string]string{"ghcr": "namespace"}, "ghcr")
	counting := n.startCounting()
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForAccount("default", map[string]string{"ghcr": "namespace", "quay": "namespace"}, "ghcr", "quay")
	n.checkList("app")
	n.checkRevisions("app", 1)
	counting.checkWrites("app", 0)
}

// A ClusterPullSecret with always.serviceAccounts binds ServiceAccounts in every selected
// Namespace without an annotation, and unbinds them when it is deleted.
func TestClusterPullSecretBindsServiceAccounts(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted())
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Always = &v1alpha1.Always{ServiceAccounts: []string{"default"}}
	})
	n.waitForAccount("default", map[string]string{p.name: "clusterpullsecret/" + p.name}, p.name)
	n.waitForCopy(p.name, "one")
	p.withdraw()
	n.waitForAccount("default", nil)
	n.waitForNoCopy(p.name)
}

// Other writers keep changing the same list, which each write replaces as a whole. No
// entry is lost.
func TestConcurrentWritersOfServiceAccountLoseNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission, binds("*"))
	const entries = 30
	var writer sync.WaitGroup
	writer.Go(func() {
		for _, name := range numbered("own-%02d", entries) {
			if err := n.changeAccount("default", func(refs []corev1.LocalObjectReference) []corev1.LocalObjectReference {
				return append(refs, corev1.LocalObjectReference{Name: name})
			}); err != nil {
				t.Errorf("add %s: %v", name, err)
			}
		}
	})
	declared := numbered("declared-%02d", entries)
	for i := range declared {
		value := declared[i]
		n.annotateNamespace(pullsecrets.SecretsAnnotation, value)
		eventually(t, func(ctx context.Context) error {
			list, _, err := n.accountList(ctx, "default")
			if err == nil && !slices.Contains(list, value) {
				err = fmt.Errorf("the ServiceAccount has %q, want %s among them", list, value)
			}
			return err
		})
	}
	writer.Wait()
	eventually(t, func(ctx context.Context) error {
		list, _, err := n.accountList(ctx, "default")
		if err != nil {
			return err
		}
		own := slices.DeleteFunc(slices.Clone(list), func(name string) bool { return name == declared[entries-1] })
		if !slices.Equal(own, numbered("own-%02d", entries)) || len(list) != entries+1 {
			return fmt.Errorf("the ServiceAccount has %q, want the %d entries of the other writer in order and %s", list, entries, declared[entries-1])
		}
		return nil
	})
}

// The controller backs off when another writer keeps removing its entries.
func TestContestedServiceAccountIsLeftAlone(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission, optedIn("ghcr"), binds("default"))
	removals := 0
	eventually(t, func(ctx context.Context) error {
		list, _, err := n.accountList(ctx, "default")
		if err != nil {
			return err
		}
		if len(list) > 0 {
			if err := n.changeAccount("default", func([]corev1.LocalObjectReference) []corev1.LocalObjectReference { return nil }); err != nil {
				return err
			}
			removals++
		}
		if len(n.events(about{"ServiceAccount", "default"}, "InjectionContested")) == 0 {
			return fmt.Errorf("no Event InjectionContested after %d removals", removals)
		}
		return nil
	})
	if want := 4; removals != want {
		t.Errorf("entry was added %d times, want %d: once, and in three rounds", removals, want)
	}
}

// A bound ServiceAccount has its pull secrets from the request that creates it. A writer
// that drops them, as GitOps does with a list of its own, gets them restored in the same
// request.
func TestServiceAccountsAreBoundAtAdmission(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), binds("*"))
	alice := n.person("alice")
	check := func(text string, want ...string) {
		t.Helper()
		var account corev1.ServiceAccount
		_, object, _ := strings.Cut(text, "{\n") // kubectl may print warnings first.
		if err := json.Unmarshal([]byte("{"+object), &account); err != nil {
			t.Fatal(err, text)
		}
		var got []string
		for _, ref := range account.ImagePullSecrets {
			got = append(got, ref.Name)
		}
		if !slices.Equal(got, want) || account.Annotations[pullsecrets.AddedAnnotation] != addedGHCR {
			t.Errorf("the answer has imagePullSecrets %q and the ledger %q, want %q and %q", got, account.Annotations[pullsecrets.AddedAnnotation], want, addedGHCR)
		}
	}
	manifest := encode(map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "robot"}, "imagePullSecrets": refs([]string{"own"}),
	})
	apply := func(flags ...string) string {
		return alice.run(manifest, "kubectl", append([]string{"apply", "-f", "-", "-o", "json"}, flags...)...)
	}
	check(apply(), "own", "ghcr")
	for range rounds {
		check(apply(), "own", "ghcr")
		check(apply("--server-side", "--force-conflicts", "--field-manager=argocd-controller"), "own", "ghcr")
	}
	check(alice.run(nil, "kubectl", "patch", "serviceaccount", "robot", "--type=merge", "-p", `{"imagePullSecrets":null}`, "-o", "json"), "ghcr")
}
