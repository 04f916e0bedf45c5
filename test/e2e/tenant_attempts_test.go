// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
)

// intruder is a user with the role "edit" in one Namespace, which is granted the
// credential ours and not theirs, and who tries to get theirs.
type intruder struct {
	*tenant
	as           *env.Env
	cps          versioned.Interface
	ours, theirs *platform
}

// Whatever a tenant writes, a credential that is not granted to its Namespace never gets
// there, and credentials granted elsewhere are not affected.
func TestTenantGetsNoForeignCredential(t *testing.T) {
	t.Parallel()
	ours, theirs := newPlatform(t), newPlatform(t)
	ours.grant()
	theirs.rotate("foreign")
	theirs.grant()
	owner := newTenant(t, optedIn(theirs.name), theirs.granted())
	kept := owner.waitForCopy(theirs.name, "foreign")
	if !isForeign(kept) {
		t.Fatal("the foreign credential is not recognized")
	}

	for what, try := range map[string]func(*intruder){
		"reads the source": func(i *intruder) {
			i.forbidden(i.read(pullsecrets.SourcesNamespace, theirs.name))
			i.forbidden(i.read(owner.ns, theirs.name))
		},
		"lists Secrets everywhere": func(i *intruder) {
			_, err := i.as.Kube.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
			i.forbidden(err)
		},
		"destroys the source": func(i *intruder) {
			i.forbidden(i.as.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(t.Context(), theirs.name, metav1.DeleteOptions{}))
		},
		"destroys the grant": func(i *intruder) {
			i.forbidden(i.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(t.Context(), theirs.name, metav1.DeleteOptions{}))
		},
		"destroys the owner's copy": func(i *intruder) {
			secrets := i.as.Kube.CoreV1().Secrets(owner.ns)
			i.forbidden(secrets.Delete(t.Context(), theirs.name, metav1.DeleteOptions{}))
			_, err := secrets.Patch(t.Context(), theirs.name, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{})
			i.forbidden(err)
		},
		"creates a ClusterPullSecret": func(i *intruder) {
			object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: i.ns}}
			object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: theirs.name}
			object.Spec.NamespaceSelector = &metav1.LabelSelector{}
			_, err := i.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(t.Context(), object, metav1.CreateOptions{})
			i.forbidden(err)
		},
		"widens the selector": func(i *intruder) {
			_, err := i.cps.PullsecretsV1alpha1().ClusterPullSecrets().Patch(t.Context(), theirs.name, types.MergePatchType, []byte(`{"spec":{"namespaceSelector":{}}}`), metav1.PatchOptions{})
			i.forbidden(err)
		},
		"labels the Namespace": func(i *intruder) {
			_, err := i.as.Kube.CoreV1().Namespaces().Patch(t.Context(), i.ns, types.MergePatchType,
				encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{teamLabel: theirs.name}}}), metav1.PatchOptions{})
			i.forbidden(err)
		},
		"asks by a Service": func(i *intruder) {
			i.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, theirs.name), annotated(pullsecrets.InjectAnnotation, "auto"))
		},
		"forges a ledger": func(i *intruder) {
			i.applyAs("by-digest.yaml", "app", annotated(pullsecrets.AddedAnnotation, fmt.Sprintf(`{%q:"clusterpullsecret/%s"}`, theirs.name, theirs.name)))
		},
		"creates a Secret that looks like the copy": func(i *intruder) {
			i.makeLabelled(theirs.name, theirs.name)
			i.waitForNoCopy(theirs.name)
		},
		"makes one under another name": func(i *intruder) {
			i.makeLabelled("mine", theirs.name)
			i.waitForNoCopy("mine")
		},
		"makes one under the name of what is granted": func(i *intruder) {
			i.makeLabelled("other-"+ours.name, ours.name)
			i.waitForNoCopy("other-" + ours.name)
		},
		"relabels the own copy": func(i *intruder) {
			i.patchOwn(ours.name, map[string]any{"metadata": map[string]any{"labels": map[string]any{pullsecrets.ClusterPullSecretLabel: theirs.name}}})
			eventually(t, func(context.Context) error {
				if now := i.copyOf(ours.name); now == nil || now.Labels[pullsecrets.ClusterPullSecretLabel] != ours.name {
					return fmt.Errorf("the copy is not restored")
				}
				return nil
			})
		},
		"points the copy at another source": func(i *intruder) {
			i.patchOwn(ours.name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{pullsecrets.SourceResourceVersionAnnotation: kept.Annotations[pullsecrets.SourceResourceVersionAnnotation]}}})
		},
		"owns the copy": func(i *intruder) {
			i.patchOwn(ours.name, map[string]any{"metadata": map[string]any{"ownerReferences": []any{map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt", "uid": "00000000-0000-0000-0000-000000000000"}}}})
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := newIntruder(t, ours, theirs)
			try(i)
			i.settled()
			i.checkNothingForeign()
			if now := owner.copyOf(theirs.name); now == nil || now.ResourceVersion != kept.ResourceVersion {
				t.Errorf("copy of Namespace %s has changed: %v", owner.ns, now)
			}
		})
	}
}

func newIntruder(t *testing.T, ours, theirs *platform) *intruder {
	t.Helper()
	n := newTenant(t, ours.granted(), optedIn(ours.name))
	name := "intruder-" + n.ns
	_, err := n.Kube.RbacV1().RoleBindings(n.ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "edit"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	as, err := n.As(name)
	if err != nil {
		t.Fatal(err)
	}
	cps, err := versioned.NewForConfig(as.Config)
	if err != nil {
		t.Fatal(err)
	}
	i := &intruder{tenant: &tenant{Env: as, t: t, ns: n.ns}, as: as, cps: cps, ours: ours, theirs: theirs}
	// The binding takes effect once the API server has observed it.
	eventually(t, func(context.Context) error { return i.read(n.ns, ours.name) })
	return i
}

func (i *intruder) read(namespace, name string) error {
	_, err := i.as.Kube.CoreV1().Secrets(namespace).Get(i.t.Context(), name, metav1.GetOptions{})
	return err
}

func (i *intruder) forbidden(err error) {
	i.t.Helper()
	if !apierrors.IsForbidden(err) {
		i.t.Errorf("attempt returned %v, want Forbidden", err)
	}
}

// makeLabelled creates a Secret that claims to be a copy.
func (i *intruder) makeLabelled(name, clusterPullSecret string) {
	i.t.Helper()
	secret := pullSecret(name, "registry.example.com", "forged")
	secret.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: clusterPullSecret}
	if _, err := i.as.Kube.CoreV1().Secrets(i.ns).Create(i.t.Context(), secret, metav1.CreateOptions{}); err != nil {
		i.t.Fatal(err)
	}
}

func (i *intruder) patchOwn(name string, change map[string]any) {
	i.t.Helper()
	if _, err := i.as.Kube.CoreV1().Secrets(i.ns).Patch(i.t.Context(), name, types.MergePatchType, encode(change), metav1.PatchOptions{}); err != nil {
		i.t.Fatal(err)
	}
}

// settled waits until the controller has reconciled the Namespace again: it restores the
// copy, which is deleted for this.
func (i *intruder) settled() {
	i.t.Helper()
	if err := i.as.Kube.CoreV1().Secrets(i.ns).Delete(i.t.Context(), i.ours.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		i.t.Fatal(err)
	}
	i.waitForCopy(i.ours.name, "one")
}

// checkNothingForeign checks that no Secret of the Namespace holds the other
// credential.
func (i *intruder) checkNothingForeign() {
	i.t.Helper()
	all, err := i.as.Kube.CoreV1().Secrets(i.ns).List(i.t.Context(), metav1.ListOptions{})
	if err != nil {
		i.t.Fatal(err)
	}
	for _, secret := range all.Items {
		if isForeign(&secret) {
			i.t.Errorf("Secret %s/%s contains the foreign credential", i.ns, secret.Name)
		}
	}
}

func isForeign(secret *corev1.Secret) bool {
	return hasPassword(secret, "foreign")
}
