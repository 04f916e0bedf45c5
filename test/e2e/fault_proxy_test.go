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

// A write is a request of the controller that changes something, or tries to.
type write struct {
	method, path string
	code         int // of the answer; 0 before it
}

// done tells whether the write has changed something.
func (w write) done() bool { return w.code >= 200 && w.code < 300 }

// A fault is what becomes of a write.
type fault string

const (
	// none: the write passes.
	none fault = ""
	// unsent: the controller is killed, and the write never reaches the API
	// server.
	unsent fault = "before"
	// unanswered: the API server has done the write, and the controller is killed
	// before it learns that.
	unanswered fault = "after"
)

// A faultProxy stands between one run of the controller and the API server. It
// passes writes one at a time, and with the first one that has a fault lets no
// other pass, so that the cluster is exactly as a controller leaves it that was
// killed there. Leases, Events, dry runs and questions are no writes: no other run builds
// on them.
type faultProxy struct {
	upstream *proxy.Upstream
	passing  http.Handler

	// fault decides about each write, and seen is told of each answer.
	fault func(write) fault
	seen  func(write)

	// hit is closed when a write has met its fault, and when the run is over.
	hit  chan struct{}
	once sync.Once
	// turn is held by the write that is under way, and by a test that keeps all
	// writes waiting.
	turn sync.Mutex
}

// ServeHTTP passes a request on.
func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isWrite(r) {
		p.passing.ServeHTTP(w, r)
		return
	}
	// Only with the body read does the server notice that the client is gone.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer, err := p.pass(r, body)
	if err != nil {
		// The client sees a broken connection, and tries again.
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.code)
	_, _ = w.Write(answer.content) // A client that is gone needs no answer.
}

// A reply is what the API server answers a write.
type reply struct {
	code    int
	header  http.Header
	content []byte
}

// pass passes a write on in its turn. After a fault it returns when the client is
// gone.
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

// abandon tells the test that the fault was met, and waits for the end of the
// client. The turn is not given back before, so nothing else passes.
func (p *faultProxy) abandon(r *http.Request) error {
	p.stop()
	<-r.Context().Done()
	return r.Context().Err()
}

// stop lets no further write pass.
func (p *faultProxy) stop() { p.once.Do(func() { close(p.hit) }) }

func (p *faultProxy) stopped() bool {
	select {
	case <-p.hit:
		return true
	default:
		return false
	}
}

// isWrite reports whether a request changes what the tests look at. A dry run, by which
// the controller finds out why a copy does not come, changes nothing.
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

// A faultyController is the product's controller, the program and the identity that
// are shipped, behind a faultProxy.
type faultyController struct {
	*env.Env
	t        *testing.T
	upstream *proxy.Upstream
	// proxy and server are those of the present run.
	proxy  *faultProxy
	server *proxy.Server
}

// newFaultyController ends the cluster's controller, which comes back after the
// test.
func newFaultyController(t *testing.T) *faultyController {
	t.Helper()
	e := env.Get(t)
	c := &faultyController{Env: e, t: t, upstream: proxy.New(t, e)}
	c.kill()
	t.Cleanup(func() {
		c.kill()
		if err := e.Processes.Start(context.WithoutCancel(t.Context()), "controller", nil); err != nil {
			t.Error("Starting the controller again: ", err)
		}
	})
	return c
}

// start starts the controller behind a new proxy. One reconciliation at a time of
// each kind lets it go the same way each time, as far as that is its own to say.
func (c *faultyController) start(decide func(write) fault, seen func(write)) {
	c.t.Helper()
	c.proxy = &faultProxy{upstream: c.upstream, passing: c.upstream.Passing(nil), fault: decide, seen: seen, hit: make(chan struct{})}
	c.server = proxy.Serve(c.t, c.proxy)
	// Who is killed while somebody waits for its start is waited for in vain.
	c.proxy.turn.Lock()
	defer c.proxy.turn.Unlock()
	if err := c.Processes.Start(c.t.Context(), "controller", map[string]string{"KUBECONFIG": c.server.Kubeconfig, "K_THREADS_PER_CONTROLLER": "1"}); err != nil {
		c.t.Fatal("Starting the controller: ", err)
	}
}

// kill kills the controller, if it runs, and lets the next one lead at once in
// place of waiting until the leases have run out.
func (c *faultyController) kill() {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	if c.proxy != nil {
		c.proxy.stop()
	}
	if err := c.Processes.Kill(ctx, "controller"); err != nil {
		c.t.Fatal("Killing the controller: ", err)
	}
	if c.server != nil {
		c.server.Close() // It waits for what has passed.
		c.server = nil
	}
	for _, lease := range c.leases(ctx) {
		if err := c.Kube.CoordinationV1().Leases(lease.Namespace).Delete(ctx, lease.Name, metav1.DeleteOptions{}); err != nil {
			c.t.Fatal("Ending a lease: ", err)
		}
	}
}

// leases are those by which the controller's replicas agree on who works.
func (c *faultyController) leases(ctx context.Context) []coordinationv1.Lease {
	c.t.Helper()
	list, err := c.Kube.CoordinationV1().Leases(pullsecrets.SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(l coordinationv1.Lease) bool { return !strings.HasPrefix(l.Name, "controller.") })
}
