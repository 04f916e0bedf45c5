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

// doubts remembers, by the name of the ClusterPullSecret, since when it is in doubt
// whether its source still holds what its status says. It may be lost with the process.
type doubts struct {
	mu     sync.Mutex
	byName map[string]doubt
}

type doubt struct {
	// said is the version of the source in the status, and found the one that is there.
	said, found string
	since       time.Time
}

// last tells for how long the same has been in doubt.
func (d *doubts) last(name, said, found string, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.byName[name]
	if known.said != said || known.found != found {
		if d.byName == nil {
			d.byName = make(map[string]doubt)
		}
		known = doubt{said, found, now}
		d.byName[name] = known
	}
	return now.Sub(known.since)
}

// end forgets what is in doubt no more.
func (d *doubts) end(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byName, name)
}

// keep forgets all but the ClusterPullSecrets that there are.
func (d *doubts) keep(all []*v1alpha1.ClusterPullSecret) {
	names := sets.New[string]()
	for _, cps := range all {
		names.Insert(cps.Name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.byName, func(name string, _ doubt) bool { return !names.Has(name) })
}
