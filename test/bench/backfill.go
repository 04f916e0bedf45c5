// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	ourNamespace  = "bench-controller"
	bareNamespace = "bench-bare"
	timeout       = 5 * time.Minute
)

// backfill compares the controller with a loop that only sends the patches. Both have the
// same number of Services, which get their first pull secret in each round. Knative's
// controller is stopped: creating Revisions costs far more CPU than the patches, on both
// sides alike, and would hide the difference.
func backfill(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	// A different name in each round; otherwise the controller would take the resets
	// between rounds for a conflict with another writer.
	names := make([]string, s.rounds)
	for round := range names {
		names[round] = fmt.Sprintf("%s-%d", secretName, round+1)
	}
	notef("backfill: creating 2 x %d Services", s.services)
	for _, namespace := range []string{ourNamespace, bareNamespace} {
		if err := makeNamespace(ctx, e, namespace, names...); err != nil {
			return err
		}
		if err := makeReadyServices(ctx, e, namespace, s.services); err != nil {
			return err
		}
	}
	concurrency, err := threads(ctx, e)
	if err != nil {
		return err
	}
	// With the same rights and policies.
	controller, err := e.AsServiceAccount(ctx, pullsecrets.SystemNamespace, "controller")
	if err != nil {
		return err
	}
	bare, err := unlimited(controller)
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "\nBackfill of %d Services, %d at a time, no limit per minute (Services per second)\n", s.services, concurrency)
	fmt.Fprintf(out, "  %-8s %12s %12s %8s\n", "round", "controller", "bare client", "ratio")
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	var ours, bares, ratios []float64
	for round, name := range names {
		var our, other time.Duration
		sides := []func() error{
			func() (err error) { our, err = controllerRound(ctx, e, s.services, name); return err },
			func() (err error) { other, err = bareRound(ctx, e, bare, s.services, concurrency, name); return err },
		}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			notef("backfill: round %d", round+1)
			if err := side(); err != nil {
				return err
			}
		}
		ourSpeed, bareSpeed := float64(s.services)/our.Seconds(), float64(s.services)/other.Seconds()
		ours, bares, ratios = append(ours, ourSpeed), append(bares, bareSpeed), append(ratios, ourSpeed/bareSpeed)
		fmt.Fprintf(out, "  %-8d %12.0f %12.0f %8.2f\n", round+1, ourSpeed, bareSpeed, ourSpeed/bareSpeed)
	}
	fmt.Fprintf(out, "  %-8s %12.0f %12.0f %8.2f\n", "median", median(ours), median(bares), median(ratios))
	return writes(ctx, e, s.services*s.rounds, mark, out)
}

// controllerRound declares the name for the namespace and returns how long the controller
// takes to patch all Services.
func controllerRound(ctx context.Context, e *env.Env, n int, name string) (time.Duration, error) {
	if err := withoutPullSecrets(ctx, e, ourNamespace, n); err != nil {
		return 0, err
	}
	mark, err := e.Audit.Mark()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := optIn(ctx, e, ourNamespace, name); err != nil {
		return 0, err
	}
	took, err := lastPatch(ctx, e, mark, ourNamespace, n, start)
	if err != nil {
		return 0, err
	}
	// Wait for the Events, which follow the patches and would affect the other side.
	return took, eventsWritten(ctx, e, mark, n)
}

// withoutPullSecrets resets the namespace to its state before it declared pull secrets.
func withoutPullSecrets(ctx context.Context, e *env.Env, namespace string, n int) error {
	if err := optIn(ctx, e, namespace); err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}},"spec":{"template":{"spec":{"imagePullSecrets":null}}}}`, pullsecrets.AddedAnnotation)
	return fleet.Each(ctx, n, 16, func(ctx context.Context, i int) error {
		_, err := e.Serving.ServingV1().Services(namespace).Patch(ctx, fleet.Name(i), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
}

// bareRound sends the same patches as the controller with the same concurrency, and does
// nothing else.
func bareRound(ctx context.Context, e *env.Env, client servingclient.Interface, n, concurrency int, name string) (time.Duration, error) {
	if err := withoutPullSecrets(ctx, e, bareNamespace, n); err != nil {
		return 0, err
	}
	services, err := client.ServingV1().Services(bareNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	patches := make([][]byte, n)
	for i, svc := range services.Items {
		patches[i] = fmt.Appendf(nil,
			`{"metadata":{"annotations":{%q:"{\"%s\":\"namespace\"}"},"resourceVersion":%q},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":%q}]}}}}`,
			pullsecrets.AddedAnnotation, name, svc.ResourceVersion, name)
	}
	mark, err := e.Audit.Mark()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = fleet.Each(ctx, n, concurrency, func(ctx context.Context, i int) error {
		_, err := client.ServingV1().Services(bareNamespace).Patch(ctx, services.Items[i].Name, types.MergePatchType, patches[i],
			metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
	if err != nil {
		return 0, err
	}
	return lastPatch(ctx, e, mark, bareNamespace, n, start)
}

// lastPatch waits for n patches of Services in the namespace and returns the time from
// start until the API server answered the last one.
func lastPatch(ctx context.Context, e *env.Env, mark env.Mark, namespace string, n int, start time.Time) (time.Duration, error) {
	return lastOf(ctx, e, mark, n, start, "patch of Services in "+namespace, func(all env.Requests) env.Requests {
		return all.Of("services.serving.knative.dev").In(namespace).Verbs("patch")
	})
}

// lastOf waits for n matching requests and returns the time from start until the API
// server answered the last one.
func lastOf(ctx context.Context, e *env.Env, mark env.Mark, n int, start time.Time, what string, of func(env.Requests) env.Requests) (time.Duration, error) {
	var found env.Requests
	for deadline := time.Now().Add(timeout); ; {
		requests, next, err := e.Audit.Next(mark)
		if err != nil {
			return 0, err
		}
		mark, found = next, append(found, of(requests)...)
		if len(found) >= n {
			last := slices.MaxFunc(found, func(a, b env.Request) int { return a.At.Compare(b.At) })
			return last.At.Sub(start), nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: %d of %d within %s", what, len(found), n, timeout)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * time.Second): // Reading the log costs CPU too.
		}
	}
}

// writes prints the number of writes per due change. It fails unless each change is
// exactly one patch. Events are counted separately.
func writes(ctx context.Context, e *env.Env, due int, mark env.Mark, out io.Writer) error {
	if err := eventsWritten(ctx, e, mark, due); err != nil {
		return err
	}
	requests, err := e.Audit.Since(mark)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(requests.By(pullsecrets.ControllerUser).Writes(), func(r env.Request) bool { return r.Namespace == bareNamespace })
	patches, events := all.Of("services.serving.knative.dev").Verbs("patch"), all.Of("events")
	others := len(all) - len(patches) - len(events)
	fmt.Fprintf(out, "  API writes per Service and change: %.3f (%d patches for %d changes), Events: %d, anything else: %d\n",
		float64(len(patches))/float64(due), len(patches), due, len(events), others)
	if len(patches) != due || others != 0 {
		return fmt.Errorf("want exactly one write for each of %d changes, got:\n%s", due, all)
	}
	return nil
}

// eventsWritten waits until each change has an Event, or until no Event has been written
// for a while: they are rate-limited.
func eventsWritten(ctx context.Context, e *env.Env, mark env.Mark, due int) error {
	for before, quiet := -1, 0; quiet < 3; {
		requests, err := e.Audit.Since(mark)
		if err != nil {
			return err
		}
		now := len(requests.By(pullsecrets.ControllerUser).Of("events"))
		if now >= due {
			return nil
		}
		if now == before {
			quiet++
		} else {
			before, quiet = now, 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
