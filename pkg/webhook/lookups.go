// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/fair"
)

// lookupsOfAll and lookupsOfEach are how many live reads there may be, for all
// namespaces and for each.
var (
	lookupsOfAll  = fair.Rate{PerSecond: 100, Burst: 200}
	lookupsOfEach = fair.Rate{PerSecond: 10, Burst: 50}
)

const (
	// missFor is how long an object counts as missing after the API server did not
	// know it. It is as long as the API server takes to call twice for one request.
	missFor = 300 * time.Millisecond
	// minMisses is how many misses are kept without removing old ones.
	minMisses = 64
)

// subject is what a live read asks for.
type subject struct{ kind, namespace, name string }

// tenant is the namespace that pays for the read. For a Namespace it is itself.
func (s subject) tenant() string {
	if s.namespace == "" {
		return s.name
	}
	return s.namespace
}

// lookups limits live reads fairly by namespace, and remembers for a moment what the
// API server did not know.
type lookups struct {
	budget *fair.Budget
	now    func() time.Time

	mu     sync.Mutex
	misses map[subject]miss
	// sweepAt is how many misses there may be before old ones are removed.
	sweepAt int
}

type miss struct {
	err   error
	until time.Time
}

func newLookups(now func() time.Time) *lookups {
	return &lookups{
		budget: fair.NewBudget(lookupsOfAll, lookupsOfEach, now), now: now,
		misses: make(map[subject]miss), sweepAt: minMisses,
	}
}

// readLive reads an object from the API server.
func readLive[T any](ctx context.Context, l *lookups, of subject, live func(context.Context, string, metav1.GetOptions) (*T, error)) (*T, error) {
	if err := l.missed(of); err != nil {
		return nil, err
	}
	if !l.budget.Take(of.tenant()) {
		return nil, fmt.Errorf("read %s %s: too many reads for namespace %s", of.kind, of.name, of.tenant())
	}
	object, err := live(ctx, of.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.note(of, err)
	}
	return object, err
}

// missed returns the error of a read that has just found nothing, or nil.
func (l *lookups) missed(of subject) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.misses[of]; l.now().Before(m.until) {
		return m.err
	}
	return nil
}

func (l *lookups) note(of subject, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.misses[of] = miss{err, now.Add(missFor)}
	if len(l.misses) < l.sweepAt {
		return
	}
	maps.DeleteFunc(l.misses, func(_ subject, m miss) bool { return !now.Before(m.until) })
	l.sweepAt = max(minMisses, 2*len(l.misses))
}

// unlimited is a client configuration without the limit that all namespaces would
// share; lookups has one that is fair.
func unlimited(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS, c.RateLimiter = -1, nil
	return c
}
