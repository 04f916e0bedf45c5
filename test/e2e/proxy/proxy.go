// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxy provides a proxy between the controller and the API server, with which a
// test intercepts their requests. It has the rights of the controller, so a process
// behind it needs no credential.
package proxy

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// Upstream is the API server with the controller's rights.
type Upstream struct {
	transport http.RoundTripper
	target    *url.URL
}

// New returns the API server of a cluster.
func New(t testing.TB, e *env.Env) *Upstream {
	t.Helper()
	lifetime := int64(24 * 3600)
	token, err := e.Kube.CoreV1().ServiceAccounts(pullsecrets.SystemNamespace).CreateToken(t.Context(), "controller",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal("request the controller's token: ", err)
	}
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = token.Status.Token
	u := &Upstream{}
	if u.transport, err = rest.TransportFor(config); err != nil {
		t.Fatal(err)
	}
	if u.target, err = url.Parse(e.Config.Host); err != nil {
		t.Fatal(err)
	}
	return u
}

// RoundTrip sends a request to the API server.
func (u *Upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host, r.Host, r.RequestURI = u.target.Scheme, u.target.Host, u.target.Host, ""
	return u.transport.RoundTrip(r)
}

// Passing returns a handler that forwards requests. modify, unless it is nil, can change
// a response, which may be a watch. A client whose request fails sees a broken connection
// and retries.
func (u *Upstream) Passing(modify func(*http.Response) error) http.Handler {
	return &httputil.ReverseProxy{
		Transport: u.transport, FlushInterval: -1,
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(u.target) },
		ModifyResponse: modify,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		// Tests stop processes and drop watches, which it would log.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// Server is a listening proxy.
type Server struct {
	*httptest.Server
	// Kubeconfig is the path of a kubeconfig with the proxy as the cluster.
	Kubeconfig string
}

// Serve starts a proxy.
func Serve(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	s := &Server{Server: httptest.NewServer(handler), Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(s.CloseClientConnections)
	if err := os.WriteFile(s.Kubeconfig, fmt.Appendf(nil, kubeconfig, s.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: proxy, cluster: {server: %q}}]
contexts: [{name: proxy, context: {cluster: proxy}}]
current-context: proxy
`
