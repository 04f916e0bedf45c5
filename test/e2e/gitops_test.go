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

// gitLists are the lists that a manifest in Git may have.
var gitLists = map[string][]string{"no list": nil, "a list": {"own"}, "an empty list": {}}

// The comparison modes of Argo CD, as argocd-app names them.
const (
	byDefault       = "default"
	serverSideApply = "ServerSideApply"
	serverSideDiff  = "ServerSideDiff"
	withWebhooks    = "ServerSideDiff,IncludeMutationWebhook"
	jsonPointers    = "jsonPointers"
	trustedManagers = "managedFieldsManagers"
)

// argoCDFinds returns Argo CD's result by comparison mode, as docs/gitops.md states. A
// list in Git is always OutOfSync where Argo CD treats lists as atomic. The structured
// merge of ServerSideApply treats all containers as atomic, so Knative's defaults there
// are always a difference, with and without pull secrets.
func argoCDFinds(list []string) map[string]string {
	found := map[string]string{
		byDefault: "Synced", serverSideApply: "OutOfSync", serverSideDiff: "Synced", withWebhooks: "Synced", jsonPointers: "Synced", trustedManagers: "Synced",
	}
	if list != nil {
		found[byDefault], found[trustedManagers] = "OutOfSync", "OutOfSync"
	}
	return found
}

// Argo CD's own engine shows what docs/gitops.md states, for entries added by the webhook
// and by the controller. However often and in whichever way it syncs, there is no
// Revision and the result stays the same.
func TestArgoCDShowsWhatTheDocsState(t *testing.T) {
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

// If Git has no list, a Service without injected entries is shown like the same Service
// in an opted-in namespace.
func TestArgoCDWithoutPullSecrets(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	git := manifest(alice, nil, first)
	alice.argoCD(git, "-sync")
	alice.checkArgoCD(git, argoCDFinds(nil))
}

// With RespectIgnoreDifferences, Argo CD applies the entries as if they were in Git. They
// then belong to the user and outlast their declaration, unlike entries that are only
// ignored.
func TestArgoCDWithRespectIgnoreDifferencesOwnsEntries(t *testing.T) {
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
					t.Errorf("flux-apply printed %q, want %s", output, want)
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

// checkArgoCD checks Argo CD's result in each comparison mode.
func (p *person) checkArgoCD(git []byte, want map[string]string) {
	p.t.Helper()
	// Knative keeps writing for a moment after a sync, including its status.
	eventually(p.t, func(context.Context) error {
		output, got := p.argoCD(git), map[string]string{}
		for line := range strings.Lines(output) {
			name, state, _ := strings.Cut(strings.TrimSpace(line), " ")
			if state, _, _ = strings.Cut(state, ":"); state == "Synced" || state == "OutOfSync" {
				got[name] = state
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("Argo CD reports %v, want %v\n%s", got, want, output)
		}
		return nil
	})
}
