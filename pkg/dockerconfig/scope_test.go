// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// configFor returns a config whose passwords are the keys' numbers.
func configFor(t *testing.T, keys ...string) Config {
	t.Helper()
	entries := map[string]credential{}
	for i, key := range keys {
		entries[key] = credential{"robot", fmt.Sprint(i)}
	}
	config, ambiguous := newConfig(entries)
	if ambiguous != "" {
		t.Fatalf("%v is ambiguous", keys)
	}
	return config
}

// passwords returns the password of each registry.
func passwords(c Config) map[string]string {
	all := map[string]string{}
	for registry, credential := range c.contents().credentials {
		all[registry] = credential.password
	}
	return all
}

func TestScoped(t *testing.T) {
	for _, tt := range []struct {
		reason     string
		keys       []string
		registries []string
		want       map[string]string
		uncovered  []string
	}{
		{
			reason: "a host becomes a path", keys: []string{"ghcr.io", "quay.io"}, registries: []string{"ghcr.io/acme"},
			want: map[string]string{"ghcr.io/acme": "0"},
		},
		{
			reason: "several registries, of which one is below another", keys: []string{"ghcr.io", "quay.io:443/team"},
			registries: []string{"ghcr.io/acme/", "ghcr.io", "quay.io:443/team/app"},
			want:       map[string]string{"ghcr.io/acme/": "0", "ghcr.io": "0", "quay.io:443/team/app": "1"},
		},
		{
			reason: "a longer path of the source stays beside", keys: []string{"ghcr.io", "ghcr.io/acme/tools", "ghcr.io/other"}, registries: []string{"ghcr.io/acme"},
			want: map[string]string{"ghcr.io/acme": "0", "ghcr.io/acme/tools": "1"},
		},
		{
			reason: "the longest path of the source counts", keys: []string{"ghcr.io", "ghcr.io/ac"}, registries: []string{"ghcr.io/acme"},
			want: map[string]string{"ghcr.io/acme": "1"},
		},
		{
			reason: "a wildcard becomes a host", keys: []string{"*.pkg.dev", "*.pkg.dev/acme/x"}, registries: []string{"europe-docker.pkg.dev/acme"},
			want: map[string]string{"europe-docker.pkg.dev/acme": "0", "europe-docker.pkg.dev/acme/x": "1"},
		},
		{
			reason: "a wildcard that is tried after a host is not used", keys: []string{"a.pkg.dev", "*.pkg.dev/acme/x"}, registries: []string{"a.pkg.dev/acme"},
			want: map[string]string{"a.pkg.dev/acme": "0"},
		},
		{
			reason: "Docker Hub by the key of the docker client", keys: []string{"https://index.docker.io/v1/"}, registries: []string{"docker.io/acme"},
			want: map[string]string{"docker.io/acme": "0", "index.docker.io/acme": "0"},
		},
		{
			reason: "Docker Hub as a whole, by its other name", keys: []string{"docker.io"}, registries: []string{"index.docker.io"},
			want: map[string]string{"docker.io": "0", "index.docker.io": "0"},
		},
		{
			reason: "Docker Hub with two credentials", keys: []string{"https://index.docker.io/v1/", "docker.io/acme/x"}, registries: []string{"docker.io/acme"},
			want: map[string]string{"docker.io/acme": "0", "index.docker.io/acme": "0", "docker.io/acme/x": "1"},
		},
		{
			reason: "a path that begins like a version", keys: []string{"ghcr.io"}, registries: []string{"ghcr.io/v1/v2/acme"},
			want: map[string]string{"ghcr.io/v2/acme": "0"},
		},
		{
			reason: "no widening", keys: []string{"ghcr.io/acme", "quay.io:5000", "docker.io/acme", "*.docker.io"},
			registries: []string{"ghcr.io", "ghcr.io/acm", "ghcr.io/acme/app", "quay.io", "quay.io:443", "docker.io", "evil.io"},
			uncovered:  []string{"ghcr.io", "ghcr.io/acm", "quay.io", "quay.io:443", "docker.io", "evil.io"},
		},
		{
			reason: "a wildcard is no credential for hosts without dot", keys: []string{"docker.io", "*.docker.io"}, registries: []string{"docker.io"},
			uncovered: []string{"docker.io"},
		},
		{reason: "no registry", keys: []string{"ghcr.io"}, registries: []string{"", "https://"}, uncovered: []string{"", "https://"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			scoped, err := configFor(t, tt.keys...).Scoped(tt.registries)
			if len(tt.uncovered) > 0 {
				uncovered := new(UncoveredError)
				if !errors.As(err, &uncovered) || !slices.Equal(uncovered.Registries, tt.uncovered) {
					t.Errorf("Scoped says %v, want %q as uncovered", err, tt.uncovered)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, passwords(scoped)); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, passwords(scoped.WithHub())); diff != "" {
				t.Errorf("Of a copy (-want, +got):\n%s", diff)
			}
			again, err := Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: scoped.Copy()})
			if err != nil || again.Digest() != scoped.Digest() {
				t.Errorf("The copy is read as %v, %v", again, err)
			}
		})
	}
}

// A copy with one large credential for many paths must not exceed the size of a Secret.
func TestScopedIsBounded(t *testing.T) {
	config, _ := newConfig(map[string]credential{"ghcr.io": {"robot", strings.Repeat("x", 100<<10)}})
	var registries []string
	for i := range 20 {
		registries = append(registries, fmt.Sprint("ghcr.io/team-", i))
	}
	if _, err := config.Scoped(registries); !errors.As(err, new(*InvalidError)) || !strings.Contains(err.Error(), "spec.registries: too many credentials") {
		t.Errorf("Scoped says %v", err)
	}
}

// Keys and images that have much in common, so that random ones collide.
var (
	scopeHosts = []string{"ghcr.io", "*.io", "a.b.io", "*.b.io", "g*.io", "docker.io", "index.docker.io", "*.docker.io", "ghcr.io:5000", "localhost"}
	scopePaths = []string{"", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/v1/a"}
	scopeImage = []string{"", "/a/x", "/a/b", "/a/b/c/d", "/ab/c", "/b", "/v1/a/x", "/abc"}
)

// Whatever the source and the registries: each reader finds for an image below one of them the
// credential that it would find in the copy of the whole source, and for other images none.
func TestScopedLaws(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	covered := 0
	for range 6000 {
		entries := map[string]credential{}
		for i := range 1 + random.IntN(5) {
			entries[keyFor(pick(scopeHosts), pick(scopePaths))] = credential{"robot", fmt.Sprint(i)}
		}
		source, ambiguous := newConfig(entries)
		var wanted []string
		for range 1 + random.IntN(3) {
			wanted = append(wanted, pick(scopeHosts)+pick(scopePaths))
		}
		if ambiguous != "" || slices.ContainsFunc(wanted, func(w string) bool { return strings.ContainsAny(w, "*") || strings.Contains(w, "/v1") }) {
			continue
		}
		scoped, err := source.Scoped(wanted)
		if err != nil {
			continue
		}
		covered++
		for _, host := range append(slices.Clone(scopeHosts), "localhost", "gh.io", "x.b.io") {
			for _, path := range scopeImage {
				if !strings.Contains(host, "*") && path != "" {
					checkScopedLaw(t, source.WithHub(), scoped.WithHub(), wanted, host+path)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("of %v for %q, which is %v", source, wanted, scoped)
		}
	}
	if covered < 100 {
		t.Errorf("only %d sources covered what was asked of them", covered)
	}
}

func checkScopedLaw(t *testing.T, source, scoped Config, wanted []string, image string) {
	t.Helper()
	for reader := range Readers {
		target, ok := reader.Target(image)
		if !ok {
			continue
		}
		before, was := firstOf(source, reader, target)
		after, is := firstOf(scoped, reader, target)
		below := slices.ContainsFunc(wanted, func(w string) bool {
			return strings.HasPrefix(strings.Replace(target.Repository, indexHost, hubHost, 1), strings.Replace(w, indexHost, hubHost, 1)) && sameHostAs(target, w)
		})
		switch {
		case below && (!is || before != after):
			t.Errorf("%s uses %q of the source for %s, and %q of its part", reader, before.password, image, after.password)
		case !below && is && !isForeign(scoped, reader, target):
			t.Errorf("%s finds %q for %s, which is below none of the registries", reader, after.password, image)
		case is && !was:
			t.Errorf("%s finds %q for %s, for which the source has none", reader, after.password, image)
		}
	}
}

func sameHostAs(target Target, wanted string) bool {
	host, _, _ := strings.Cut(wanted, "/")
	return strings.Replace(target.Host(), indexHost, hubHost, 1) == strings.Replace(host, indexHost, hubHost, 1)
}

func isForeign(c Config, reader Reader, target Target) bool {
	return reader.Matches(target, FactsOf(c.contents().index))[0].Foreign
}

// firstOf returns the credential that a reader tries first.
func firstOf(c Config, reader Reader, target Target) (credential, bool) {
	facts := FactsOf(c.contents().index)
	found := reader.Matches(target, facts)
	if len(found) == 0 {
		return credential{}, false
	}
	return c.contents().credentials[facts.Entries[found[0].Entry].registry], true
}

func TestPreceding(t *testing.T) {
	all := FactsOf([]string{"ghcr.io", "ghcr.io/acme", "*.example.com", "localhost:5000", "index.docker.io"})
	for registry, want := range map[string]string{
		"ghcr.io": "ghcr.io", "ghcr.io/other": "ghcr.io", "ghcr.io/acme": "ghcr.io/acme", "ghcr.io/acme-tools": "ghcr.io/acme", "ghcr.io/acm": "ghcr.io",
		"a.example.com/b": "*.example.com", "*.example.com": "*.example.com", "localhost": "", "localhost:5000/a": "localhost:5000", "docker.io": "", "quay.io": "",
	} {
		if got, found := all.Preceding(registry); got != want || found != (want != "") {
			t.Errorf("Preceding(%q) = %q, %t, want %q", registry, got, found, want)
		}
	}
}
