// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// A copy requires both a grant by the platform team and a request in the Namespace. It
// contains the credential, says which ClusterPullSecret owns it, and nothing else of the
// source.
func TestCopyRequiresGrantAndRequest(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	asks, silent, stranger := newTenant(t, optedIn(p.name), p.granted()), newTenant(t, p.granted()), newTenant(t, optedIn(p.name))
	p.grant()

	copied := asks.waitForCopy(p.name, "one")
	if want := map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: p.name}; !maps.Equal(copied.Labels, want) {
		t.Errorf("the copy has the labels %v, want %v", copied.Labels, want)
	}
	if len(copied.Data) != 1 || copied.Type != corev1.SecretTypeDockerConfigJson || len(copied.OwnerReferences)+len(copied.Finalizers) > 0 {
		t.Errorf("the copy is of type %s with %d keys, owners %v and finalizers %v", copied.Type, len(copied.Data), copied.OwnerReferences, copied.Finalizers)
	}
	p.waitForStatus("1/1", func(c *v1alpha1.ClusterPullSecret) bool {
		n := c.Status.Namespaces
		return c.IsReady() && n != nil && n.Summary == "1/1" && n.Selected == 2 && slices.Equal(c.Status.Registries, []string{"registry.example.com"})
	})
	for _, n := range []*tenant{silent, stranger} {
		if n.copyOf(p.name) != nil {
			t.Errorf("Namespace %s has a copy", n.ns)
		}
	}

	// A Service can request a copy as well as a Namespace.
	silent.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, p.name))
	silent.waitForCopy(p.name, "one")
	stranger.labelNamespace(teamLabel, p.name)
	stranger.waitForCopy(p.name, "one")
}

// Excluded namespaces never get a copy, whatever is granted: namespaces with the label,
// the installation's own, and those that the settings exclude.
func TestExcludedNamespacesGetNoCopy(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n, excluded := newTenant(t), newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue))
	without := []string{excluded.ns, pullsecrets.SystemNamespace, pullsecrets.SourcesNamespace, "kube-system", "knative-serving"}
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Always = &v1alpha1.Always{}
		spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: append(without, n.ns),
		}}}
	})
	n.waitForCopy(p.name, "one")
	p.rotate("two")
	n.waitForCopy(p.name, "two")
	p.waitForStatus("1/1", selects(1))
	for _, namespace := range without {
		secret, err := p.Kube.CoreV1().Secrets(namespace).Get(t.Context(), p.name, metav1.GetOptions{})
		if err == nil && namespace == pullsecrets.SourcesNamespace && len(secret.Labels) == 0 {
			continue // The source itself.
		}
		if !apierrors.IsNotFound(err) {
			t.Errorf("Namespace %s has a copy (%v)", namespace, err)
		}
	}
}

// A rotation updates every copy in place, so nothing that refers to a copy is affected,
// and there is no Revision.
func TestRotationUpdatesCopiesInPlace(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	before := n.waitForCopy(p.name, "one")
	n.apply("by-digest.yaml")
	n.checkList("app", p.name)
	n.waitForReady("app")

	p.rotate("two")
	after := n.waitForCopy(p.name, "two")
	if after.UID != before.UID {
		t.Error("the copy was recreated, want it updated in place")
	}
	p.waitForStatus("the new version in all copies", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && c.Status.Source.ResourceVersion == after.Annotations[pullsecrets.SourceResourceVersionAnnotation]
	})
	n.checkRevisions("app", 1)

	// A new label on the source does not change the credential.
	p.keepSource(labelledSecret(pullSecret(p.name, "registry.example.com", "two")))
	p.rotate("three")
	if again := n.waitForCopy(p.name, "three"); again.UID != before.UID {
		t.Error("the copy was recreated, want it updated in place")
	}
}

func labelledSecret(secret *corev1.Secret) *corev1.Secret {
	secret.Labels = map[string]string{"example.com/rotated": "no"}
	return secret
}

// A copy that is changed, deleted or made immutable is restored. A user who removes our
// labels takes over the Secret, which is then left alone.
func TestChangedCopiesAreRestored(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	for what, damage := range map[string]func(*tenant){
		"changed": func(n *tenant) {
			n.patchSecret(p.name, map[string]any{"data": map[string]any{corev1.DockerConfigJsonKey: "e30="}})
		},
		"with another key": func(n *tenant) { n.patchSecret(p.name, map[string]any{"data": map[string]any{"other": "eA=="}}) },
		"made immutable":   func(n *tenant) { n.patchSecret(p.name, map[string]any{"immutable": true}) },
		"deleted": func(n *tenant) {
			if err := n.Kube.CoreV1().Secrets(n.ns).Delete(n.t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
				n.t.Fatal(err)
			}
		},
		"held by a finalizer": func(n *tenant) {
			n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold"}}})
			if err := n.Kube.CoreV1().Secrets(n.ns).Delete(n.t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
				n.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, optedIn(p.name), p.granted())
			before := n.waitForCopy(p.name, "one")
			damage(n)
			eventually(t, func(context.Context) error {
				now := n.copyOf(p.name)
				if now == nil || now.ResourceVersion == before.ResourceVersion || now.Immutable != nil || now.DeletionTimestamp != nil || len(now.Data) != 1 ||
					string(now.Data[corev1.DockerConfigJsonKey]) != string(before.Data[corev1.DockerConfigJsonKey]) {
					return fmt.Errorf("the copy is not restored")
				}
				return nil
			})
		})
	}
}

// A user's Secret is never changed, whether it was created before the copy or after it.
// It serves instead of the copy and the conflict is reported, until the user adds our
// labels: then it is adopted in place.
func TestUsersSecretIsLeftAlone(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	own, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), pullSecret(p.name, "own.example.com", "own"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.grant()
	p.waitForStatus("the conflict", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && c.Status.Namespaces.Conflicted == 1 && len(c.Status.Failures) == 1 && c.Status.Failures[0].Reason == v1alpha1.ReasonNameConflict
	})
	n.waitForEvent(n.namespace(), "NameConflict", p.name)
	p.rotate("two")
	p.waitForStatus("the rotation", func(c *v1alpha1.ClusterPullSecret) bool { return c.IsReady() && c.Status.Namespaces.Conflicted == 1 })
	if now := n.copyOf(p.name); now == nil || now.ResourceVersion != own.ResourceVersion {
		t.Fatalf("user's Secret was changed: %v", now)
	}

	n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"labels": map[string]any{
		pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: p.name,
	}}})
	if adopted := n.waitForCopy(p.name, "two"); adopted.UID != own.UID {
		t.Error("the Secret was recreated, want it adopted")
	}
	p.waitForStatus("no conflict", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.Status.Namespaces.Conflicted == 0 && c.Status.Namespaces.Summary == "1/1" && len(c.Status.Failures) == 0
	})
}

// When a grant ends, its copies are deleted immediately, whatever refers to them. No
// tenant can delay the deletion of the copy or of the ClusterPullSecret.
func TestRevocationDeletesCopies(t *testing.T) {
	t.Parallel()
	for what, revoke := range map[string]func(*platform, *tenant){
		"the ClusterPullSecret is deleted": func(p *platform, _ *tenant) { p.withdraw() },
		"it no longer selects the Namespace": func(p *platform, _ *tenant) {
			p.patchGrant(map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{teamLabel: "other"}}})
		},
		"the Namespace loses the label": func(_ *platform, n *tenant) { n.labelNamespace(teamLabel, nil) },
		"the Namespace is excluded":     func(_ *platform, n *tenant) { n.labelNamespace(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue) },
		"a tenant holds the copy by a finalizer": func(p *platform, n *tenant) {
			n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold"}}})
			p.withdraw()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			n := newTenant(t, optedIn(p.name), p.granted())
			p.grant()
			n.waitForCopy(p.name, "one")
			n.apply("by-digest.yaml")
			n.waitForList("app", p.name)
			revoke(p, n)
			n.waitForNoCopy(p.name)
			n.checkList("app", p.name) // A reference to a missing Secret is harmless.
		})
	}
}

// A quota in one namespace prevents its copy. The failure is counted and delays no other
// namespace, which is rotated too. When the quota is removed, the copy is created.
func TestQuotaDelaysNoOtherNamespace(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n, other := newTenant(t, optedIn(p.name), p.granted()), newTenant(t, optedIn(p.name), p.granted())
	quotas := n.Kube.CoreV1().ResourceQuotas(n.ns)
	const name = "no-secrets"
	_, err := quotas.Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": apiresource.MustParse("0")}},
	}, metav1.CreateOptions{FieldManager: user})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		quota, err := quotas.Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(quota.Status.Hard) == 0 {
			err = fmt.Errorf("quota %s is not in force yet", name)
		}
		return err
	})

	p.grant()
	other.waitForCopy(p.name, "one")
	p.waitForStatus("a failure in one namespace", func(c *v1alpha1.ClusterPullSecret) bool {
		f := c.Status.Failures
		return c.IsReady() && c.Status.Namespaces.Failed == 1 && c.Status.Namespaces.Synced == 1 &&
			len(f) == 1 && f[0].Namespace == n.ns && f[0].Reason == string(metav1.StatusReasonForbidden) && strings.Contains(f[0].Message, name)
	})
	p.rotate("two")
	other.waitForCopy(p.name, "two")
	if n.copyOf(p.name) != nil {
		t.Error("there is a copy in spite of the quota")
	}
	if err := quotas.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.waitForCopy(p.name, "two")
	p.waitForStatus("2/2", selects(2))
}

// With deletionPolicy Retain the copies are kept as ordinary Secrets.
func TestRetainKeepsCopiesAsOrdinarySecrets(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	before := n.waitForCopy(p.name, "one")
	p.withdraw()
	after := n.copyOf(p.name)
	if after == nil || after.UID != before.UID || len(after.Labels) > 0 || len(after.Annotations) > 0 {
		t.Errorf("After the ClusterPullSecret there is %+v, want the Secret without our labels", after)
	}
}

// A bad source never replaces good copies: the copies stay as they are, the status
// reports the cause and never a credential, and a corrected source is distributed.
func TestBadSourceKeepsGoodCopies(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	before := n.waitForCopy(p.name, "one")

	bad := pullSecret(p.name, "registry.example.com", "two")
	bad.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"registry.example.com":{"username":"robot"}}}`)
	p.keepSource(bad)
	p.waitForSource(v1alpha1.ReasonSourceInvalid, "registry.example.com")
	if err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitForSource(v1alpha1.ReasonSourceNotFound)
	opaque := pullSecret(p.name, "registry.example.com", "two")
	opaque.Type = corev1.SecretTypeOpaque
	p.keepSource(opaque)
	p.waitForSource(v1alpha1.ReasonSourceWrongType, "Opaque")
	if now := n.copyOf(p.name); now == nil || now.ResourceVersion != before.ResourceVersion {
		t.Fatalf("copy has changed: %v", now)
	}

	if err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.keepSource(pullSecret(p.name, "docker.io", "three"))
	after := n.waitForCopy(p.name, "three")
	if text := string(after.Data[corev1.DockerConfigJsonKey]); !strings.Contains(text, `"https://index.docker.io/v1/"`) || !strings.Contains(text, `"docker.io"`) {
		t.Errorf("copy lacks one of the two keys for Docker Hub: it has %d bytes", len(text))
	}
	if after.UID != before.UID {
		t.Error("the copy was recreated, want it updated in place")
	}
}

// The operator decides which namespaces may hold sources, and the installation's own
// namespace never may.
func TestSourceInForbiddenNamespaceIsNotCopied(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), pullSecret("robot", "registry.example.com", "one"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.SecretRef = v1alpha1.SecretReference{Namespace: n.ns, Name: "robot"}
	})
	p.waitForSource(v1alpha1.ReasonSourceNotAllowed, n.ns, "source-namespaces")
	if n.copyOf(p.name) != nil {
		t.Error("a copy exists")
	}
}

// A ClusterPullSecret whose source is moved to a forbidden namespace is not distributed
// from there: its copy stays as it is.
func TestSourceMovedToForbiddenNamespaceIsNotCopied(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), pullSecret("robot", "registry.example.com", "foreign"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.grant()
	before := n.waitForCopy(p.name, "one")
	p.patchGrant(map[string]any{"secretRef": map[string]any{"namespace": n.ns, "name": "robot"}})
	p.waitForSource(v1alpha1.ReasonSourceNotAllowed, n.ns, "source-namespaces")
	// The controller has reported a later mistake, so it has reconciled the Namespace
	// again.
	n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name+", Not-A-Name")
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "Not-A-Name")
	if now := n.copyOf(p.name); now == nil || now.ResourceVersion != before.ResourceVersion {
		t.Error("copy was written after its source was moved")
	}
}

// A copy that is no longer requested stays while a Revision refers to it, because the
// Revision may scale from zero later. It is deleted with the last reference.
func TestUnrequestedCopyStaysWhileReferred(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	n.makeAccount("robot", p.name)
	p.grant()
	n.waitForCopy(p.name, "one")
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, nil)
	p.rotate("two")
	n.waitForCopy(p.name, "two") // It is still updated.

	// A change of the template removes the entry. The first Revision still has it.
	n.patch("app", templateSpec(map[string]any{"timeoutSeconds": 60}))
	n.checkList("app")
	p.rotate("three")
	n.waitForCopy(p.name, "three")
	if err := n.changeAccount("robot", func([]corev1.LocalObjectReference) []corev1.LocalObjectReference { return nil }); err != nil {
		t.Fatal(err)
	}
	p.rotate("four")
	n.waitForCopy(p.name, "four") // Only the first Revision refers to it.
	n.deleteServices()
	// The deletion of a Revision triggers no reconciliation. It is noticed within a
	// minute.
	n.waitForNoCopy(p.name)
}

// Copies have the labels and annotations of copyMetadata, which are updated in place, and
// keep those of other writers.
func TestCopyMetadataIsAppliedInPlace(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.CopyMetadata = &v1alpha1.CopyMetadata{
			Labels: map[string]string{"cost-center": "42", "example.com/team": "a"}, Annotations: map[string]string{"example.com/sync": "ignore"},
		}
	})
	before := n.waitForCopy(p.name, "one")
	check := func(what string, labels, annotations map[string]string) {
		t.Helper()
		eventually(t, func(context.Context) error {
			now := n.copyOf(p.name)
			for key, want := range labels {
				if got := now.Labels[key]; got != want {
					return fmt.Errorf("%s: label %s is %q, want %q", what, key, got, want)
				}
			}
			for key, want := range annotations {
				if got := now.Annotations[key]; got != want {
					return fmt.Errorf("%s: annotation %s is %q, want %q", what, key, got, want)
				}
			}
			checkInPlace(t, before, now)
			return nil
		})
	}
	check("made", map[string]string{"cost-center": "42", "example.com/team": "a"}, map[string]string{"example.com/sync": "ignore"})
	n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"labels": map[string]any{"cost-center": "7", "example.com/own": "x"}}})
	check("tampered with", map[string]string{"cost-center": "42", "example.com/own": "x"}, nil)
	p.patchGrant(map[string]any{"copyMetadata": map[string]any{"labels": map[string]any{"cost-center": "43", "example.com/team": nil}, "annotations": nil}})
	check("changed", map[string]string{"cost-center": "43", "example.com/team": "", "example.com/own": "x"}, map[string]string{"example.com/sync": ""})
	p.patchGrant(map[string]any{"copyMetadata": nil})
	check("withdrawn", map[string]string{"cost-center": "", "example.com/own": "x"}, map[string]string{pullsecrets.CopyMetadataAnnotation: ""})
	p.waitForStatus("1/1", selects(1))
}

// deleteServices deletes all Services and waits until their Revisions are gone.
func (n *tenant) deleteServices() {
	n.t.Helper()
	if err := n.Serving.ServingV1().Services(n.ns).DeleteCollection(n.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, func(ctx context.Context) error {
		revisions, err := n.Serving.ServingV1().Revisions(n.ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(revisions.Items) > 0 {
			err = fmt.Errorf("%d Revisions still exist", len(revisions.Items))
		}
		return err
	})
}

// Two ClusterPullSecrets may have the same secretName. If both select a Namespace, the
// older one serves, the other one reports it, and takes over when the older one ends.
func TestOlderClusterPullSecretServesUnderOneName(t *testing.T) {
	t.Parallel()
	older, younger := newPlatform(t), newPlatform(t)
	younger.rotate("younger")
	shared := func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.SecretName = "shared-pull-secret"
		spec.NamespaceSelector.MatchLabels = map[string]string{teamLabel: older.name}
	}
	n := newTenant(t, optedIn("shared-pull-secret"), older.granted())
	older.grant(shared)
	before := n.waitForCopy("shared-pull-secret", "one")
	waitForSecondAfter(t, older.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady).CreationTimestamp)
	younger.grant(shared)
	younger.waitForStatus("NameConflict", func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed)
		return condition.IsFalse() && condition.Reason == v1alpha1.ReasonNameConflict && strings.Contains(condition.Message, older.name)
	})
	if now := n.copyOf("shared-pull-secret"); now == nil || now.ResourceVersion != before.ResourceVersion {
		t.Errorf("copy of the older one has changed: %v", now)
	}
	older.withdraw()
	n.waitForCopy("shared-pull-secret", "younger")
	younger.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
}
