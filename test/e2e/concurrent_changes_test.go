// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Services whose owners keep changing them, so that nearly every write of the controller
// conflicts and is retried, get their pull secrets by exactly one Revision, and no change
// of the owners is lost.
func TestConcurrentChangesByOwnersAreKept(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	names := numbered("app-%d", 4)
	for _, name := range names {
		n.applyAs("by-digest.yaml", name)
	}
	n.waitForReady(names...)

	stop, rounds := make(chan struct{}), make([]int, len(names))
	var owners sync.WaitGroup
	for i, name := range names {
		owners.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if err := n.countUp(t.Context(), name); err != nil {
					t.Errorf("update Service %s: %v", name, err)
					return
				}
				rounds[i]++
				// Half of the time nothing is written, however slow the machine is. An owner
				// who never pauses is always ahead of the controller, which starts when it
				// sees the owner's last write.
				time.Sleep(time.Since(began))
			}
		})
	}
	func() {
		defer func() { close(stop); owners.Wait() }()
		n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
		for _, name := range names {
			n.waitForList(name, "ghcr")
		}
	}()

	n.waitForReady(names...)
	n.settle("ghcr")
	for i, name := range names {
		n.checkList(name, "ghcr")
		n.checkRevisions(name, 2)
		n.checkEvents(service(name), "SecretsAdded", 1)
		if got, want := n.get(name).GetAnnotations()[countKey], strconv.Itoa(rounds[i]); got != want {
			t.Errorf("Service %s has %s changes by its owner, want %s", name, got, want)
		}
	}
}

const countKey = "example.com/count"

// countUp increments the count in a Service by a read, a change and a replace.
func (n *tenant) countUp(ctx context.Context, service string) error {
	client := n.Dynamic.Resource(services).Namespace(n.ns)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := client.Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(object.GetAnnotations()[countKey])
		if err != nil {
			count = 0
		}
		annotated(countKey, strconv.Itoa(count+1))(object)
		_, err = client.Update(ctx, object, metav1.UpdateOptions{FieldManager: user})
		return err
	})
}

// Services that are deleted during the backfill are skipped, and the others get their
// pull secrets.
func TestBackfillSkipsDeletedServices(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	names := numbered("app-%02d", 12)
	for _, name := range names {
		n.applyAs("by-digest.yaml", name)
	}
	n.waitForReady(names...)
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	gone := sets.New[string]()
	for i := len(names) - 1; i >= 0; i -= 2 {
		if err := n.Serving.ServingV1().Services(n.ns).Delete(t.Context(), names[i], metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		gone.Insert(names[i])
	}
	for _, name := range names {
		if !gone.Has(name) {
			n.waitForList(name, "ghcr")
		}
	}
	eventually(t, func(ctx context.Context) error {
		for name := range gone {
			if _, err := n.Serving.ServingV1().Services(n.ns).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("Service %s still exists (%w)", name, err)
			}
		}
		return nil
	})
	n.settle("ghcr")
	if requests, known := counting.requests(); known {
		late := map[string]int{}
		for _, r := range requests.Writes().Of(servicesResource) {
			if r.Code == http.StatusNotFound {
				late[r.Name]++
			}
		}
		for name, times := range late {
			if times > 1 {
				t.Errorf("controller tried to write Service %[2]s %[1]d times after its deletion, want at most once", times, name)
			}
		}
	}
}
