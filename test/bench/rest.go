// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	restNamespace = "bench-rest"
	// restNamespaces is the number of namespaces with a copy of a credential.
	restNamespaces = 20
)

// atRest opts in real Services, with Knative's controller running, and counts the
// requests to the API server once nothing is left to do.
func atRest(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := makeNamespace(ctx, e, restNamespace, secretName); err != nil {
		return err
	}
	notef("rest: creating %d Services", s.restServices)
	if err := fleet.Create(ctx, e.Serving, restNamespace, 0, s.restServices, nil); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "are Ready", timeout, fleet.Ready); err != nil {
		return err
	}
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	if err := optIn(ctx, e, restNamespace, secretName); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "have the pull secret", timeout, fleet.Has(secretName)); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "are Ready again", timeout, fleet.Ready); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOpt-in of %d Services, from the annotation until their new Revisions are Ready\n", s.restServices)
	if err := writes(ctx, e, s.restServices, mark, out); err != nil {
		return err
	}
	if err := grantAtRest(ctx, e); err != nil {
		return err
	}

	return countAtRest(ctx, e, s, out)
}

// countAtRest counts the controller's requests while nothing happens, and fails if they
// are more than watches and leases.
func countAtRest(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	notef("rest: counting requests for %s", s.rest)
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.rest):
	}
	requests, err := e.Audit.Since(mark)
	if err != nil {
		return err
	}
	requests = requests.By(pullsecrets.ControllerUser)

	// The audit log has a watch only after it ends, so end all of them to see those that
	// are open.
	if mark, err = e.Audit.Mark(); err != nil {
		return err
	}
	if err := e.Processes.Kill(ctx, "controller"); err != nil {
		return err
	}
	ended, err := e.Audit.Since(mark)
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "\nRequests in %s at rest, with %d Services that have their pull secrets and a ClusterPullSecret that is distributed\n", s.rest, s.restServices)
	leases, watches := requests.Of("leases.coordination.k8s.io"), requests.Verbs("watch")
	others := len(requests) - len(leases) - len(watches)
	fmt.Fprintf(out, "  leases:        %d (renewed every second on this cluster, less often with config/)\n", len(leases))
	fmt.Fprintf(out, "  watches:       %d ended and restarted; open: %s\n", len(watches), strings.Join(resources(ended.By(pullsecrets.ControllerUser).Verbs("watch")), ", "))
	fmt.Fprintf(out, "  anything else: %d\n", others)
	if others != 0 {
		return fmt.Errorf("want only watches and leases at rest, got:\n%s", requests)
	}
	return nil
}

// grantAtRest distributes a credential and waits until the status reports it and all
// writes are done.
func grantAtRest(ctx context.Context, e *env.Env) error {
	d, err := newDistributor(ctx, e)
	if err != nil {
		return err
	}
	if err := d.grow(ctx, restNamespaces); err != nil {
		return err
	}
	if _, err := d.distribute(ctx, 0); err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		told, err := e.Kube.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ClusterPullSecret,reason=Distributed"})
		return err == nil && len(told.Items) > 0, err
	})
	if err != nil {
		return err
	}
	// The last status update is reconciled once more.
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 3*time.Second, timeout, false, func(context.Context) (bool, error) {
		requests, err := e.Audit.Since(mark)
		if err == nil {
			mark, err = e.Audit.Mark()
		}
		requests = requests.By(pullsecrets.ControllerUser)
		return len(requests) == len(requests.Of("leases.coordination.k8s.io")), err
	})
}

// resources returns the resources of the requests, each with its count if that is more
// than one.
func resources(requests env.Requests) []string {
	counts := map[string]int{}
	for _, r := range requests {
		counts[r.Resource]++
	}
	var list []string
	for _, resource := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[resource]; n > 1 {
			resource += fmt.Sprintf(" (%d)", n)
		}
		list = append(list, resource)
	}
	return list
}
