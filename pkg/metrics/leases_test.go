// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	readers "pullsecrets.dev/pkg/reconciler/testing"
)

// Each election counts once, however often client-go reports that it was won or lost.
func TestLeases(t *testing.T) {
	read := readers.Metrics(t)
	p, err := newLeases()
	if err != nil {
		t.Fatal(err)
	}
	first, second := p.NewLeaderMetric(), p.NewLeaderMetric()
	for _, step := range []struct {
		what string
		do   func()
		held int64
	}{
		{"it starts", func() { first.Off("a"); second.Off("a") }, 0},
		{"it wins one", func() { first.On("a") }, 1},
		{"it wins both", func() { first.On("a"); second.On("a"); second.SlowpathExercised("a") }, 2},
		{"it loses one", func() { first.Off("a"); first.Off("a") }, 1},
	} {
		step.do()
		want := map[string]int64{"pullsecrets.leader.elections": 2}
		if step.held > 0 {
			want["pullsecrets.leader.leases"] = step.held
		}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("after %s (-want, +got):\n%s", step.what, diff)
		}
	}
}
