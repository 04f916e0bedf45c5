// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rendered returns all that is said about the config of a Secret, and what a status would list.
func rendered(secretType corev1.SecretType, data map[string][]byte, scope ...string) string {
	var all []any
	of := func(config Config, err error) {
		all = append(all, err, config, fmt.Sprintf("%+v %#v", config, config), config.Registries(), config.WithHub().Registries(), config.Remarks(), config.WithHub().Remarks())
	}
	config, err := Parse(secretType, data)
	of(config, err)
	of(config.Scoped(scope))
	entries, mistakes := Lint(secretType, data, metav1.Unix(1000, 0))
	facts := Inspect(secretType, data)
	all = append(all, entries, mistakes)
	for reader := range Readers {
		all = append(all, facts.Rejected[reader])
		for _, intention := range facts.Intentions(reader) {
			// It is shown for an image that it matches, and so has nothing that the image has not.
			all = append(all, facts.Entries[intention.Entry].Key)
		}
	}
	for i := range facts.Entries {
		all = append(all, facts.Entries[i].Key)
	}
	return fmt.Sprintf("%+v", all)
}

// someMisplaced is what somebody could paste as a key: with a secret part in place of
// each $.
var someMisplaced = []string{
	"user:$", "https://user:$", "user.name:$", "https://user:$@ghcr.io", "user:$@ghcr.io/acme", "$", "https://$", "$@ghcr.io",
	"ghcr.io/user:$", "docker.io/user:$", "https://index.docker.io/v1/user:$", "ghcr.io:$", "registry-1.docker.io/a:$", "ghcr.io,$", "GHCR.io/$",
	"ghcr.io?token=$", "ghcr.io#$", "$:5000", "$:$", "oauth2accesstoken:$", "hub.docker.com/u:$", "ghcr.io/acme/$", "*:$", "localhost:$",
}

// someMark returns a secret part.
func someMark(r *rand.Rand) string {
	if r.IntN(3) == 0 {
		return fmt.Sprint(10000 + r.IntN(50000)) // As a port.
	}
	return pick(r, []string{"eyJhbGciOi." + canary + ".c2ln", "ghp_" + canary, "dckr_pat_" + canary, "hvs." + canary, canary + "!", canary})
}

// Whatever is pasted as a key, nothing that is said about a Secret has the secret part of it.
func TestMisplacedCredentialsAreNeverShown(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	valid := 0
	for range 1000 {
		mark := someMark(r)
		key := strings.ReplaceAll(pick(r, someMisplaced), "$", mark)
		value := pick(r, []string{login("user", mark), `{"username":"user","password":` + quoted(mark) + `}`, `{"username":"user","password":` + quoted(mark) + `,"email":1}`, `{"identitytoken":` + quoted(mark) + `}`})
		if strings.HasPrefix(key, "user:") || strings.HasPrefix(key, "oauth2") {
			value = pick(r, []string{value, `{}`, `""`})
		}
		entries := []string{key, value}
		for range r.IntN(3) {
			entries = append(entries, someEntries(r)...)
		}
		text := auths(entries...)
		config, err := Parse(usual, secret(text))
		if err == nil {
			valid++
		}
		var scope []string
		if registries := config.Registries(); len(registries) > 0 {
			scope = registries[:1]
		}
		out := rendered(usual, secret(text), append(scope, "ghcr.io")...)
		for _, part := range []string{mark, strings.ToLower(mark), "hunter2"} {
			if strings.Contains(out, part) {
				t.Fatalf("%s\nshows %q in\n%s", text, part, out)
			}
		}
	}
	if valid < 100 {
		t.Errorf("%d valid configs are too few to say anything", valid)
	}
}

// A host without a dot is shown if its entry has a credential, which is another one.
func TestLocalRegistriesAreShown(t *testing.T) {
	for key, want := range map[string]bool{
		"registry:5000": true, "kind-registry:5000/acme": true, "registry:5000/acme:1": false, "Registry:5000": false, "registry": false, "registry:99999": false,
	} {
		config, _ := newConfig(map[string]credential{key: {username: "u", password: canary}})
		if got := len(config.Registries()) == 1; got != want {
			t.Errorf("%s is shown: %t, want %t", key, got, want)
		}
	}
}

// A registry that the platform team names itself is no credential.
func TestDeclaredRegistriesAreShown(t *testing.T) {
	config := parse(t, auths("registry:5000", login("u", "5000")))
	if got := config.Registries(); len(got) != 0 {
		t.Errorf("%q are shown", got)
	}
	if !config.Covers("registry:5000/acme/app") {
		t.Error("a key that is not shown covers nothing")
	}
	scoped, err := config.Scoped([]string{"registry:5000"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(scoped.Registries(), scoped.Remarks(), scoped.WithHub().Registries()); got != "[registry:5000] [] [registry:5000]" {
		t.Errorf("shown: %s", got)
	}
	if _, err := config.Scoped([]string{"quay.io"}); err == nil || strings.Contains(err.Error(), "5000") || !errors.As(err, new(*UncoveredError)) {
		t.Errorf("%v", err)
	}
}
