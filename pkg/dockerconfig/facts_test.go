// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

// The types of pull Secrets.
const usual, legacy = corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg

// What each reader makes of entries that Parse rejects.
func TestInspect(t *testing.T) {
	const both, kubeletOnly, resolutionOnly, none = "both", "the kubelet", "tag resolution", "none"
	good := login("u", canary)
	tests := []struct {
		reason           string
		secretType       corev1.SecretType
		text             string
		rejects, ghcrFor string
	}{
		{"a good one", usual, auths("ghcr.io", good), none, both},
		{"a good one, legacy", legacy, `{"ghcr.io":` + good + `}`, none, both},
		{"another type", corev1.SecretTypeOpaque, auths("ghcr.io", good), none, none},
		{"nothing", usual, ``, none, none},
		{"null", usual, `null`, none, none},
		{"null, legacy", legacy, ` null `, none, none},
		{"no auths", usual, `{}`, none, none},
		{"auths is null in the end", usual, `{"auths":{"ghcr.io":` + good + `},"AUTHS":null}`, none, none},
		{"auths in two parts", usual, `{"auths":{"ghcr.io":` + good + `},"AUTHS":{"quay.io":` + good + `}}`, none, both},
		{"credential helpers", usual, `{"auths":{"ghcr.io":` + good + `},"credsStore":"desktop"}`, none, both},
		{"one of two without a credential", usual, auths("ghcr.io", good, "quay.io", "{}"), none, both},
		{"a token and a password", usual, auths("ghcr.io", `{"auth":"dTpw","identitytoken":"`+canary+`"}`), none, both},
		{"a token alone", usual, auths("ghcr.io", `{"identitytoken":"`+canary+`"}`), none, resolutionOnly},
		{"another token alone", usual, auths("ghcr.io", `{"registrytoken":"`+canary+`"}`), none, resolutionOnly},
		{"a username alone", usual, auths("ghcr.io", `{"username":"`+canary+`"}`), none, kubeletOnly},
		{"a password alone", usual, auths("ghcr.io", `{"password":"`+canary+`"}`), none, none},
		{"an empty entry", usual, auths("ghcr.io", `{}`), none, none},
		{"an entry that is null", usual, auths("ghcr.io", `null`), none, none},
		{"user info in the key", usual, auths("https://u:"+canary+"@ghcr.io", good), none, both},
		{"the last of two", usual, auths("ghcr.io", `{}`, "ghcr.io", good), none, both},
		{"the last of two is empty", usual, auths("ghcr.io", good, "ghcr.io", `{}`), none, none},
		// Tag resolution uses one of two at random.
		{"two spellings, one empty", usual, auths("ghcr.io", good, "https://ghcr.io", `{}`), none, kubeletOnly},
		{"two spellings, the other one empty", usual, auths("ghcr.io", `{}`, "https://ghcr.io", good), none, kubeletOnly},

		{"no JSON", usual, `{"auths":{"ghcr.io":` + good, both, none},
		{"a list", usual, `[]`, both, none},
		{"a list, legacy", legacy, `[]`, both, none},
		{"auths is a list", usual, `{"auths":[]}`, both, none},
		{"an entry is a string", usual, auths("ghcr.io", quoted(canary)), both, none},
		{"auth is no base64", usual, auths("ghcr.io", `{"auth":"`+canary+`"}`), both, none},
		{"auth is a number", usual, auths("ghcr.io", `{"auth":1}`), both, none},
		{"auth was a number", usual, auths("ghcr.io", `{"auth":1,"auth":"dTpw"}`), both, both},
		{"the email is a number", usual, auths("ghcr.io", `{"auth":"dTpw","email":1}`), kubeletOnly, both},
		{"a token is a number", usual, auths("ghcr.io", `{"auth":"dTpw","identitytoken":1}`), resolutionOnly, both},
		{"a header is a number", usual, `{"auths":{"ghcr.io":{"auth":"dTpw"}},"HttpHeaders":{"a":1}}`, kubeletOnly, both},
		{"a key that is no URL", usual, auths("ghcr.io", good, "quay.io:x", good), resolutionOnly, both},
		{"a key that is no URL, removed later", usual, `{"auths":{"quay.io:x":` + good + `},"AUTHS":null,"auths":{"ghcr.io":` + good + `}}`, none, both},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			f := Inspect(tt.secretType, dataOf(tt.secretType, tt.text))
			rejects := [Readers]bool{f.Rejected[TagResolution] != nil, f.Rejected[Kubelet] != nil}
			var finds [Readers]bool
			for reader := range Readers {
				target, _ := reader.Target("ghcr.io/acme/app")
				for _, match := range reader.Matches(target, f) {
					finds[reader] = !f.Entries[match.Entry].Uses[reader].Empty
				}
			}
			for _, c := range []struct {
				what string
				got  [Readers]bool
				want string
			}{{"it is rejected by", rejects, tt.rejects}, {"the entry is used by", finds, tt.ghcrFor}} {
				if want := [Readers]bool{c.want == both || c.want == resolutionOnly, c.want == both || c.want == kubeletOnly}; c.got != want {
					t.Errorf("%s %v, want %s", c.what, c.got, c.want)
				}
			}
			if _, err := Parse(tt.secretType, dataOf(tt.secretType, tt.text)); err == nil && rejects != [Readers]bool{} {
				t.Errorf("a reader rejects what Parse accepts")
			}
			silent(t, fmt.Sprintf("%+v", f), fmt.Sprint(f.Rejected))
		})
	}
}

// A key that could be a misplaced credential is not shown.
func TestInspectShowsNoCredential(t *testing.T) {
	f := Inspect(usual, secret(auths("ghcr.io", login("u", "p"), canary, login("u", "p"), "quay.io/%0A"+canary, login("u", "p"), canary+":x", login("u", "p"))))
	var keys []string
	for _, e := range f.Entries {
		keys = append(keys, e.Key)
	}
	if diff := cmp.Diff([]string{"ghcr.io", "entry 2"}, keys); diff != "" {
		t.Errorf("keys (-want, +got):\n%s", diff)
	}
	if got := fmt.Sprint(f.Rejected[TagResolution]); !strings.Contains(got, ": entry 4: expected a registry") {
		t.Errorf("rejected: %s", got)
	}
	silent(t, fmt.Sprint(f.Rejected), fmt.Sprint(keys))
}

// Entries with very long or very many keys are not kept.
func TestInspectIsBounded(t *testing.T) {
	var many []string
	for i := range MaxSize / 8 {
		many = append(many, fmt.Sprintf("%05d.io", i), login("u", "p"))
	}
	for _, test := range []struct {
		reason    string
		entries   []string
		oversized bool
	}{
		{"as many as are kept", many[:2*MaxEntries], false},
		{"one more", many[:2*MaxEntries+2], true},
		{"many", many, true},
		{"a long key", []string{"ghcr.io/" + strings.Repeat("a", MaxSize), login("u", "p")}, true},
	} {
		f := Inspect(usual, secret(auths(test.entries...)))
		if f.Oversized != test.oversized || f.Oversized == (len(f.Entries) > 0) {
			t.Errorf("%s: oversized %t with %d entries, want %t", test.reason, f.Oversized, len(f.Entries), test.oversized)
		}
		if f.Size() > MaxSize {
			t.Errorf("%s: %d bytes of registries", test.reason, f.Size())
		}
	}
}

// What is known of a valid Secret is what its registries and its config say.
func TestFactsOfValidSecrets(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 500 {
		text := auths(someEntries(r)...)
		config, err := Parse(usual, secret(text))
		if err != nil {
			continue
		}
		f := Inspect(usual, secret(text))
		if f.Rejected != [Readers]*InvalidError{} {
			t.Errorf("%s: %v", text, f.Rejected)
		}
		registries := FactsOf(config.contents().index)
		ignoreKey := cmpopts.IgnoreFields(Entry{}, "Key") // Which may be a number.
		if diff := cmp.Diff(registries.Entries, f.Entries, cmp.AllowUnexported(Entry{}, location{}), ignoreKey); diff != "" {
			t.Errorf("%s (-registries, +facts):\n%s", text, diff)
		}
	}
}

// Of several Secrets, the order of the list decides only between equal registries.
func TestOrderOfMatches(t *testing.T) {
	all := []Facts{FactsOf([]string{"ghcr.io", "*.io"}), FactsOf([]string{"ghcr.io/acme", "quay.io"}), FactsOf([]string{"ghcr.io", "ghcr.io/ac"})}
	target, _ := TagResolution.Target("ghcr.io/acme/app:1")
	var got []string
	for _, match := range TagResolution.Matches(target, all...) {
		got = append(got, fmt.Sprintf("%d %s", match.Secret, all[match.Secret].Entries[match.Entry].Key))
	}
	if want := []string{"1 ghcr.io/acme", "2 ghcr.io/ac", "0 ghcr.io", "2 ghcr.io", "0 *.io"}; !slices.Equal(got, want) {
		t.Errorf("tries %q, want %q", got, want)
	}
}

// The key that was probably meant is found, for the reader that lacks it.
func TestIntended(t *testing.T) {
	for _, test := range []struct {
		reader          Reader
		registry, image string
		want            string
	}{
		{TagResolution, "docker.io", "nginx", hubKey},
		{Kubelet, "docker.io", "nginx", ""}, // It matches.
		{TagResolution, "docker.io/acme", "acme/app", "index.docker.io/acme"},
		{TagResolution, "docker.io/acme", "other/app", ""},
		{Kubelet, "index.docker.io/acme", "acme/app", "docker.io/acme"},
		{TagResolution, "hub.docker.com", "acme/app", hubKey},
		{Kubelet, "hub.docker.com", "acme/app", hubKey},
		{Kubelet, "registry-1.docker.io", "acme/app", hubKey},
		{TagResolution, "index.docker.io/v1", "acme/app", hubKey},
		{TagResolution, "GHCR.io/Acme", "ghcr.io/acme/app", "ghcr.io/acme"},
		{Kubelet, "ghcr.io/acme/app:1", "ghcr.io/acme/app:1", "ghcr.io/acme/app"},
		{Kubelet, "ghcr.io/v2", "ghcr.io/acme/app", "ghcr.io"},
		{TagResolution, "*.io", "nginx", ""}, // It does not name Docker Hub.
		{TagResolution, "ghcr.io", "quay.io/acme/app", ""},
	} {
		facts := FactsOf([]string{test.registry})
		target, _ := test.reader.Target(test.image)
		got := ""
		for _, intention := range facts.Intentions(test.reader) {
			if intention.Finds(target) {
				got = intention.Better
			}
		}
		if got != test.want {
			t.Errorf("%s, %s for %s: %q, want %q", test.reader, test.registry, test.image, got, test.want)
		}
	}
}

// byDefinition returns the key to use instead of one for an image, by trying it alone.
func byDefinition(e *Entry, r Reader, t Target) string {
	better := intended(e.registry)
	if path, found := strings.CutPrefix(better, hubHost); r == TagResolution && found && (path == "" || path[0] == '/') {
		better = indexKey(path)
	}
	if better == e.registry {
		return ""
	}
	if registry, reason := registryOf(better); reason != "" || registry == e.registry || !r.finds(t, registry) {
		return ""
	}
	return better
}

// What is computed once for all images is what trying each key with each image gives.
func TestIntentionsByDefinition(t *testing.T) {
	r, found := rand.New(rand.NewPCG(17, 18)), 0
	odd := []string{"hub.docker.com", "registry.hub.docker.com", "index.docker.io:443", "Index.Docker.io", "ghcr.io,quay.io", "DOCKER.io", "", "Q", "LOCALHOST"}
	for range 3000 {
		var registries []string
		for range 1 + r.IntN(4) {
			host := pick(r, someHosts)
			if r.IntN(3) == 0 {
				host = pick(r, odd)
			}
			registries = append(registries, host+pick(r, somePaths)+pick(r, []string{"", "", ":1", "/V2"}))
		}
		facts, image := FactsOf(registries), someImage(r)
		for reader := range Readers {
			target, _ := reader.Target(image)
			want, got := map[int]string{}, map[int]string{}
			for i := range facts.Entries {
				if better := byDefinition(&facts.Entries[i], reader, target); better != "" {
					want[i] = better
				}
			}
			for _, intention := range facts.Intentions(reader) {
				if intention.Finds(target) {
					got[intention.Entry] = intention.Better
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %q for %s (-definition, +intentions):\n%s", reader, registries, image, diff)
			}
			found += len(want)
		}
	}
	if found < 200 {
		t.Errorf("%d intended keys are too few to say anything", found)
	}
}

// The text of a key is shown only if its host is plausible.
func TestLooksLikeRegistry(t *testing.T) {
	long := strings.Repeat("a", 63)
	for registry, want := range map[string]bool{
		"ghcr.io": true, "ghcr.io/Acme": true, "*.io": true, "localhost": true, "localhost:5000": true, "*": true, "reg.example.com:5000/a": true,
		"[2001:db8::1]": true, "[2001:db8::1]:5000": true, long + ".io": true, "reg.io:65535": true,
		"b\u00fccher.example": true,
		"":                    false, "reg": false, "eyJhbGciOi.eyJzdWIi.c2ln": false, "GHCR.io": false, "\u00c9.io": false,
		long + "a.io": false, long + "a:1": false, strings.Repeat("aa.", 85) + "io": false,
		"reg.io:0": false, "reg.io:65536": false, "reg:5000": false, "user:12345": false, "localhost:99999": false,
		"ghcr.io/acme/app:v1": false, "ghcr.io/robot:hunter2": false, "ghcr.io,hunter2": false, "ghcr.io/hunter2!": false, "User:5000": false, "reg.io:99999": false, "[hunter2]:1": false, ":5000": false,
	} {
		if got := looksLikeRegistry(registry); got != want {
			t.Errorf("%q: %t, want %t", registry, got, want)
		}
	}
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N"
	f := Inspect(usual, secret(auths(token, login("u", "p"), token+"/a", `{"auth":1}`)))
	if text := fmt.Sprint(f.Entries[0].Key, f.Rejected); len(f.Entries) != 2 || f.Entries[0].Key == token || strings.Contains(text, token) {
		t.Errorf("a token is shown: %s", text)
	}
}

func BenchmarkInspect(b *testing.B) {
	for _, entries := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			var all []string
			for i := range entries {
				all = append(all, fmt.Sprintf("r%03d.example.com", i), login("u", "p"))
			}
			data := secret(auths(all...))
			b.ReportAllocs()
			for b.Loop() {
				Inspect(usual, data)
			}
		})
	}
}
