// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// fastRate is ten times the default rate, to keep the test short.
	fastRate, perSecond = "600", 10
	// slowRate is one Service per minute, which nearly stops the backfill.
	slowRate = "1"
	// notReady is the number of Services that are not Ready.
	notReady = 20
	// head is the number of Services whose turn may have come before the rate is raised.
	head = 1
	// window is the period over which the rate is checked, and lag the additional latency
	// of a write on a busy machine, by which it can come after one whose turn was later. A
	// write that conflicts with one of Knative's is also late.
	window, lag = 10 * time.Second, 2 * time.Second
)

// TestBackfillKeepsTheRate opts in a namespace of 200 Services and checks when each was
// written: never faster than backfill-per-minute, Services that are not Ready first, and
// all of them in the end.
func TestBackfillKeepsTheRate(t *testing.T) {
	env.Get(t).Need(t, env.RequestCounts, env.RevisionOutcomes)
	n := newTenant(t)
	shape := withoutPods(t, n.Env)
	// The last Services are created when no Service becomes Ready.
	ready := func(i int) bool { return i < fleetSize-notReady }
	n.makeFleet(fleetSize-notReady, shape)
	n.labelNamespace(env.RevisionsLabel, env.RevisionsWait)
	if err := fleet.Create(t.Context(), n.Serving, n.ns, fleetSize-notReady, fleetSize, shape); err != nil {
		t.Fatal(err)
	}
	n.waitForFleet("are known to Knative", func(svc *servingv1.Service) bool { return svc.Status.ObservedGeneration == svc.Generation })
	o := newOperator(t)
	defer o.restore()
	counting := n.startCounting()

	// All Services queue before the rate is raised: the controller has reconciled all of
	// them when it reconciles one that is created later. How many are written meanwhile
	// depends on the machine.
	forming := time.Now()
	o.set(map[string]string{backfillPerMinute: slowRate})
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.applyAs("by-digest.yaml", "latecomer", annotated(pullsecrets.SecretsAnnotation, "Not-A-Name"))
	n.waitForEvent(service("latecomer"), "InvalidAnnotation")
	start := time.Now()
	o.set(map[string]string{backfillPerMinute: fastRate})
	n.waitForFleet("have the pull secret", fleet.Has("ghcr"))

	writes := counting.fleetWrites()
	slices.SortFunc(writes, func(a, b env.Request) int { return a.At.Compare(b.At) })
	if len(writes) != fleetSize {
		t.Errorf("controller wrote %d times, want once for each of %d Services", len(writes), fleetSize)
	}
	moving := slices.IndexFunc(writes, func(r env.Request) bool { return !r.At.Before(start) })
	if moving < 0 {
		t.Fatalf("all %d Services were written while they queued", len(writes))
	}
	if allowed := 2 + int(start.Sub(forming)/time.Minute); moving > allowed {
		t.Errorf("%d Services were written in %s, want %d at most at %s per minute", moving, start.Sub(forming), allowed, slowRate)
	}
	writes = writes[moving:]
	checkRate(t, writes, start)
	place := map[string]int{}
	for i, r := range writes {
		place[r.Name] = i + 1
	}
	// The turns come in order, the writes nearly.
	const first = notReady + head + perSecond*int(lag/time.Second)
	for i := range fleetSize {
		// Those written before have no place.
		if name := fleet.Name(i); !ready(i) && place[name] > first {
			t.Errorf("Service %s, which was not Ready, was written as number %d of %d, want among the first %d", name, place[name], len(writes), first)
		}
	}
	t.Logf("%d Services were written within %s", len(writes), writes[len(writes)-1].At.Sub(writes[0].At).Round(time.Millisecond))
}

// checkRate checks that there were at most one more writes than the rate allows, both
// since the start and in any window.
func checkRate(t *testing.T, writes env.Requests, start time.Time) {
	t.Helper()
	allowed := func(d time.Duration) int { return int(d.Seconds()*perSecond) + 1 }
	first := 0
	for last, r := range writes {
		// No write precedes its turn, so this holds however long writes take.
		if got, since := last+1, max(0, r.At.Sub(start)); got > head+allowed(since) {
			t.Errorf("%d Services were written in the first %s, want %d at most", got, since, head+allowed(since))
			return
		}
		for r.At.Sub(writes[first].At) >= window {
			first++
		}
		// Where the machine stood still, the writes whose turns came meanwhile follow at once.
		late := lag
		for i := max(first, 1); i <= last; i++ {
			late = max(late, writes[i].At.Sub(writes[i-1].At))
		}
		if got := last - first + 1; got > allowed(window+late) {
			t.Errorf("%d Services were written in the %s before %s, want %d at most", got, window, r.At, allowed(window+late))
			return
		}
	}
}
