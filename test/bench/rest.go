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
	// restNamespaces is how many have a copy of a credential.
	restNamespaces = 20
)

// atRest opts real Services in, with Knative's controller at work, and counts
// what the product asks the API server for once all have what they should.
func atRest(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := makeNamespace(ctx, e, restNamespace, secretName); err != nil {
		return err
	}
	notef("rest: making %d Services", s.restServices)
	if err := fleet.Create(ctx, e.Serving, restNamespace, 0, s.restServices, nil); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "are Ready", patience, fleet.Ready); err != nil {
		return err
	}
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	if err := optIn(ctx, e, restNamespace, secretName); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "have the pull secret", patience, fleet.Has(secretName)); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, e.Serving, restNamespace, "are Ready again", patience, fleet.Ready); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOpt-in of %d Services, from the annotation until their new Revisions are Ready\n", s.restServices)
	if err := writes(ctx, e, s.restServices, mark, out); err != nil {
		return err
	}
	if err := grantAtRest(ctx, e); err != nil {
		return err
	}

	notef("rest: counting requests for %s", s.rest)
	if mark, err = e.Audit.Mark(); err != nil {
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

	// A watch is noted when it ends. So that those which are open are known,
	// too, they are all ended.
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
	fmt.Fprintf(out, "  leases:        %d (this cluster's are renewed every second; those in config/ are not that hasty)\n", len(leases))
	fmt.Fprintf(out, "  watches:       %d ended and begun anew; open: %s\n", len(watches), strings.Join(resources(ended.By(pullsecrets.ControllerUser).Verbs("watch")), ", "))
	fmt.Fprintf(out, "  anything else: %d\n", others)
	if others != 0 {
		return fmt.Errorf("want only watches and leases at rest:\n%s", requests)
	}
	return nil
}

// grantAtRest distributes a credential, and waits until that is told and over.
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
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		told, err := e.Kube.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ClusterPullSecret,reason=Distributed"})
		return err == nil && len(told.Items) > 0, err
	})
	if err != nil {
		return err
	}
	// The status that has just been written is looked at once more.
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 3*time.Second, patience, false, func(context.Context) (bool, error) {
		requests, err := e.Audit.Since(mark)
		if err == nil {
			mark, err = e.Audit.Mark()
		}
		requests = requests.By(pullsecrets.ControllerUser)
		return len(requests) == len(requests.Of("leases.coordination.k8s.io")), err
	})
}

// resources lists the resources of the requests, and how often where that is
// more than once.
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
