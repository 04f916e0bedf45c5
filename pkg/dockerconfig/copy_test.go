// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestRegistries(t *testing.T) {
	config := parse(t, auths(
		"quay.io/acme", login("u", "p"),
		"https://ghcr.io", login("u", "p"), "ghcr.io", login("u", "p"),
		"http://reg.example.com:5000/v2/", login("u", "p"),
		"https://index.docker.io/v1/", login("u", "p"),
		"*.example.com", login("u", "p"),
	))
	want := []string{"*.example.com", "ghcr.io", "index.docker.io", "quay.io/acme", "reg.example.com:5000"}
	if diff := cmp.Diff(want, config.Registries()); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

// copied returns the keys of a copy, and which registry's credential each has.
func copied(t *testing.T, c Config) map[string]string {
	t.Helper()
	got := map[string]string{}
	for key, credential := range parse(t, string(c.Copy())).contents().entries {
		got[key] = credential.username
	}
	return got
}

func TestHub(t *testing.T) {
	type m = map[string]string
	const hub = "https://index.docker.io/v1/"
	tests := []struct {
		reason string
		source m
		added  m
	}{
		{"the plain key", m{"docker.io": "a"}, m{hub: "a"}},
		{"with https", m{"https://docker.io": "a"}, m{hub: "a"}},
		{"with http and a slash", m{"http://docker.io/": "a"}, m{hub: "a"}},
		{"with a version", m{"https://docker.io/v1/": "a"}, m{hub: "a"}},
		{"with another version", m{"docker.io/v2/": "a"}, m{hub: "a"}},
		{"several spellings", m{"docker.io": "a", "https://docker.io/v1/": "a"}, m{hub: "a"}},
		{"a path is kept", m{"docker.io/acme": "a"}, m{"index.docker.io/acme": "a"}},
		{"a path behind a version", m{"https://docker.io/v1/acme": "a"}, m{"index.docker.io/acme": "a"}},
		{"a path with a slash", m{"docker.io/acme/": "a"}, m{"index.docker.io/acme/": "a"}},
		{"a path that looks like a version", m{"docker.io/v1/v2/acme": "a"}, m{"index.docker.io/v1/v2/acme": "a"}},
		{"a version that none cuts off", m{"docker.io/v1": "a"}, m{"index.docker.io/v1": "a"}},
		{"each path its own", m{"docker.io": "a", "docker.io/acme": "b"}, m{hub: "a", "index.docker.io/acme": "b"}},
		{"the Hub key is there", m{"docker.io": "a", hub: "b"}, nil},
		{"in another spelling", m{"docker.io": "a", "index.docker.io": "b"}, nil},
		{"a Hub key is not shadowed by a path", m{"docker.io/acme": "a", hub: "b"}, nil},
		{"nor by a longer path", m{"docker.io/acme/app": "a", "index.docker.io/acme": "b"}, nil},
		{"a Hub key with a path stays the better one", m{"docker.io": "a", "index.docker.io/acme": "b"}, m{hub: "a"}},
		{"another path does no harm", m{"docker.io/acme": "a", "index.docker.io/other": "b"}, m{"index.docker.io/acme": "a"}},
		{"a wildcard that finds the Hub is not shadowed", m{"docker.io": "a", "*.docker.io": "b"}, nil},
		{"nor a wildcard with a path", m{"docker.io": "a", "*.docker.io/acme": "b"}, nil},
		{"a wildcard that does not", m{"docker.io": "a", "*.example.io": "b", "*.io": "c"}, m{hub: "a"}},
		{"a wildcard does not name the Hub", m{"*.io": "a"}, nil},
		{"another key that does not match", m{"docker.*": "a"}, nil},
		{"a port is another registry", m{"docker.io:443": "a"}, nil},
		{"so is another host", m{"registry-1.docker.io": "a", "hub.docker.com": "b"}, nil},
		{"no Hub at all", m{"ghcr.io": "a"}, nil},
		{"only the Hub key", m{hub: "a"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			var entries []string
			for key, username := range tt.source {
				entries = append(entries, key, login(username, "p"))
			}
			want := maps.Clone(tt.source)
			maps.Copy(want, tt.added)
			if diff := cmp.Diff(want, copied(t, parse(t, auths(entries...)))); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
		})
	}
}

func TestCopy(t *testing.T) {
	tests := []struct {
		reason, source, want string
	}{
		{"sorted, and auth alone", `{"auths":{"quay.io":{"username":"u","password":"p","email":"e"},"ghcr.io":{"auth":"dTpwYQ"}},"HttpHeaders":{}}`,
			`{"auths":{"ghcr.io":{"auth":"dTpwYQ=="},"quay.io":{"auth":"dTpw"}}}`},
		{"keys stay as written", auths("https://ghcr.io/v1/", login("u", "p")), auths("https://ghcr.io/v1/", login("u", "p"))},
		{"a colon in the username", auths("ghcr.io", `{"username":"u:v","password":"p"}`), auths("ghcr.io", `{"password":"p","username":"u:v"}`)},
		{"the Hub", auths("docker.io", login("u", "p")), auths("docker.io", login("u", "p"), "https://index.docker.io/v1/", login("u", "p"))},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(parse(t, tt.source).Copy())); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	one := parse(t, auths("ghcr.io", login("u", "p"), "quay.io", login("u", "q")))
	same := map[string]string{
		"another order":     auths("quay.io", login("u", "q"), "ghcr.io", login("u", "p")),
		"other fields":      auths("ghcr.io", `{"username":"u","password":"p"}`, "quay.io", `{"email":"e","auth":"dTpx"}`),
		"white space":       strings.ReplaceAll(auths("ghcr.io", login("u", "p"), "quay.io", login("u", "q")), ",", " ,\n"),
		"its own copy":      string(one.Copy()),
		"an earlier double": auths("ghcr.io", login("u", "old"), "quay.io", login("u", "q"), "ghcr.io", login("u", "p")),
	}
	for reason, text := range same {
		if parse(t, text).Digest() != one.Digest() {
			t.Errorf("%s: another digest", reason)
		}
	}
	for reason, text := range map[string]string{
		"another password": auths("ghcr.io", login("u", "p2"), "quay.io", login("u", "q")),
		"exchanged":        auths("ghcr.io", login("u", "q"), "quay.io", login("u", "p")),
		"one less":         auths("ghcr.io", login("u", "p")),
	} {
		if parse(t, text).Digest() == one.Digest() {
			t.Errorf("%s: the same digest", reason)
		}
	}
	legacy, err := Parse(corev1.SecretTypeDockercfg, map[string][]byte{
		corev1.DockerConfigKey: []byte(`{"quay.io":` + login("u", "q") + `,"ghcr.io":` + login("u", "p") + `}`),
	})
	if err != nil || legacy.Digest() != one.Digest() {
		t.Errorf("the legacy type: another digest (%v)", err)
	}
}

func TestKubeletLogins(t *testing.T) {
	host := parse(t, auths("ghcr.io", login("host", "p")))
	path := parse(t, auths("ghcr.io/acme", login("path", "p"), "quay.io", login("other", "p")))
	hub := parse(t, auths("https://index.docker.io/v1/", login("hub", "p")))
	for _, test := range []struct {
		reason, image string
		configs       []Config
		want          []string
	}{
		{"no config", "ghcr.io/acme/app", nil, nil},
		{"an entry of another registry", "ghcr.io/acme/app", []Config{hub}, nil},
		{"the longer path first, whatever the order of the configs", "ghcr.io/acme/app", []Config{host, path}, []string{"path", "host"}},
		{"another path", "ghcr.io/other/app", []Config{host, path}, []string{"host"}},
		{"Docker Hub", "docker.io/library/app", []Config{hub, host}, []string{"hub"}},
		{"a host that the kubelet takes for Docker Hub", "localhost/app", []Config{hub}, nil},
		{"no image", "UPPER//", []Config{host}, nil},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var got []string
			for _, login := range KubeletLogins(test.image, test.configs...) {
				got = append(got, login.Username)
				if text := fmt.Sprintf("%v %+v %#v %s", login, login, login, login); strings.Contains(text, login.Username) {
					t.Errorf("a login prints as %q", text)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
		})
	}
}
