// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"

	"pullsecrets.dev/test/e2e/proxy"
	"pullsecrets.dev/test/env"
)

// watchProxy is a proxy between the controller and the API server that can hold back
// watch events. Other requests pass, so the controller works with stale caches meanwhile.
// Events are then delivered late, or never: if the watches are closed, the controller
// lists again and sees only the final state.
type watchProxy struct {
	*proxy.Server

	mu sync.Mutex
	// held is closed when the watches resume, and nil while they are not held.
	held chan struct{}
	// broken is closed when open watches are to be closed.
	broken chan struct{}
}

// newWatchProxy returns a proxy with the rights of the controller.
func newWatchProxy(t *testing.T, e *env.Env) *watchProxy {
	t.Helper()
	p := &watchProxy{broken: make(chan struct{})}
	p.Server = proxy.Serve(t, proxy.New(t, e).Passing(func(r *http.Response) error {
		if r.Request.URL.Query().Get("watch") != "" {
			r.Body = &heldBody{ReadCloser: r.Body, ctx: r.Request.Context(), proxy: p}
		}
		return nil
	}))
	return p
}

// hold holds back all watch events.
func (p *watchProxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
}

// release resumes the watches with the held events or, with drop, closes them without.
func (p *watchProxy) release(drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if drop {
		close(p.broken)
		p.broken = make(chan struct{})
	}
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

func (p *watchProxy) state() (held, broken chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held, p.broken
}

// heldBody is the response body of a watch.
type heldBody struct {
	io.ReadCloser
	ctx   context.Context
	proxy *watchProxy
}

// Read returns the events once they may be delivered.
func (b *heldBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	held, broken := b.proxy.state()
	if held == nil {
		return n, err
	}
	select {
	case <-broken:
		return 0, io.ErrUnexpectedEOF
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-held:
	}
	select {
	case <-broken: // Both are closed, so held events are dropped.
		return 0, io.ErrUnexpectedEOF
	default:
		return n, err
	}
}
