// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// administrator has all rights.
const administrator = "admin"

// publicPrefix is the prefix of repositories that can be read anonymously.
const publicPrefix = "public/"

// maxKept is the maximum number of lines kept for the administrator: many times the needs
// of a test run, and a few megabytes.
const maxKept = 20_000

// user is an account that may read the repositories with a prefix.
type user struct {
	Password     string `json:"password"`
	Repositories string `json:"repositories"`
}

// guard is an authorizing proxy of a registry that logs requests.
type guard struct {
	registry http.Handler

	mu    sync.Mutex
	users map[string]user
	log   *json.Encoder
	kept  []line // latest, in order
}

// line is a line of the log. User is set even if authentication failed.
type line struct {
	Time       time.Time `json:"time"`
	User       string    `json:"user"` // empty for an anonymous request
	Method     string    `json:"method"`
	Repository string    `json:"repository"`
	Path       string    `json:"path"`
	Status     int       `json:"status"`
}

func newGuard(registry http.Handler, password string, log io.Writer) *guard {
	return &guard{
		registry: registry,
		users:    map[string]user{administrator: {Password: password}},
		log:      json.NewEncoder(log),
	}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &recorder{ResponseWriter: w, status: http.StatusOK}
	repository := repositoryOf(r.URL.Path)
	g.serve(answer, r, repository)

	name, _, _ := r.BasicAuth()
	l := line{Time: time.Now(), User: name, Method: r.Method, Repository: repository, Path: r.URL.Path, Status: answer.status}
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.log.Encode(l) // Nothing to do about it.
	if len(g.kept) == maxKept {
		g.kept = g.kept[1:]
	}
	g.kept = append(g.kept, l)
}

func (g *guard) serve(w http.ResponseWriter, r *http.Request, repository string) {
	name, password, named := r.BasicAuth()
	known, proven := g.identify(name, password)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	open := reads && strings.HasPrefix(repository, publicPrefix)
	switch {
	case r.URL.Path == "/health":
		// A health check.
	case named && !proven, !named && !open:
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		reject(w, http.StatusUnauthorized, "UNAUTHORIZED")
	case strings.HasPrefix(r.URL.Path, "/users/") && name == administrator:
		g.changeUser(w, r, strings.TrimPrefix(r.URL.Path, "/users/"))
	case strings.HasPrefix(r.URL.Path, "/requests/") && name == administrator:
		g.listRequests(w, strings.TrimPrefix(r.URL.Path, "/requests/"))
	case name == administrator, open, reads && (repository == "" || strings.HasPrefix(repository, known.Repositories)):
		g.registry.ServeHTTP(w, r)
	default:
		reject(w, http.StatusForbidden, "DENIED")
	}
}

// reject responds as the registry protocol requires.
func reject(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"code": code, "message": http.StatusText(status)}}})
}

func (g *guard) identify(name, password string) (user, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known, found := g.users[name]
	return known, found && subtle.ConstantTimeCompare([]byte(known.Password), []byte(password)) == 1
}

func (g *guard) changeUser(w http.ResponseWriter, r *http.Request, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch r.Method {
	case http.MethodPut:
		var u user
		// An empty password or prefix would match all.
		if err := json.NewDecoder(r.Body).Decode(&u); err != nil || u.Password == "" || u.Repositories == "" || name == administrator {
			http.Error(w, "want a user other than the administrator, with a password and repositories", http.StatusBadRequest)
			return
		}
		g.users[name] = u
	case http.MethodDelete:
		if name != administrator {
			delete(g.users, name)
		}
	}
}

// listRequests returns the log lines of a repository, the oldest first.
func (g *guard) listRequests(w http.ResponseWriter, repository string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	lines := []line{}
	for _, l := range g.kept {
		if l.Repository == repository {
			lines = append(lines, l)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(lines) // The client is gone.
}

// repositoryOf returns the repository in a path such as /v2/team/app/blobs/sha256:...
func repositoryOf(path string) string {
	rest, found := strings.CutPrefix(path, "/v2/")
	if !found {
		return ""
	}
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(rest, part); i > 0 {
			return rest[:i]
		}
	}
	return ""
}

// recorder records the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
