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

// liveReadRate and liveReadRatePerNamespace limit the live reads.
var (
	liveReadRate             = fair.Rate{PerSecond: 100, Burst: 200}
	liveReadRatePerNamespace = fair.Rate{PerSecond: 10, Burst: 50}
)

const (
	// missTTL is how long an object that the API server did not find counts as missing.
	// It covers the API server's two calls for one request.
	missTTL = 300 * time.Millisecond
	// minMisses is how many misses are kept before expired ones are removed.
	minMisses = 64
)

// subject identifies the object of a live read.
type subject struct{ kind, namespace, name string }

// tenant returns the namespace to which the read is charged. For a Namespace it is its
// name.
func (s subject) tenant() string {
	if s.namespace == "" {
		return s.name
	}
	return s.namespace
}

// liveReads limits live reads fairly by namespace, and caches misses for a short time.
type liveReads struct {
	budget *fair.Budget
	now    func() time.Time

	mu     sync.Mutex
	misses map[subject]miss
	// sweepAt is the number of misses at which expired ones are removed.
	sweepAt int
}

type miss struct {
	err   error
	until time.Time
}

func newLiveReads(now func() time.Time) *liveReads {
	return &liveReads{
		budget: fair.NewBudget(liveReadRate, liveReadRatePerNamespace, now), now: now,
		misses: make(map[subject]miss), sweepAt: minMisses,
	}
}

// readLive reads an object from the API server.
func readLive[T any](ctx context.Context, l *liveReads, of subject, live func(context.Context, string, metav1.GetOptions) (*T, error)) (*T, error) {
	if err := l.missed(of); err != nil {
		return nil, err
	}
	if !l.budget.Take(of.tenant()) {
		return nil, fmt.Errorf("failed to read %s %s: too many reads for namespace %s", of.kind, of.name, of.tenant())
	}
	object, err := live(ctx, of.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.note(of, err)
	}
	return object, err
}

// missed returns the cached error of a recent miss, or nil.
func (l *liveReads) missed(of subject) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.misses[of]; l.now().Before(m.until) {
		return m.err
	}
	return nil
}

func (l *liveReads) note(of subject, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.misses[of] = miss{err, now.Add(missTTL)}
	if len(l.misses) < l.sweepAt {
		return
	}
	maps.DeleteFunc(l.misses, func(_ subject, m miss) bool { return !now.Before(m.until) })
	l.sweepAt = max(minMisses, 2*len(l.misses))
}

// unlimited returns a client configuration without a rate limit, which all namespaces
// would share; liveReads has a fair one.
func unlimited(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS, c.RateLimiter = -1, nil
	return c
}
