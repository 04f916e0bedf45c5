// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// waitForConflict waits until the status reports the conflict and this number of copies
// elsewhere, and checks that the user's Secret is unchanged.
func (p *platform) waitForConflict(n *tenant, own *corev1.Secret, synced int32) {
	p.t.Helper()
	p.waitForStatus("the conflict", func(c *v1alpha1.ClusterPullSecret) bool {
		f := c.Status.Failures
		return c.IsReady() && c.Status.Namespaces.Conflicted == 1 && c.Status.Namespaces.Synced == synced &&
			len(f) == 1 && f[0].Namespace == n.ns && f[0].Reason == v1alpha1.ReasonNameConflict
	})
	n.waitForEvent(n.namespace(), "NameConflict", p.name)
	if now := n.copyOf(p.name); !equality.Semantic.DeepEqual(now, own) {
		p.t.Errorf("user's Secret is now %v, want %v", now, own)
	}
}

// replaceOwnByCopy deletes the user's Secret and waits for the copy.
func (p *platform) replaceOwnByCopy(n *tenant) {
	p.t.Helper()
	if err := n.removeSecret(p.t.Context(), p.name); err != nil {
		p.t.Fatal(err)
	}
	// The controller notices this within ten minutes, or with the next event of the
	// Namespace.
	n.labelNamespace("example.com/look", "again")
	n.waitForCopy(p.name, "one")
	p.waitForStatus("1/1", selects(1))
}

// A user's Secret with the name of a copy stays unchanged, whatever its type. When it is
// deleted, the copy is created and the conflict is no longer reported.
func TestUsersSecretOfAnyTypeIsUnchanged(t *testing.T) {
	t.Parallel()
	for kind, data := range map[corev1.SecretType]map[string][]byte{
		corev1.SecretTypeOpaque:           {"password": []byte("own")},
		corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
		corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey: []byte(`{"own.example.com":{"auth":"b3duOm93bg=="}}`)},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			n := newTenant(t, optedIn(p.name), p.granted())
			if err := n.makeSecret(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: p.name}, Type: kind, Data: data}); err != nil {
				t.Fatal(err)
			}
			own := n.copyOf(p.name)
			p.grant()
			p.waitForConflict(n, own, 0)
			n.apply("by-digest.yaml")
			n.waitForList("app", p.name) // with the user's Secret
			p.replaceOwnByCopy(n)
		})
	}
}

// A Secret with the label of a copy that names no ClusterPullSecret is an ordinary user's
// Secret.
func TestSecretWithEmptyLabelBelongsToTheUser(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	secret := pullSecret(p.name, "own.example.com", "own")
	secret.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: ""}
	if err := n.makeSecret(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	p.grant()
	p.waitForConflict(n, n.copyOf(p.name), 0)
	p.replaceOwnByCopy(n)
}

// A copy whose labels a user removes becomes that user's Secret.
func TestCopyWithoutLabelsBelongsToTheUser(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	n.waitForCopy(p.name, "one")
	n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"labels": nil}})
	p.waitForConflict(n, n.copyOf(p.name), 0)
	p.replaceOwnByCopy(n)
}

// A copy is deleted, and a user's Secret is created before it is restored.
func TestUsersSecretTakesThePlaceOfACopy(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl)
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	p.waitForStatus("1/1", selects(1))
	t.Cleanup(func() { n.start("controller") })
	if err := n.Processes.Stop(t.Context(), "controller"); err != nil {
		t.Fatal(err)
	}
	if err := n.removeSecret(t.Context(), p.name); err != nil {
		t.Fatal(err)
	}
	if err := n.makeSecret(t.Context(), pullSecret(p.name, "own.example.com", "own")); err != nil {
		t.Fatal(err)
	}
	own := n.copyOf(p.name)
	n.start("controller")
	p.waitForConflict(n, own, 0)
	p.replaceOwnByCopy(n)
}

// sharing returns two ClusterPullSecrets with the same secretName for the same
// Namespaces, of which the first is older.
func sharing(t *testing.T) (older, younger *platform, n *tenant) {
	t.Helper()
	older, younger = newPlatform(t), newPlatform(t)
	younger.rotate("younger")
	n = newTenant(t, optedIn(older.name), older.granted())
	older.grant()
	n.waitForCopy(older.name, "one")
	made := older.waitForStatus("1/1", selects(1)).CreationTimestamp
	waitForSecondAfter(t, made)
	younger.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.SecretName, spec.NamespaceSelector.MatchLabels = older.name, map[string]string{teamLabel: older.name}
	})
	younger.waitForStatus("NameConflict", func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed)
		return condition.IsFalse() && condition.Reason == v1alpha1.ReasonNameConflict
	})
	return older, younger, n
}

// waitForSecondAfter waits until a later second than that of a moment: Kubernetes records
// creation times and times of Events in whole seconds.
func waitForSecondAfter(t *testing.T, moment metav1.Time) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if now := metav1.Now(); now.Unix() <= moment.Unix()+1 {
			return fmt.Errorf("it is still the second of %s", moment)
		}
		return nil
	})
}

// The younger ClusterPullSecret takes over the copy in place when the older one is
// deleted or selects other Namespaces, and gives it back later.
func TestYoungerTakesOverInPlace(t *testing.T) {
	t.Parallel()
	older, younger, n := sharing(t)
	before := n.copyOf(older.name)
	selecting := func(team string) map[string]any {
		return map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{teamLabel: team}}}
	}
	older.patchGrant(selecting("nobody"))
	checkInPlace(t, before, n.waitForCopy(older.name, "younger"))
	older.patchGrant(selecting(older.name))
	checkInPlace(t, before, n.waitForCopy(older.name, "one"))
	older.withdraw()
	after := n.waitForCopy(older.name, "younger")
	checkInPlace(t, before, after)
	if owner := after.Labels[pullsecrets.ClusterPullSecretLabel]; owner != younger.name {
		t.Errorf("the copy is labelled as that of %s, want %s", owner, younger.name)
	}
	younger.waitForStatus("1/1", selects(1))
}

// If the younger one has no valid source, the copy of the older one is still revoked
// immediately, and is created when the source of the younger one is valid.
func TestRevocationDoesNotWaitForTheYounger(t *testing.T) {
	t.Parallel()
	older, younger, n := sharing(t)
	younger.dropSource()
	younger.waitForSource(v1alpha1.ReasonSourceNotFound)
	if now := n.copyOf(older.name); now == nil || now.Labels[pullsecrets.ClusterPullSecretLabel] != older.name {
		t.Errorf("while the older one serves, its copy changed: %v", now)
	}
	older.withdraw()
	if n.copyOf(older.name) != nil {
		t.Error("the copy of the older one still exists")
	}
	younger.rotate("younger")
	n.waitForCopy(older.name, "younger")
	younger.waitForStatus("1/1", selects(1))
}
