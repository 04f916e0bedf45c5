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

func TestRounds(t *testing.T) {
	now := time.Unix(1e9, 0)
	var r Rounds
	for round := range Most {
		if r.Contested(now) {
			t.Errorf("contested after %d rounds", round)
		}
		r.Note(now.Add(time.Duration(round) * time.Minute))
	}
	now = now.Add((Most - 1) * time.Minute)
	for _, test := range []struct {
		after     time.Duration
		recent    int
		contested bool
	}{{0, 3, true}, {window - 2*time.Minute, 2, false}, {window - time.Minute, 1, false}, {window, 0, false}} {
		if got := r.Recent(now.Add(test.after)); got != test.recent || r.Contested(now.Add(test.after)) != test.contested {
			t.Errorf("%s later %d rounds are recent, want %d", test.after, got, test.recent)
		}
	}
}
