// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package fair

import (
	"fmt"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }

func take(b *Budget, namespace string, attempts int) (taken int) {
	for range attempts {
		if b.Take(namespace) {
			taken++
		}
	}
	return taken
}

func TestTake(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	b := NewBudget(Rate{20, 500}, Rate{1, 100}, c.now)
	for _, step := range []struct {
		reason    string
		pass      time.Duration
		namespace string
		attempts  int
		want      int
	}{
		{"the burst of one namespace", 0, "red", 1000, 100},
		{"another one has its own", 0, "blue", 1, 1},
		{"as time passes, there is more", 10 * time.Second, "red", 1000, 10},
		{"never more than the burst", time.Hour, "red", 1000, 100},
	} {
		c.pass(step.pass)
		if got := take(b, step.namespace, step.attempts); got != step.want {
			t.Errorf("%s: took %d of %d, want %d", step.reason, got, step.attempts, step.want)
		}
	}
}

// However many namespaces use their whole share, one that uses little gets what it needs.
func TestBusyNamespacesLeaveHalf(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	b := NewBudget(Rate{20, 500}, Rate{1, 100}, c.now)
	for range 600 {
		for i := range 200 {
			take(b, fmt.Sprintf("busy-%d", i), 5)
		}
		c.pass(time.Second)
	}
	if got := take(b, "quiet", 50); got != 50 {
		t.Errorf("A namespace that used nothing got %d of 50", got)
	}
}

// The total is bounded for any number of namespaces.
func TestTotal(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	b, taken := NewBudget(Rate{20, 500}, Rate{1, 100}, c.now), 0
	for i := range 5000 {
		taken += take(b, fmt.Sprint(i), 10)
	}
	if taken != 500 {
		t.Errorf("%d were taken at once, want the burst of 500", taken)
	}
}

// Namespaces that were quiet for long enough are forgotten.
func TestMemory(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	b := NewBudget(Rate{1000, 1000}, Rate{1, 2}, c.now)
	for i := range 100000 {
		take(b, fmt.Sprint(i), 1)
		c.pass(100 * time.Millisecond)
	}
	if len(b.own) > 2*minSweep {
		t.Errorf("%d buckets are kept, want at most %d", len(b.own), 2*minSweep)
	}
}

// BenchmarkTake shows that the cost for one namespace does not depend on the others.
func BenchmarkTake(b *testing.B) {
	for _, others := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d busy namespaces", others), func(b *testing.B) {
			budget := NewBudget(Rate{20, 500}, Rate{1, 100}, time.Now)
			for i := range others {
				take(budget, fmt.Sprint(i), 1)
			}
			for b.Loop() {
				budget.Take("quiet")
			}
		})
	}
}
