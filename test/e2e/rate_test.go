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
	// fastRate is ten times the rate as shipped, so that the test ends soon.
	fastRate, perSecond = "600", 10
	// slowRate is one that hardly lets anything pass: one Service each minute.
	slowRate = "1"
	// notReady is how many of the Services are not Ready.
	notReady = 20
	// head is how many Services may go before those that are not Ready once the
	// line moves: one whose turn had come already.
	head = 1
	// window is how long the rate is looked at, and lag how much longer than
	// another one a write may take on a busy machine.
	window, lag = 10 * time.Second, 2 * time.Second
)

// TestBackfillKeepsTheRate opts a namespace of 200 Services in, and looks when
// each was written: never faster than backfill-per-minute says, those first
// that are not Ready, and in the end all of them.
func TestBackfillKeepsTheRate(t *testing.T) {
	env.Get(t).Need(t, env.RequestCounts, env.RevisionFates)
	n := newTenant(t)
	shape := withoutPods(t, n.Env)
	// The last ones are made when nothing becomes Ready any more.
	ready := func(i int) bool { return i < fleetSize-notReady }
	n.makeFleet(fleetSize-notReady, shape)
	n.labelNamespace(env.RevisionsLabel, env.RevisionsWait)
	if err := fleet.Create(t.Context(), n.Serving, n.ns, fleetSize-notReady, fleetSize, shape); err != nil {
		t.Fatal(err)
	}
	n.waitForFleet("are known to Knative", func(svc *servingv1.Service) bool { return svc.Status.ObservedGeneration == svc.Generation })
	o := newOperator(t)
	defer o.restore()
	counting := n.startTally()

	// All get in line before the line moves: the controller has come to all of
	// them when it comes to one that is made later. How long that takes is the
	// machine's affair, and so is how many have passed by then.
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
		t.Errorf("The controller has written %d times, want once for each of %d Services", len(writes), fleetSize)
	}
	moving := slices.IndexFunc(writes, func(r env.Request) bool { return !r.At.Before(start) })
	if moving < 0 {
		t.Fatalf("All %d Services were written while the line was forming", len(writes))
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
	for i := range fleetSize {
		// Those that passed before have no place.
		if name := fleet.Name(i); !ready(i) && place[name] > notReady+head {
			t.Errorf("Service %s, which was not Ready, was written as number %d, want it among the first %d", name, place[name], notReady+head)
		}
	}
	t.Logf("%d Services were written within %s", len(writes), writes[len(writes)-1].At.Sub(writes[0].At).Round(time.Millisecond))
}

// checkRate checks that neither since the start nor in any window there were
// more writes than the rate allows, and one.
func checkRate(t *testing.T, writes env.Requests, start time.Time) {
	t.Helper()
	allowed := func(d time.Duration) int { return int(d.Seconds()*perSecond) + 1 }
	first := 0
	for last, r := range writes {
		// No write comes before its turn, so this holds however long it takes.
		if got, since := last+1, max(0, r.At.Sub(start)); got > head+allowed(since) {
			t.Errorf("%d Services were written in the first %s, want %d at most", got, since, head+allowed(since))
			return
		}
		// Some writes take longer than others, which can bring them together.
		for r.At.Sub(writes[first].At) >= window {
			first++
		}
		if got := last - first + 1; got > allowed(window+lag) {
			t.Errorf("%d Services were written in the %s before %s, want %d at most", got, window, r.At, allowed(window+lag))
			return
		}
	}
}
