// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// ownManifest returns the manifest of a team's own Secret with the name of a copy.
func ownManifest(name string, labels map[string]string) []byte {
	secret := pullSecret(name, "registry.team.example.com", "of-the-team")
	metadata := map[string]any{"name": name}
	if labels != nil {
		metadata["labels"] = labels // A null would delete the existing ones.
	}
	return encode(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
		"type": string(secret.Type), "stringData": map[string]any{corev1.DockerConfigJsonKey: string(secret.Data[corev1.DockerConfigJsonKey])},
	})
}

// copyLabels returns the labels of a copy.
func (p *platform) copyLabels() map[string]string {
	return map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: p.name}
}

// waitForOwn waits until the team's Secret is an ordinary one, and returns it.
func (p *platform) waitForOwn(n *tenant) *corev1.Secret {
	p.t.Helper()
	var own *corev1.Secret
	eventually(p.t, func(context.Context) error {
		own = n.copyOf(p.name)
		if own == nil || !hasPassword(own, "of-the-team") || own.Labels[pullsecrets.ManagedByLabel] != "" || own.Annotations[pullsecrets.SourceResourceVersionAnnotation] != "" {
			return fmt.Errorf("the team's Secret is not released yet")
		}
		return nil
	})
	return own
}

// A team that applies a manifest with the data of a copy takes it over: the team's data
// serves, as if the Secret had existed before the copy, and the conflict is reported.
// When the Secret is deleted, the copy is created again.
func TestManifestTakesOverCopy(t *testing.T) {
	t.Parallel()
	for tool, flags := range map[string][]string{
		"client-side apply": {"apply", "-f", "-"},
		"server-side apply": {"apply", "-f", "-", "--server-side", "--force-conflicts"},
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			n := newTenant(t, optedIn(p.name), p.granted())
			alice := n.person("alice")
			p.grant()
			n.waitForCopy(p.name, "one")
			alice.run(ownManifest(p.name, nil), "kubectl", flags...)
			own := p.waitForOwn(n)
			p.waitForConflict(n, own, 0)
			p.rotate("two")
			p.waitForConflict(n, own, 0)
			p.rotate("one")
			p.replaceOwnByCopy(n)
		})
	}
}

// The same manifests give the same result in any order: a file with the Namespace, the
// team's own Secret and a Service, applied until it is accepted.
func TestFileWithOwnSecretIsIndependentOfOrder(t *testing.T) {
	t.Parallel()
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.grant()
			n := newTenant(t, optedIn(p.name), p.granted())
			alice := n.person("alice")
			service := manifests(t, n.Env, "by-digest.yaml")[0].Object
			file := encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{json.RawMessage(ownManifest(p.name, nil)), service}})
			eventually(t, func(context.Context) error {
				// If the copy is created between kubectl's GET and POST, the name is
				// taken.
				if output, err := alice.try(file, "kubectl", "apply", "-f", "-"); err != nil {
					return fmt.Errorf("kubectl apply: %w: %s", err, output)
				}
				return nil
			})
			own := p.waitForOwn(n)
			p.waitForConflict(n, own, 0)
			n.waitForList("app", p.name)
		})
	}
}

// A manifest with labels only does not own the data, and a manual edit has no manifest:
// the copy stays managed. A manifest with both of our labels asks for a copy.
func TestLabelsAndEditsDoNotTakeOverCopy(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	alice := n.person("alice")
	p.grant()
	before := n.waitForCopy(p.name, "one")
	labels := encode(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": p.name, "labels": map[string]any{"example.com/team": "a"}}})
	alice.run(labels, "kubectl", "apply", "-f", "-", "--server-side")
	n.patchSecret(p.name, map[string]any{"data": map[string]any{corev1.DockerConfigJsonKey: "e30="}})
	checkInPlace(t, before, n.waitForCopy(p.name, "one"))
	alice.run(ownManifest(p.name, p.copyLabels()), "kubectl", "apply", "-f", "-")
	p.rotate("two")
	checkInPlace(t, before, n.waitForCopy(p.name, "two"))
	p.waitForStatus("1/1", selects(1))
}

// Our labels on a Secret that never was a copy request its adoption, even if a manifest
// owns its data. A later apply of the manifest returns it to the team.
func TestAdoptedByLabelAndTakenBack(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	alice := n.person("alice")
	alice.run(ownManifest(p.name, nil), "kubectl", "apply", "-f", "-")
	own := n.copyOf(p.name)
	p.grant()
	p.waitForConflict(n, own, 0)
	n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"labels": p.copyLabels()}})
	checkInPlace(t, own, n.waitForCopy(p.name, "one"))
	alice.run(ownManifest(p.name, nil), "kubectl", "apply", "-f", "-")
	p.waitForConflict(n, p.waitForOwn(n), 0)
}

// A Secret from a server-side apply stays adopted, even if it has the same data as the
// copy and the applier still owns that data.
func TestAdoptedWithTheSameDataStays(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	same := newTenant(t, optedIn(p.name), p.granted()).waitForCopy(p.name, "one")
	n := newTenant(t, optedIn(p.name))
	alice := n.person("alice")
	alice.run(encode(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": p.name}, "type": string(same.Type), "data": same.Data,
	}), "kubectl", "apply", "-f", "-", "--server-side", "--field-manager=gitops")
	own := n.copyOf(p.name)
	alice.run(nil, "kubectl", "label", "namespace", n.ns, teamLabel+"="+p.name)
	p.waitForConflict(n, own, 1)
	n.patchSecret(p.name, map[string]any{"metadata": map[string]any{"labels": p.copyLabels()}})
	p.waitForStatus("2/2", selects(2))
	p.rotate("two")
	checkInPlace(t, own, n.waitForCopy(p.name, "two"))
	p.waitForStatus("2/2", selects(2))
}

// A labelled Secret without a grant that is recreated again and again is deleted each
// time, and after three rounds an Event on the Namespace reports it.
func TestRecreatedSecretIsReported(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t)
	for range 4 {
		secret := pullSecret(p.name, "own.example.com", "forged")
		secret.Labels = p.copyLabels()
		if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), secret, metav1.CreateOptions{FieldManager: "propagator"}); err != nil {
			t.Fatal(err)
		}
		n.waitForNoCopy(p.name)
	}
	n.waitForEvent(n.namespace(), "NotGranted", p.name, "repeatedly created again")
}
