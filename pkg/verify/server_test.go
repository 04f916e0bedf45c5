// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/dockerconfig"
)

const canary = "canary-password"

// server is a TLS server that records the requests that had a credential.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	seen     []string
}

func newServer(t *testing.T, start func(*httptest.Server), handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		if a := r.Header.Get("Authorization"); a != "" {
			s.seen = append(s.seen, a)
		}
		s.mu.Unlock()
		handler(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return s.Listener.Addr().String() }

func (s *server) counts() (requests, credentials int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, len(s.seen)
}

// newTestChecker returns a checker that trusts the test's servers and is fast.
func newTestChecker(t *testing.T, timeout time.Duration) *Checker {
	t.Helper()
	trusting := httptest.NewTLSServer(nil)
	t.Cleanup(trusting.Close)
	roots := x509.NewCertPool()
	roots.AddCert(trusting.Certificate())
	return newChecker(time.Millisecond, timeout, func() *http.Transport {
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxResponseHeaderBytes: maxHeader}
	})
}

func configOf(t *testing.T, password string, hosts ...string) dockerconfig.Config {
	t.Helper()
	auths := map[string]any{}
	for _, host := range hosts {
		auths[host] = map[string]string{"username": "robot", "password": password}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	config, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// manifest answers as for an image.
func manifest(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))
	w.Header().Set("Content-Length", "2")
}

// basic lets only the canary in, and then answers with a status.
func basic(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, password, found := r.BasicAuth()
		switch {
		case !found || password != canary:
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":%q}]}`, password) // It repeats what it gets.
		case r.URL.Path == "/v2/":
		case status != http.StatusOK:
			w.WriteHeader(status)
			fmt.Fprint(w, password)
		default:
			manifest(w)
		}
	}
}

// bearer names a token server, and lets its token in.
func bearer(realm string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="registry",scope="repository:acme/app:pull"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/v2/":
			manifest(w)
		}
	}
}

// tokens gives a token for the canary.
func tokens(w http.ResponseWriter, r *http.Request) {
	if _, password, _ := r.BasicAuth(); password != canary {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, password)
		return
	}
	fmt.Fprint(w, `{"token":"good"}`)
}
