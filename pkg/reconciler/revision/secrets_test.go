// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	logtesting "knative.dev/pkg/logging/testing"

	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func (w *world) known() (names []string) {
	for key := range w.r.secrets.known {
		names = append(names, key.Name)
	}
	slices.Sort(names)
	return names
}

// No watch reports that a missing Secret is no longer named, so what is known of it goes with the
// last Revision that named it.
func TestMissingSecretsGoWithTheirRevisions(t *testing.T) {
	other := NewRevision(ns, "app-00002", WithRevisionPullSecrets("shared"))
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision(WithRevisionPullSecrets("gone", "shared")), other, ServiceAccount(ns, "default", nil, "quay"))
	e := enqueuer{
		impl:      controller.NewContext(w.ctx, nil, controller.ControllerOptions{WorkQueueName: "test", Logger: logtesting.TestLogger(t)}),
		revisions: w.r.revisions, secrets: w.r.secrets,
	}
	e.watchRevisions()
	w.reconcile()
	w.r.secrets.sweepUnsure()
	w.check("used", w.known(), "gone", "quay", "shared")
	if err := w.r.revisions.Delete(revision()); err != nil {
		t.Fatal(err)
	}
	w.r.secrets.sweepUnsure()
	w.check("one Revision is gone", w.known(), "quay", "shared")
	if err := w.r.revisions.Delete(other); err != nil {
		t.Fatal(err)
	}
	w.r.secrets.sweepUnsure()
	w.check("the namespace is gone", w.known())
	if n := w.r.secrets; len(n.size)+len(n.swept)+n.unsure.Len() != 0 {
		t.Errorf("%v, %v and %v are kept of nothing", n.size, n.swept, n.unsure)
	}

	// A check that was running then reads a Secret afterwards.
	if _, _, err := w.r.secrets.of(w.ctx, types.NamespacedName{Namespace: ns, Name: "late"}); err != nil {
		t.Fatal(err)
	}
	w.r.secrets.sweepUnsure()
	w.check("read by a check of what is gone", w.known())
}

// Namespaces that come and go leave nothing behind.
func TestMissingSecretsOfDeletedNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := newNamed(&memory.Memory{}, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
		})
		n.used = func(types.NamespacedName) bool { return false }
		go n.run(ctx)
		for i := range 100 {
			if _, _, err := n.of(ctx, types.NamespacedName{Namespace: fmt.Sprint("namespace-", i), Name: "ghcr"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.known)+len(n.size) != 0 {
			t.Errorf("%d Secrets of %d namespaces are kept", len(n.known), len(n.size))
		}
	})
}

// What is used is found out no more often than the budget of a namespace allows.
func TestFlappingSecretsCostTheirOwnBudget(t *testing.T) {
	n := newNamed(&memory.Memory{}, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
		return pullSecret(key.Name, "ghcr.io", created, nil), nil
	})
	compared := 0
	n.used, n.changed = func(types.NamespacedName) bool { compared++; return true }, func(string) {}
	key := types.NamespacedName{Namespace: ns, Name: "flapping"}
	for range 10 * int(readsOfEach.Burst) {
		if _, room := n.entry(key); !room {
			t.Fatal("no room")
		}
		n.refresh(t.Context(), key)
	}
	if most := int(readsOfEach.Burst) + 2; compared > most {
		t.Errorf("what is used was found out %d times, want at most %d", compared, most)
	}
}

// A Service that is created while it is found out what is used asks for a Secret that nothing used
// before. Its later changes must be seen.
func TestSecretsAskedForDuringASweepStay(t *testing.T) {
	key := types.NamespacedName{Namespace: ns, Name: "ghcr"}
	for reason, sweep := range map[string]func(*named){
		"a sweep":   func(n *named) { n.sweepUnsure() },
		"a refresh": func(n *named) { n.refresh(t.Context(), key) },
	} {
		t.Run(reason, func(t *testing.T) {
			n := newNamed(&memory.Memory{}, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
				return pullSecret(key.Name, "ghcr.io", created, nil), nil
			})
			ask := func() {
				if _, _, err := n.of(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			n.changed = func(string) {}
			n.used = func(types.NamespacedName) bool { ask(); return false }
			ask()
			sweep(n)
			n.observe(key, "another version")
			if n.known[key] == nil || n.stale.Len() != 1 {
				t.Fatal("a change of the Secret is not seen")
			}
			// It is dropped once nothing asks for it.
			n.used = func(types.NamespacedName) bool { return false }
			n.sweepUnsure()
			if len(n.known) != 0 {
				t.Error("the Secret is kept forever")
			}
		})
	}
}

// handled is an informer that only takes a handler.
type handled struct {
	cache.SharedIndexInformer
	by cache.ResourceEventHandler
}

func (h *handled) AddEventHandler(by cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	h.by = by
	return nil, nil
}

// What is known of a missing Secret goes with the last ServiceAccount that named it, too.
func TestMissingSecretsGoWithTheirServiceAccounts(t *testing.T) {
	account := ServiceAccount(ns, "default", nil, "quay")
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision(), account)
	w.reconcile()
	w.r.secrets.sweepUnsure()
	w.check("used", w.known(), "ghcr", "quay")

	informer := &handled{}
	enqueuer{
		impl:      controller.NewContext(w.ctx, nil, controller.ControllerOptions{WorkQueueName: "test", Logger: logtesting.TestLogger(t)}),
		revisions: w.r.revisions, secrets: w.r.secrets,
	}.watchAccounts(informer)
	w.r.secrets.used = usedBy(w.r.revisions, NewListers(nil).ServiceAccounts(), w.IsLeaderFor)
	informer.by.OnDelete(account)
	w.r.secrets.sweepUnsure()
	w.check("the ServiceAccount is gone", w.known(), "ghcr")
}
