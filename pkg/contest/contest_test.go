// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"testing"
	"time"
)

func TestContest(t *testing.T) {
	start := time.Unix(1e9, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	var c Contest
	for i := range Most {
		if left := c.Left(at(0)); left != 0 {
			t.Fatalf("round %d waits %s, want none", i, left)
		}
		c.Note(at(0))
	}
	if left := c.Left(at(time.Minute)); left != Pause {
		t.Errorf("after %d rounds it is left alone for %s, want %s", Most, left, Pause)
	}
	if left := c.Left(at(31 * time.Minute)); left != Pause/2 {
		t.Errorf("half an hour later it is left alone for %s, want %s", left, Pause/2)
	}
	if left := c.Left(at(61 * time.Minute)); left != 0 {
		t.Errorf("when the pause is over it is left alone for %s, want a new beginning", left)
	}

	var slow Contest
	for i := range 10 * Most {
		now := at(time.Duration(i) * window)
		if left := slow.Left(now); left != 0 {
			t.Fatalf("round %d, %s after the last one, waits %s, want none", i, window, left)
		}
		slow.Note(now)
	}
}
