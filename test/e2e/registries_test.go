// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/pages"
)

// registriesPage is followed literally.
const registriesPage = "registries.md"

// Each recipe creates an accepted source, and copies with the login.
func TestRegistryRecipes(t *testing.T) {
	t.Parallel()
	const key = `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}`
	for heading, recipe := range map[string]struct {
		// name is the name of the source on the page.
		name  string
		files map[string]string
		want  map[string]string
	}{
		"Docker Hub": {name: "docker-hub", want: map[string]string{"https://index.docker.io/v1/": "acme:hunter2"}},
		"Google Artifact Registry": {
			name: "artifact-registry", files: map[string]string{"key.json": key + "\n"},
			want: map[string]string{"https://europe-west1-docker.pkg.dev": "_json_key:" + key},
		},
		"Several registries": {
			name:  "docker-registry registries",
			files: map[string]string{"config.json": `{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io/partner":{"auth":"cm9ib3Q6dHdv"}}}`},
			want:  map[string]string{"ghcr.io": "robot:one", "quay.io/partner": "robot:two"},
		},
	} {
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			p := barePlatform(t)
			n := newTenant(t, optedIn(p.name), p.granted())
			prefix := recipe.name[:strings.LastIndex(recipe.name, " ")+1]
			r := n.reader(recipe.name, prefix+p.name)
			r.assign("TOKEN", "hunter2")
			for name, content := range recipe.files {
				if err := os.WriteFile(filepath.Join(r.folder, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			commands := pages.Blocks(section(t, registriesPage, heading), "sh")
			if len(commands) != 1 {
				t.Fatalf("recipe has %d blocks of commands, want 1", len(commands))
			}
			r.follow(commands[0])
			p.grant()
			p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
			n.waitForLogins(p.name, recipe.want)
		})
	}
}

// waitForLogins waits for a copy with exactly these logins.
func (n *tenant) waitForLogins(name string, want map[string]string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		copied := n.copyOf(name)
		if copied == nil {
			return fmt.Errorf("Secret %s does not exist", name)
		}
		if got := logins(copied); !maps.Equal(got, want) {
			return fmt.Errorf("Secret %s has the logins %q, want %q", name, got, want)
		}
		return nil
	})
}

// External Secrets Operator creates the source from the manifests of the page. The test
// simulates the operator: it repeatedly fills the template with the output of the
// generator, and every new token is written to the copies in place.
func TestSourceRefreshedByExternalSecrets(t *testing.T) {
	t.Parallel()
	var manifests []*unstructured.Unstructured
	for _, text := range pages.Blocks(section(t, registriesPage, "Tokens that expire"), "yaml") {
		manifests = append(manifests, parse(t, registriesPage, text)...)
	}
	if len(manifests) == 0 {
		t.Fatal("the page has no manifests")
	}
	for _, manifest := range manifests {
		t.Run(manifest.GetName(), func(t *testing.T) {
			t.Parallel()
			if manifest.GetKind() != "ExternalSecret" || manifest.GetNamespace() != pullsecrets.SourcesNamespace {
				t.Fatalf("manifest is a %s in namespace %s, want an ExternalSecret in the namespace of sources", manifest.GetKind(), manifest.GetNamespace())
			}
			p := barePlatform(t)
			n := newTenant(t, optedIn(p.name), p.granted())
			p.keepSource(externalSecret(t, p.name, manifest, "first"))
			p.grant()
			registry := p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady).Status.Registries
			if len(registry) != 1 {
				t.Fatalf("source is for %q, want one registry", registry)
			}
			n.waitForToken(p.name, "first")
			before := n.copyOf(p.name)
			n.apply("by-digest.yaml")
			n.waitForReady("app")

			p.keepSource(externalSecret(t, p.name, manifest, "second"))
			n.waitForToken(p.name, "second")
			if now := n.copyOf(p.name); now.UID != before.UID || slices.ContainsFunc(slices.Collect(maps.Keys(now.Labels)), ofTheOperator) {
				t.Errorf("copy is %v, want it updated in place, without labels of the source", now.ObjectMeta)
			}
			n.waitForReady("app")
			n.checkRevisions("app", 1)
		})
	}
}

func ofTheOperator(label string) bool { return strings.Contains(label, "external-secrets.io") }

func (n *tenant) waitForToken(name, token string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		copied := n.copyOf(name)
		if copied == nil {
			return fmt.Errorf("Secret %s does not exist", name)
		}
		for _, login := range logins(copied) {
			if !strings.HasSuffix(login, ":"+token) {
				return fmt.Errorf("Secret %s has the login %q, want the token %q", name, login, token)
			}
		}
		return nil
	})
}

// externalSecret returns the Secret that the operator creates from an ExternalSecret,
// under another name.
func externalSecret(t *testing.T, name string, manifest *unstructured.Unstructured, token string) *corev1.Secret {
	t.Helper()
	kind, _, _ := unstructured.NestedString(manifest.Object, "spec", "target", "template", "type")
	texts, _, err := unstructured.NestedStringMap(manifest.Object, "spec", "target", "template", "data")
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"reconcile.external-secrets.io/managed": "true"},
			Annotations: map[string]string{"reconcile.external-secrets.io/data-hash": token},
		},
		Type: corev1.SecretType(kind), Data: map[string][]byte{},
	}
	for key, text := range texts {
		var filled bytes.Buffer
		values := map[string]string{"proxy_endpoint": "https://1234.dkr.ecr.eu-west-1.amazonaws.com", "username": "AWS", "password": token}
		if err := template.Must(template.New(key).Option("missingkey=error").Parse(text)).Execute(&filled, values); err != nil {
			t.Fatal(err)
		}
		secret.Data[key] = filled.Bytes()
	}
	return secret
}

// The documented commands to rotate a credential return when every copy has it, and those
// to revoke it when the copies are gone.
func TestRotatingAndRevokingAsDocumented(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	before := n.waitForCopy(p.name, "one")
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	r := n.reader("ghcr-robot", p.name, "clusterpullsecrets.pullsecrets.dev/ghcr", "clusterpullsecrets.pullsecrets.dev/"+p.name, "clusterpullsecrets.pullsecrets.dev ghcr", "clusterpullsecrets.pullsecrets.dev "+p.name,
		"secret/ghcr", "secret/"+p.name,
		"team-a", n.ns, pageLabel, teamLabel)
	r.assign("TOKEN", "new")
	for _, commands := range pages.Blocks(section(t, "credentials.md", "Rotating"), "sh") {
		r.follow(commands)
	}
	now := n.copyOf(p.name)
	if got, want := logins(now), map[string]string{"ghcr.io": "robot:new"}; now.UID != before.UID || !maps.Equal(got, want) {
		t.Errorf("the copy has the logins %q, want %q, in place", got, want)
	}
	n.waitForReady("app")
	n.checkRevisions("app", 1)

	revoking := pages.Blocks(section(t, "credentials.md", "Revoking"), "sh")
	if len(revoking) != 2 {
		t.Fatalf("page has %d ways to revoke, want 2", len(revoking))
	}
	for _, commands := range revoking {
		n.labelNamespace(teamLabel, p.name)
		n.waitForLogins(p.name, map[string]string{"ghcr.io": "robot:new"})
		r.follow(commands)
		if n.copyOf(p.name) != nil {
			t.Errorf("copy still exists after\n%s", commands)
		}
	}
	n.checkList("app", p.name)
	n.checkRevisions("app", 1)
}
