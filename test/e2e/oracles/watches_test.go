// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A watchProxy stands between the controller and the API server, and holds back what
// watches tell. All else passes: while watches are held, the controller acts by caches
// that are stale. Events are then delivered late, or never: where the watches are
// broken off, the controller lists anew and sees only what has become of it all.
type watchProxy struct {
	server     *httptest.Server
	kubeconfig string

	mu sync.Mutex
	// held is closed when the watches go on, and nil while they do.
	held chan struct{}
	// broken is closed when the watches that are open are to be broken off.
	broken chan struct{}
}

// newWatchProxy returns a proxy with the rights of the controller.
func newWatchProxy(t *testing.T, e *env.Env) *watchProxy {
	t.Helper()
	lifetime := int64(24 * 3600)
	token, err := e.Kube.CoreV1().ServiceAccounts(pullsecrets.SystemNamespace).CreateToken(t.Context(), "controller",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal("Asking for the controller's token: ", err)
	}
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = token.Status.Token
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(e.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &watchProxy{broken: make(chan struct{})}
	p.server = httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Query().Get("watch") != "" {
				r.Body = &heldBody{ReadCloser: r.Body, ctx: r.Request.Context(), proxy: p}
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	t.Cleanup(p.server.CloseClientConnections)
	p.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(p.kubeconfig, fmt.Appendf(nil, kubeconfigOfProxy, p.server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// kubeconfigOfProxy needs no credential: the proxy has that of the controller.
const kubeconfigOfProxy = `apiVersion: v1
kind: Config
clusters: [{name: proxy, cluster: {server: %q}}]
contexts: [{name: proxy, context: {cluster: proxy}}]
current-context: proxy
`

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
