// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"pullsecrets.dev/test/env"
)

// loopbackRegistry is a registry in this process, which Knative's controller and ours ask for
// manifests. Each account may read the repositories below its own name, and no others.
type loopbackRegistry struct {
	// host is the prefix of its images.
	host string

	mu        sync.Mutex
	passwords map[string]string
	// failing is the status of all answers, or zero.
	failing int
	asked   []string
	// clients are the user agents of all requests.
	clients []string
}

// newLoopbackRegistry starts a registry without accounts.
func newLoopbackRegistry(t *testing.T) *loopbackRegistry {
	t.Helper()
	env.Get(t).Need(t, env.LoopbackCalls)
	r := &loopbackRegistry{passwords: map[string]string{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// setPassword creates an account or changes its password.
func (r *loopbackRegistry) setPassword(name, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passwords[name] = password
}

// fail makes the registry answer every request with a status. Zero ends it.
func (r *loopbackRegistry) fail(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = status
}

// requests returns the user and the path of each request that had a credential.
func (r *loopbackRegistry) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

// agents counts the requests of a client, with a credential or without.
func (r *loopbackRegistry) agents(client string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, agent := range r.clients {
		if strings.HasPrefix(agent, client) {
			n++
		}
	}
	return n
}

// ServeHTTP answers requests for manifests.
func (r *loopbackRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, request.UserAgent())
	name, password, named := request.BasicAuth()
	if named {
		r.asked = append(r.asked, name+" "+request.URL.Path)
	}
	known, found := r.passwords[name]
	switch {
	case r.failing != 0:
		w.WriteHeader(r.failing)
	case !named || !found || known != password:
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	case request.URL.Path == "/v2/":
	case !strings.HasPrefix(request.URL.Path, "/v2/"+name+"/"):
		w.WriteHeader(http.StatusForbidden)
	default:
		const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", imageDigest)
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		if request.Method == http.MethodGet {
			fmt.Fprint(w, manifest)
		}
	}
}

// imageDigest is the digest of every image of a loopbackRegistry.
const imageDigest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
