// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"sync"
	"time"
)

// queues let one check at a time ask a registry, in the order in which they came.
type queues struct {
	mu     sync.Mutex
	byHost map[string]*queue
}

// queue is the queue for one registry. It is there as long as anybody is in it.
type queue struct {
	turn chan struct{}
	in   int
}

// enter returns when it is the caller's turn, or with an error if the context ends. The caller
// leaves at the end.
func (q *queues) enter(ctx context.Context, host string) (leave func(), err error) {
	q.mu.Lock()
	of := q.byHost[host]
	if of == nil {
		of = &queue{turn: make(chan struct{}, 1)}
		if q.byHost == nil {
			q.byHost = map[string]*queue{}
		}
		q.byHost[host] = of
	}
	of.in++
	q.mu.Unlock()
	select {
	case of.turn <- struct{}{}:
		return func() { <-of.turn; q.exit(host, of) }, nil
	case <-ctx.Done():
		q.exit(host, of)
		return nil, ctx.Err()
	}
}

func (q *queues) exit(host string, of *queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if of.in--; of.in == 0 {
		delete(q.byHost, host)
	}
}

// rate lets one request per registry and period pass.
type rate struct {
	period time.Duration
	mu     sync.Mutex
	next   map[string]time.Time
}

func newRate(period time.Duration) *rate { return &rate{period: period, next: map[string]time.Time{}} }

// errNoTurn reports that the context ends before the next turn.
var errNoTurn = errors.New("no turn before the end of the check")

// wait returns when it is the caller's turn, or the context ends. The caller's timeout is not
// needed meanwhile.
func (r *rate) wait(ctx context.Context, host string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	delay, ok := r.take(host, time.Now(), deadline)
	if !ok {
		return errNoTurn
	}
	defer suspendTimeout(ctx)()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the delay until a turn, and reserves it. It reserves nothing if the turn is not
// before the deadline, unless that is zero.
func (r *rate) take(host string, now, deadline time.Time) (delay time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, next := range r.next {
		if next.Before(now) {
			delete(r.next, other)
		}
	}
	turn := r.next[host]
	if turn.Before(now) {
		turn = now
	}
	if !deadline.IsZero() && !turn.Before(deadline) {
		return 0, false
	}
	r.next[host] = turn.Add(r.period)
	return turn.Sub(now), true
}

// busyTimeout ends a context after a time of which only a part counts.
type busyTimeout struct {
	mu        sync.Mutex
	timer     *time.Timer
	left      time.Duration
	since     time.Time
	suspended int
}

type busyTimeoutKey struct{}

// withBusyTimeout returns a context that ends after a time in which its timeout is not suspended.
func withBusyTimeout(ctx context.Context, left time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p := &busyTimeout{left: left, since: time.Now(), timer: time.AfterFunc(left, cancel)}
	return context.WithValue(ctx, busyTimeoutKey{}, p), func() { p.timer.Stop(); cancel() }
}

// suspendTimeout suspends the timeout of a context, if it has one, until resume is called.
func suspendTimeout(ctx context.Context) (resume func()) {
	p, found := ctx.Value(busyTimeoutKey{}).(*busyTimeout)
	if !found {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.suspended++; p.suspended == 1 && p.timer.Stop() {
		p.left -= time.Since(p.since)
	}
	return p.resume
}

func (p *busyTimeout) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.suspended--; p.suspended == 0 {
		p.since = time.Now()
		p.timer.Reset(max(p.left, 0))
	}
}
