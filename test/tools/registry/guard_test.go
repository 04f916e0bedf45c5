// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

func TestAccessRights(t *testing.T) {
	var log bytes.Buffer
	store := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())), registry.Logger(discard()))
	for _, repository := range []string{"public/app", "team-a/app", "team-b/app"} {
		if err := put(store, repository, ""); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuard(store, "master", &log)
	ask := func(method, path, user, password, body string) int {
		request := httptest.NewRequest(method, path, strings.NewReader(body))
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		answer := httptest.NewRecorder()
		g.ServeHTTP(answer, request)
		return answer.Code
	}
	if got := ask(http.MethodPut, "/users/robot", administrator, "master", `{"password":"secret","repositories":"team-a/"}`); got != http.StatusOK {
		t.Fatalf("create a user: status %d", got)
	}

	for _, test := range []struct {
		reason, method, path, user, password string
		want                                 int
	}{
		{"clients are asked to log in", "GET", "/v2/", "", "", 401},
		{"a user can log in", "GET", "/v2/", "robot", "secret", 200},
		{"public images are readable anonymously", "HEAD", "/v2/public/app/manifests/1", "", "", 200},
		{"not with a wrong password", "HEAD", "/v2/public/app/manifests/1", "robot", "wrong", 401},
		{"public images are not writable anonymously", "PUT", "/v2/public/app/manifests/2", "", "", 401},
		{"private images are not readable anonymously", "GET", "/v2/team-a/app/manifests/1", "", "", 401},
		{"a user reads its own repositories", "GET", "/v2/team-a/app/manifests/1", "robot", "secret", 200},
		{"a wrong password is rejected", "GET", "/v2/team-a/app/manifests/1", "robot", "wrong", 401},
		{"a user reads no other repositories", "GET", "/v2/team-b/app/manifests/1", "robot", "secret", 403},
		{"a user cannot write", "PUT", "/v2/team-a/app/manifests/2", "robot", "secret", 403},
		{"a user cannot create users", "PUT", "/users/other", "robot", "secret", 403},
		{"a user cannot list requests", "GET", "/requests/team-b/app", "robot", "secret", 404},
		{"requests are not listed anonymously", "GET", "/requests/team-a/app", "", "", 401},
		{"an unknown user is rejected", "GET", "/v2/team-a/app/manifests/1", "ghost", "", 401},
		{"an empty prefix is rejected", "PUT", "/users/other", administrator, "master", 400},
		{"a user is removed", "DELETE", "/users/robot", administrator, "master", 200},
		{"a removed user is rejected", "GET", "/v2/team-a/app/manifests/1", "robot", "secret", 401},
	} {
		if got := ask(test.method, test.path, test.user, test.password, "{}"); got != test.want {
			t.Errorf("%s: %s %s as %q returned %d, want %d", test.reason, test.method, test.path, test.user, got, test.want)
		}
	}

	for _, password := range []string{"secret", "master", "wrong"} {
		if strings.Contains(log.String(), password) {
			t.Errorf("log contains the password %q", password)
		}
	}
	var first line
	if err := json.NewDecoder(&log).Decode(&first); err != nil || first.User != administrator || first.Status != http.StatusOK {
		t.Errorf("log begins with %+v, %v", first, err)
	}
}

func TestRequestsAreKeptByRepository(t *testing.T) {
	g := newGuard(http.NotFoundHandler(), "master", io.Discard)
	read := func(path string) *httptest.ResponseRecorder {
		request, answer := httptest.NewRequest(http.MethodGet, path, http.NoBody), httptest.NewRecorder()
		request.SetBasicAuth(administrator, "master")
		g.ServeHTTP(answer, request)
		return answer
	}
	kept := func(repository string) []string {
		t.Helper()
		answer := read("/requests/" + repository)
		var lines []line
		if err := json.NewDecoder(answer.Body).Decode(&lines); err != nil || answer.Code != http.StatusOK {
			t.Fatalf("list requests for %s: %d, %v", repository, answer.Code, err)
		}
		paths := make([]string, 0, len(lines))
		for _, l := range lines {
			paths = append(paths, l.Path)
		}
		return paths
	}
	if got := kept("team-a/app"); len(got) != 0 {
		t.Errorf("initially kept: %q", got)
	}
	want := []string{"/v2/team-a/app/manifests/1", "/v2/team-a/app/manifests/2"}
	read(want[0])
	read("/v2/team-b/app/manifests/1")
	read(want[1])
	if got := kept("team-a/app"); !slices.Equal(got, want) {
		t.Errorf("kept: %q, want %q", got, want)
	}
	for range maxKept {
		read("/v2/team-b/app/manifests/1")
	}
	if got := kept("team-a/app"); len(got) != 0 {
		t.Errorf("still kept after many others: %q", got)
	}
	if got := len(kept("team-b/app")); got != maxKept-1 { // The last list request is one of them.
		t.Errorf("%d are kept, want %d", got, maxKept-1)
	}
}

func TestRepositoryOf(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/":                                 "",
		"/v2/app/manifests/1":                  "app",
		"/v2/team/app/manifests/sha256:00":     "team/app",
		"/v2/team/blobs/app/blobs/sha256:00":   "team/blobs/app",
		"/v2/team/app/blobs/uploads/?digest=x": "team/app",
		"/users/robot":                         "",
	} {
		if got := repositoryOf(path); got != want {
			t.Errorf("repositoryOf(%q) = %q, want %q", path, got, want)
		}
	}
}
