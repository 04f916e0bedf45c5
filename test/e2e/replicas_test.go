// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// makeNamespaces creates many namespaces that the platform grants the credential to.
func (p *platform) makeNamespaces(count int) []string {
	p.t.Helper()
	names := make([]string, count)
	err := fleet.Each(p.t.Context(), count, 8, func(ctx context.Context, i int) error {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%02d", p.name, i)}}
		p.granted()(namespace)
		names[i] = namespace.Name
		_, err := p.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{FieldManager: user})
		return err
	})
	p.t.Cleanup(func() {
		_ = fleet.Each(context.WithoutCancel(p.t.Context()), count, 8, func(ctx context.Context, i int) error {
			return p.Kube.CoreV1().Namespaces().Delete(ctx, names[i], metav1.DeleteOptions{})
		})
	})
	if err != nil {
		p.t.Fatal("create namespaces: ", err)
	}
	return names
}

// TestLeaderIsKilledDuringDistribution runs two replicas with the default configuration
// and kills the leader when half of the copies exist. The other one takes over when the
// leases expire and creates the other half.
func TestLeaderIsKilledDuringDistribution(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl, env.RequestCounts)
	const many, half = 60, 30
	p := newPlatform(t)
	namespaces := p.makeNamespaces(many)
	leader := newFaultyController(t)
	made := 0
	leader.start(func(w write) fault {
		if w.method != http.MethodPost || !strings.HasSuffix(w.path, "/secrets") {
			return none
		}
		if made++; made == half {
			return unanswered
		}
		return none
	}, func(write) {})
	holders := leader.waitForHolders(nil)
	t.Cleanup(func() {
		if err := p.Processes.Scale(context.WithoutCancel(t.Context()), "controller", 1); err != nil {
			t.Error("end the second replica: ", err)
		}
	})
	if err := p.Processes.Scale(t.Context(), "controller", 2); err != nil {
		t.Fatal("start a second replica: ", err)
	}
	mark, err := p.Audit.Mark()
	if err != nil {
		t.Fatal(err)
	}

	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.Always = &v1alpha1.Always{} })
	eventually(t, func(context.Context) error {
		if !leader.proxy.stopped() {
			return fmt.Errorf("leader has not created %d copies", half)
		}
		return nil
	})
	if err := p.Processes.Kill(t.Context(), "controller"); err != nil {
		t.Fatal(err)
	}
	copies, err := p.Kube.CoreV1().Secrets(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{LabelSelector: pullsecrets.ClusterPullSecretLabel + "=" + p.name})
	if err != nil || len(copies.Items) != half {
		t.Errorf("leader left %d copies, want %d (%v)", len(copies.Items), half, err)
	}
	leader.waitForHolders(holders)
	p.waitForStatus("60/60", func(c *v1alpha1.ClusterPullSecret) bool {
		n := c.Status.Namespaces
		return c.IsReady() && n != nil && n.Selected == many && n.Summary == fmt.Sprintf("%d/%d", many, many)
	})

	all, err := p.Audit.Since(mark)
	if err != nil {
		t.Fatal(err)
	}
	writes := slices.DeleteFunc(all.By(pullsecrets.ControllerUser).Of("secrets").Writes(), func(r env.Request) bool { return r.Code >= http.StatusBadRequest })
	for _, namespace := range namespaces {
		if here := writes.In(namespace); len(here) != 1 || len(here.Verbs("create")) != 1 {
			t.Errorf("Secrets in namespace %s were written %d times, want one create:\n%s", namespace, len(here), here)
		}
	}
}

// reconcilers is the number of the controller's reconcilers. Each has a lease for each bucket.
const reconcilers = 4

// waitForHolders waits until each of the controller's leases has a holder, and another
// one than before. It returns the holders.
func (c *faultyController) waitForHolders(before map[string]string) map[string]string {
	c.t.Helper()
	return c.waitForHoldersOf(reconcilers, before)
}

// waitForHoldersOf is waitForHolders for this number of leases.
func (c *faultyController) waitForHoldersOf(leases int, before map[string]string) map[string]string {
	c.t.Helper()
	holders := map[string]string{}
	eventually(c.t, func(ctx context.Context) error {
		clear(holders)
		for _, lease := range c.leases(ctx) {
			holder := lease.Spec.HolderIdentity
			if holder == nil || *holder == "" || *holder == before[lease.Name] {
				return fmt.Errorf("lease %s is not held by a new leader", lease.Name)
			}
			holders[lease.Name] = *holder
		}
		if len(holders) != leases {
			return fmt.Errorf("there are %d leases, want %d", len(holders), leases)
		}
		return nil
	})
	return holders
}
