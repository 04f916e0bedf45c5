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

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// gitLists are the lists that a manifest in Git can have.
var gitLists = map[string][]string{"no list": nil, "a list": {"own"}, "an empty list": {}}

// The ways in which Argo CD can compare, as argocd-app names them.
const (
	byDefault       = "default"
	serverSideApply = "ServerSideApply"
	serverSideDiff  = "ServerSideDiff"
	withWebhooks    = "ServerSideDiff,IncludeMutationWebhook"
	jsonPointers    = "jsonPointers"
	trustedManagers = "managedFieldsManagers"
)

// argoCDFinds is what Argo CD finds by each way of comparing, as docs/gitops.md says. A
// list in Git is always OutOfSync where Argo CD takes it for one value. The structured merge
// of ServerSideApply takes all containers for one value, so whatever Knative fills in there
// is a difference, with pull secrets and without.
func argoCDFinds(list []string) map[string]string {
	found := map[string]string{
		byDefault: "Synced", serverSideApply: "OutOfSync", serverSideDiff: "Synced", withWebhooks: "Synced", jsonPointers: "Synced", trustedManagers: "Synced",
	}
	if list != nil {
		found[byDefault], found[trustedManagers] = "OutOfSync", "OutOfSync"
	}
	return found
}

// What Argo CD shows is what docs/gitops.md says, by Argo CD's own engine, for entries
// that the webhook added and for those that the controller added later. However often it
// syncs, in whichever way, there is no Revision, and it finds the same afterwards.
func TestArgoCD(t *testing.T) {
	t.Parallel()
	for _, sync := range [][]string{{"-sync"}, {"-sync", "-server-side"}} {
		for name, list := range gitLists {
			t.Run(name+" "+strings.Join(sync, " "), func(t *testing.T) {
				t.Parallel()
				n := newTenant(t, optedIn("ghcr"))
				alice := n.person("alice")
				git := manifest(alice, list, first)
				alice.argoCD(git, sync...)
				generation := n.get("app").GetGeneration()
				for _, declared := range []string{"ghcr", "ghcr, quay"} {
					if declared != "ghcr" {
						n.annotateNamespace(pullsecrets.SecretsAnnotation, declared)
						generation++
					}
					want := append(slices.Clip(list), strings.Split(declared, ", ")...)
					n.waitForList("app", want...)
					for range 2 {
						alice.checkArgoCD(git, argoCDFinds(list))
						alice.argoCD(git, sync...)
						n.checkList("app", want...)
						if got := n.get("app").GetGeneration(); got != generation {
							t.Fatalf("Service app has generation %d after a sync, want %d", got, generation)
						}
					}
				}
			})
		}
	}
}

// A Service that nothing was added to is shown as the same Service in an opted-in namespace
// is, where Git has no list.
func TestArgoCDWithoutPullSecrets(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	git := manifest(alice, nil, first)
	alice.argoCD(git, "-sync")
	alice.checkArgoCD(git, argoCDFinds(nil))
}

// With RespectIgnoreDifferences, Argo CD applies the entries as if they were in Git. They
// are the user's then, and outlast their declaration, which entries do not that are only
// ignored.
func TestArgoCDThatRespectsIgnoredDifferences(t *testing.T) {
	t.Parallel()
	for name, left := range map[string][]string{"-sync": {"own", "quay"}, "-sync -respect": {"own", "ghcr", "quay"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, optedIn("ghcr"))
			alice := n.person("alice")
			alice.argoCD(manifest(alice, []string{"own"}, first), "-sync")
			alice.argoCD(manifest(alice, []string{"own"}, first), strings.Fields(name)...)
			n.checkList("app", "own", "ghcr")
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "quay")
			n.waitUntilDeclared("quay")
			alice.argoCD(manifest(alice, []string{"own"}, second), strings.Fields(name)...)
			n.waitForList("app", left...)
		})
	}
}

// Flux finds no drift, whatever list is in Git.
func TestFluxFindsNoDrift(t *testing.T) {
	t.Parallel()
	for name, list := range gitLists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, optedIn("ghcr"))
			alice := n.person("alice")
			git := manifest(alice, list, first)
			apply := func(want string) {
				t.Helper()
				if output := alice.run(git, "flux-apply", "-kubeconfig", alice.kubeconfig); !strings.HasSuffix(strings.TrimSpace(output), " "+want) {
					t.Errorf("flux-apply says %q, want %s", output, want)
				}
			}
			apply("created")
			apply("unchanged")
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
			n.waitForList("app", append(slices.Clip(list), "ghcr", "quay")...)
			apply("unchanged")
		})
	}
}

// argoCD runs Argo CD's engine.
func (p *person) argoCD(git []byte, flags ...string) string {
	p.t.Helper()
	return p.run(git, "argocd-app", append([]string{"-kubeconfig", p.kubeconfig}, flags...)...)
}

// checkArgoCD checks what Argo CD finds by each way of comparing.
func (p *person) checkArgoCD(git []byte, want map[string]string) {
	p.t.Helper()
	// Knative goes on writing for a moment after a sync, its status among the rest.
	eventually(p.t, func(context.Context) error {
		output, got := p.argoCD(git), map[string]string{}
		for line := range strings.Lines(output) {
			name, state, _ := strings.Cut(strings.TrimSpace(line), " ")
			if state, _, _ = strings.Cut(state, ":"); state == "Synced" || state == "OutOfSync" {
				got[name] = state
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("Argo CD finds %v, want %v\n%s", got, want, output)
		}
		return nil
	})
}
