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

// A watchProxy stands between the controller and the API server, and holds back what
// watches tell. All else passes: while watches are held, the controller acts by caches
// that are stale. Events are then delivered late, or never: where the watches are
// broken off, the controller lists anew and sees only what has become of it all.
type watchProxy struct {
	*proxy.Server

	mu sync.Mutex
	// held is closed when the watches go on, and nil while they do.
	held chan struct{}
	// broken is closed when the watches that are open are to be broken off.
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

// hold lets watches tell nothing more.
func (p *watchProxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
}

// release lets them go on, with what they have kept, or, where they are dropped,
// breaks them off without it.
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

// A heldBody is what a watch tells.
type heldBody struct {
	io.ReadCloser
	ctx   context.Context
	proxy *watchProxy
}

// Read returns what was told, once it may be.
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
	case <-broken: // Both, so what was kept is dropped.
		return 0, io.ErrUnexpectedEOF
	default:
		return n, err
	}
}
