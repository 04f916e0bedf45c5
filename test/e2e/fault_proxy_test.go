// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/e2e/proxy"
	"pullsecrets.dev/test/env"
)

// write is a request of the controller that changes something or tries to.
type write struct {
	method, path string
	code         int // of the response; 0 before it
}

// done reports whether the write succeeded.
func (w write) done() bool { return w.code >= 200 && w.code < 300 }

// fault is what happens to a write.
type fault string

const (
	// none: the write is forwarded.
	none fault = ""
	// unsent: the controller is killed, and the write does not reach the API server.
	unsent fault = "before"
	// unanswered: the API server performs the write, and the controller is killed before
	// it gets the response.
	unanswered fault = "after"
)

// faultProxy is a proxy between one run of the controller and the API server. It forwards
// writes one at a time. After the first write with a fault it forwards no other, so the
// cluster is exactly as a controller leaves it that is killed at this write. Leases,
// Events, dry runs and access reviews do not count as writes, because no other run
// depends on them.
type faultProxy struct {
	upstream *proxy.Upstream
	passing  http.Handler

	// fault returns the fault of each write, and seen is called with each response.
	fault func(write) fault
	seen  func(write)

	// hit is closed when a write had a fault, and when the run ends.
	hit  chan struct{}
	once sync.Once
	// turn is held by the write in progress, and by a test that blocks all writes.
	turn sync.Mutex
}

// ServeHTTP forwards a request.
func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isWrite(r) {
		p.passing.ServeHTTP(w, r)
		return
	}
	// The server detects a closed connection only after the body was read.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer, err := p.pass(r, body)
	if err != nil {
		// The client sees a broken connection and retries.
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.code)
	_, _ = w.Write(answer.content) // The client may be gone.
}

// reply is the API server's response to a write.
type reply struct {
	code    int
	header  http.Header
	content []byte
}

// pass forwards a write in its turn. After a fault it returns when the client is gone.
func (p *faultProxy) pass(r *http.Request, body []byte) (reply, error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.stopped() {
		return reply{}, p.abandon(r)
	}
	asked := write{method: r.Method, path: r.URL.Path}
	f := p.fault(asked)
	if f == unsent {
		return reply{}, p.abandon(r)
	}
	request := r.Clone(context.WithoutCancel(r.Context()))
	request.Body = io.NopCloser(bytes.NewReader(body))
	response, err := p.upstream.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	asked.code = response.StatusCode
	p.seen(asked)
	if f == unanswered {
		return reply{}, p.abandon(r)
	}
	return reply{response.StatusCode, response.Header, content}, nil
}

// abandon signals the fault to the test and waits until the client is gone. It keeps the
// turn until then, so no other write is forwarded.
func (p *faultProxy) abandon(r *http.Request) error {
	p.stop()
	<-r.Context().Done()
	return r.Context().Err()
}

// stop blocks all further writes.
func (p *faultProxy) stop() { p.once.Do(func() { close(p.hit) }) }

func (p *faultProxy) stopped() bool {
	select {
	case <-p.hit:
		return true
	default:
		return false
	}
}

// isWrite reports whether a request changes what the tests check. A dry run, which the
// controller uses to diagnose a missing copy, changes nothing.
func isWrite(r *http.Request) bool {
	if r.URL.Query().Has("dryRun") {
		return false
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	return !strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/") && !strings.HasPrefix(r.URL.Path, "/apis/events.k8s.io/") &&
		!strings.HasSuffix(r.URL.Path, "/events") && !strings.Contains(r.URL.Path, "/events/") && !strings.HasSuffix(r.URL.Path, "reviews")
}

// faultyController is the real controller with its real identity behind a faultProxy.
type faultyController struct {
	*env.Env
	t        *testing.T
	upstream *proxy.Upstream
	// proxy and server belong to the current run.
	proxy  *faultProxy
	server *proxy.Server
}

// newFaultyController stops the cluster's controller until the test ends.
func newFaultyController(t *testing.T) *faultyController {
	t.Helper()
	e := env.Get(t)
	c := &faultyController{Env: e, t: t, upstream: proxy.New(t, e)}
	c.kill()
	t.Cleanup(func() {
		c.kill()
		if err := e.Processes.Start(context.WithoutCancel(t.Context()), "controller", nil); err != nil {
			t.Error("start the controller again: ", err)
		}
	})
	return c
}

// start starts the controller behind a new proxy, with one worker per reconciler, so that
// its writes come in the same order each time, as far as possible.
func (c *faultyController) start(decide func(write) fault, seen func(write)) {
	c.t.Helper()
	c.proxy = &faultProxy{upstream: c.upstream, passing: c.upstream.Passing(nil), fault: decide, seen: seen, hit: make(chan struct{})}
	c.server = proxy.Serve(c.t, c.proxy)
	// A controller that is killed during its start never becomes ready.
	c.proxy.turn.Lock()
	defer c.proxy.turn.Unlock()
	if err := c.Processes.Start(c.t.Context(), "controller", map[string]string{"KUBECONFIG": c.server.Kubeconfig, "K_THREADS_PER_CONTROLLER": "1"}); err != nil {
		c.t.Fatal("start the controller: ", err)
	}
}

// kill kills the controller if it runs, and removes its leases so that the next one leads
// immediately.
func (c *faultyController) kill() {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	if c.proxy != nil {
		c.proxy.stop()
	}
	if err := c.Processes.Kill(ctx, "controller"); err != nil {
		c.t.Fatal("kill the controller: ", err)
	}
	if c.server != nil {
		c.server.Close() // Waits for requests in flight.
		c.server = nil
	}
	for _, lease := range c.leases(ctx) {
		if err := c.Kube.CoordinationV1().Leases(lease.Namespace).Delete(ctx, lease.Name, metav1.DeleteOptions{}); err != nil {
			c.t.Fatal("end a lease: ", err)
		}
	}
}

// leases returns the leases of the controller's leader election.
func (c *faultyController) leases(ctx context.Context) []coordinationv1.Lease {
	c.t.Helper()
	list, err := c.Kube.CoordinationV1().Leases(pullsecrets.SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(l coordinationv1.Lease) bool { return !strings.HasPrefix(l.Name, "controller.") })
}
