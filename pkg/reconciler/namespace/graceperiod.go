// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// gracePeriods holds, by the name of the ClusterPullSecret, since when its source may
// differ from its status. The state may be lost with the process.
type gracePeriods struct {
	mu     sync.Mutex
	byName map[string]gracePeriod
}

// gracePeriod is the time that the status has to follow its source.
type gracePeriod struct {
	// reported is the version of the source in the status, and found is the current one.
	reported, found string
	since           time.Time
}

// elapsed returns how long the same two versions have differed.
func (g *gracePeriods) elapsed(name, reported, found string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	period := g.byName[name]
	if period.reported != reported || period.found != found {
		if g.byName == nil {
			g.byName = make(map[string]gracePeriod)
		}
		period = gracePeriod{reported, found, now}
		g.byName[name] = period
	}
	return now.Sub(period.since)
}

// end drops the grace period of a ClusterPullSecret.
func (g *gracePeriods) end(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byName, name)
}

// keep drops the grace periods of all other ClusterPullSecrets.
func (g *gracePeriods) keep(all []*v1alpha1.ClusterPullSecret) {
	names := sets.New[string]()
	for _, cps := range all {
		names.Insert(cps.Name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.byName, func(name string, _ gracePeriod) bool { return !names.Has(name) })
}
