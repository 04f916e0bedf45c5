// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b Backoff
	for i := range free {
		if wait := b.Wait("7", now); wait != 0 {
			t.Errorf("write %d waits %s, want none", i, wait)
		}
		b.Wrote("7", now)
	}
	for want := firstWait; want < longestWait; want *= 2 {
		if got := b.Wait("7", now); got != want {
			t.Errorf("the next write waits %s, want %s", got, want)
		}
		now = now.Add(b.Wait("7", now))
		if got := b.Wait("7", now); got != 0 {
			t.Errorf("after the wait the write waits %s more", got)
		}
		b.Wrote("7", now)
	}
	if got := b.Wait("7", now); got != longestWait {
		t.Errorf("the next write waits %s, want %s at most", got, longestWait)
	}
	if got := b.Wait("8", now); got != 0 {
		t.Errorf("another state waits %s, want none", got)
	}
	if got := b.Wait("7", now.Add(2*longestWait+1)); got != 0 {
		t.Errorf("after a long time the write waits %s, want none", got)
	}
}

func TestTimes(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b Backoff
	for range 2 {
		b.Wrote("absent", now)
	}
	for _, test := range []struct {
		state string
		at    time.Time
		want  int
	}{{"absent", now, 2}, {"absent", now.Add(window), 2}, {"absent", now.Add(window + 1), 0}, {"7", now, 0}} {
		if got := b.Times(test.state, test.at); got != test.want {
			t.Errorf("Times(%s) after %s = %d, want %d", test.state, test.at.Sub(now), got, test.want)
		}
	}
}
