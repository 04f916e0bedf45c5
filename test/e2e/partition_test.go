// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/e2e/proxy"
	"pullsecrets.dev/test/env"
)

// TestReplicasArePartitioned divides the work into three buckets and runs three replicas. The
// one that leads all buckets loses its connection to the API server, another one is killed,
// and both come back, while credentials are rotated and a Namespace opts in. Each object is
// written exactly once for each change.
func TestReplicasArePartitioned(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl, env.RequestCounts)
	const many, buckets = 24, 3
	p, n := barePlatform(t), newTenant(t, withoutAdmission)
	n.applyAs("by-digest.yaml", "app")
	n.waitForReady("app")
	namespaces := p.makeNamespaces(many)
	leader := newPartitionedController(t, buckets)
	first := leader.waitForHoldersOf(reconcilers*buckets, nil)
	if err := p.Processes.Scale(t.Context(), "controller", 3); err != nil {
		t.Fatal("start more replicas: ", err)
	}
	counting := n.startCounting()
	rotations := 0
	distributed := func() {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			copies, err := p.Kube.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: pullsecrets.ClusterPullSecretLabel + "=" + p.name})
			if err != nil {
				return err
			}
			current := 0
			for i := range copies.Items {
				if hasPassword(&copies.Items[i], fmt.Sprintf("password-%d", rotations)) {
					current++
				}
			}
			if current != many {
				return fmt.Errorf("%d of %d copies are those of rotation %d", current, many, rotations)
			}
			return nil
		})
	}
	rotate := func() {
		t.Helper()
		rotations++
		p.rotate(fmt.Sprintf("password-%d", rotations))
	}
	// The only content before the grant: a controller that sees the grant first may write a
	// copy of what it knew of the source.
	p.rotate("password-0")
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.Always = &v1alpha1.Always{} })
	distributed()

	leader.cut()
	rotate()
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "own")
	leader.waitForHoldersOf(reconcilers*buckets, first)
	distributed()
	n.waitForList("app", "own")

	if err := p.Processes.Kill(t.Context(), "controller-1"); err != nil {
		t.Fatal(err)
	}
	rotate()
	leader.heal()
	leader.waitForRenewal(time.Now())
	distributed()
	if err := p.Processes.Start(t.Context(), "controller-1", nil); err != nil {
		t.Fatal(err)
	}
	rotate()
	distributed()

	counting.checkWrites("app", 1)
	all, err := p.Audit.Since(counting.mark)
	if err != nil {
		t.Fatal(err)
	}
	writes := slices.DeleteFunc(all.By(pullsecrets.ControllerUser).Of("secrets").Writes(), func(r env.Request) bool { return r.Code >= http.StatusBadRequest })
	for _, namespace := range namespaces {
		here := writes.In(namespace)
		if len(here) != 1+rotations || len(here.Verbs("create")) != 1 || len(here.Verbs("update")) != rotations {
			t.Errorf("Secrets in namespace %s were written %d times, want one create and %d updates:\n%s", namespace, len(here), rotations, here)
		}
	}
}

// waitForRenewal waits until each lease was renewed after a time, so that a replica that runs
// holds it.
func (c *faultyController) waitForRenewal(after time.Time) {
	c.t.Helper()
	eventually(c.t, func(ctx context.Context) error {
		for _, lease := range c.leases(ctx) {
			if lease.Spec.RenewTime == nil || !lease.Spec.RenewTime.After(after) {
				return fmt.Errorf("lease %s was not renewed after %s", lease.Name, after.Format(time.TimeOnly))
			}
		}
		return nil
	})
}

// partitionedController is the cluster's controller behind a proxy that can lose its
// connection to the API server.
type partitionedController struct {
	*faultyController

	mu sync.Mutex
	// up is closed while there is a connection.
	up chan struct{}
	// broken is closed when the connection is lost.
	broken chan struct{}
}

// newPartitionedController starts the controller with a number of buckets, until the test
// ends.
func newPartitionedController(t *testing.T, buckets int) *partitionedController {
	t.Helper()
	setBuckets := func(ctx context.Context, n int) {
		patch := fmt.Appendf(nil, `{"data":{"buckets":"%d"}}`, n)
		_, err := env.Get(t).Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, "config-leader-election", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: user})
		if err != nil {
			t.Fatal("set the number of buckets: ", err)
		}
	}
	setBuckets(t.Context(), buckets)
	c := &partitionedController{faultyController: newFaultyController(t), up: make(chan struct{}), broken: make(chan struct{})}
	close(c.up)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		setBuckets(ctx, 1)
		if err := c.Processes.Scale(ctx, "controller", 1); err != nil {
			t.Error("end the other replicas: ", err)
		}
		c.heal()
	})
	c.server = proxy.Serve(t, c.handler(c.upstream.Passing(nil)))
	if err := c.Processes.Start(t.Context(), "controller", map[string]string{"KUBECONFIG": c.server.Kubeconfig}); err != nil {
		t.Fatal("start the controller: ", err)
	}
	return c
}

// handler forwards requests while there is a connection. Without one, requests get no
// answer, and those in flight are lost.
func (c *partitionedController) handler(passing http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		up, broken := c.up, c.broken
		c.mu.Unlock()
		select {
		case <-up:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			select {
			case <-broken:
				cancel()
			case <-ctx.Done():
			}
		}()
		passing.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (c *partitionedController) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = make(chan struct{})
	close(c.broken)
}

func (c *partitionedController) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.up:
	default:
		c.broken = make(chan struct{})
		close(c.up)
	}
}
