// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// laws checks properties of every config and every image.
func laws(t *testing.T, source Config, images []string) {
	t.Helper()
	text := source.Copy()
	again, err := Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text})
	if err != nil {
		t.Fatalf("a copy does not read: %s: %v", text, err)
	}
	if second := again.Copy(); !bytes.Equal(text, second) {
		t.Errorf("the copy of a copy is another:\n%s\n%s", text, second)
	}
	if source.Digest() != again.Digest() {
		t.Errorf("a copy has another digest: %s", text)
	}
	for key, want := range source.contents().entries {
		if again.contents().entries[key] != want {
			t.Errorf("the credential of %q is harmed: %s", key, text)
		}
	}
	if !maps.Equal(again.contents().entries, source.WithHub().contents().entries) {
		t.Errorf("a copy holds something else than WithHub: %s", text)
	}
	for _, registry := range source.Registries() {
		if same, reason := registryOf(registry); reason != "" || !hasVersion(afterHost(registry)) && same != registry {
			t.Errorf("%q is no registry (%q, %s)", registry, same, reason)
		}
	}
	if !slices.IsSorted(source.Registries()) || len(slices.Compact(source.Registries())) != len(source.Registries()) {
		t.Errorf("unsorted or repeated: %q", source.Registries())
	}
	for _, image := range images {
		lawsOfCopies(t, source, again, image)
	}
}

// lawsOfCopies checks that a copy equals the source for the kubelet, and for tag
// resolution the source with what the kubelet finds for Docker Hub.
func lawsOfCopies(t *testing.T, source, again Config, image string) {
	t.Helper()
	from, to := source.contents(), again.contents()
	pulled, resolved := pulledFrom(image), resolvedAt(image)
	before, after := kubelet(from.index, pulled), kubelet(to.index, pulled)
	// The kubelet's rule for the Hub's images takes in hosts without a dot, such
	// as localhost; a Secret with a Hub key is that way, a copy or not.
	dotted := strings.ContainsAny(strings.Split(pulled, "/")[0], ".:")
	if !slices.Equal(before, after) && (dotted || !slices.Equal(after, []string{indexHost})) {
		t.Errorf("%v, %s: the kubelet tries %q, and with the copy %q", source, image, before, after)
	}
	found, foundAfter := tagResolution(from.index, resolved), tagResolution(to.index, resolved)
	switch {
	case found != "" && found != foundAfter:
		t.Errorf("%v, %s: tag resolution took %q, and with the copy %q", source, image, found, foundAfter)
	case found == "" && foundAfter != "":
		// It adds the Hub's images alone, with the credential that the kubelet
		// tries first.
		host, _, _ := strings.Cut(foundAfter, "/")
		if host != indexHost {
			t.Errorf("%v, %s: %q was added", source, image, foundAfter)
		}
		if len(before) > 0 && strings.HasPrefix(before[0], hubHost) && from.credentials[before[0]] != to.credentials[foundAfter] {
			t.Errorf("%v, %s: the kubelet uses %q first, and tag resolution %q", source, image, before[0], foundAfter)
		}
	}
	if again.Covers(image) && len(before) == 0 {
		t.Errorf("%v, %s: the copy covers what the source does not for the kubelet", source, image)
	}
	if source.Covers(image) && !again.Covers(image) {
		t.Errorf("%v, %s: the copy does not cover what the source does", source, image)
	}
	if shown := len(source.Registries()) == len(from.index); shown && source.Covers(image) != Covers(source.Registries(), image) {
		t.Errorf("%v, %s: its registries cover otherwise than itself", source, image)
	}
}

func afterHost(registry string) string {
	host, _, _ := strings.Cut(registry, "/")
	return registry[len(host):]
}

func TestLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	covered := 0
	for range 1000 {
		config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(someEntries(r)...)))
		if err != nil {
			continue
		}
		var images []string
		for range 10 {
			images = append(images, someImage(r))
		}
		laws(t, config, images)
		for _, image := range images {
			if config.WithHub().Covers(image) {
				covered++
			}
		}
	}
	if covered < 500 {
		t.Errorf("%d covered images are too few to say anything", covered)
	}
}

// FuzzParse checks for both types that any text is either a config that satisfies the laws
// or an error without any part of the text, and that encoding/json, and so the readers,
// decode valid text to the same credentials.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"auths":{}}`, `{"auths":null}`, `{"auths":[]}`,
		auths("ghcr.io", login("u", "p")), auths("docker.io", login("u", "p"), "docker.io/acme", login("v", "q")),
		auths("ghcr.io", `{"username":"u:v","password":"p"}`), auths("ghcr.io", login("u", "\xff\x00")),
		auths("a", login("u", "p"), "a", login("v", "q"), "https://a/v1/", login("v", "q")),
		`{"auths":{"ghcr.io":{"auth":"` + canary + `"}}}`, `{"auths":{"u:` + canary + `@ghcr.io":{"auth":"dTpw"}}}`,
		`{"Auth\u017f":{"ghcr.io":{"auth":"dTpw"}},"auths":null,"AUTHS":{"quay.io":{"Username":"u","passWord":"p"}}}`,
		`{"ghcr.io":{"auth":"dTpw"}}`, `{"auths":{"ghcr.io":{"auth":"dTpw","email":1}}}`, `{"auths":{"ghcr.io":{"identitytoken":"` + canary + `"}}}`,
		`{"auths":{"docker.io/v1/v2/a":{"auth":"dTpw"},"*.docker.io":{"auth":"dTpw"}}}`, `{"auths":{"[::1]:1":{"auth":"dTpw"}},"credsStore":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	images := []string{"nginx", "acme/app:1", "docker.io/v2/acme/app", "ghcr.io/acme/app", "localhost/acme/app", "reg.example.com:5000/acme/app" + sha, "[::1]:1/app"}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, data := range []struct {
			secretType corev1.SecretType
			key        string
		}{{corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey}, {corev1.SecretTypeDockercfg, corev1.DockerConfigKey}} {
			before := bytes.Clone(text)
			config, err := Parse(data.secretType, map[string][]byte{data.key: text})
			if !bytes.Equal(before, text) {
				t.Fatalf("the input was changed")
			}
			if err != nil {
				if _, ok := errors.AsType[*InvalidError](err); !ok || len(err.Error()) > 1000 {
					t.Errorf("%T: %v", err, err)
				}
				continue
			}
			laws(t, config, append(images, slices.Collect(maps.Keys(config.contents().entries))...))
			read := readAsTheReadersDo(t, data.secretType, text)
			if diff := cmp.Diff(read, config.contents().entries, cmp.AllowUnexported(credential{})); diff != "" {
				t.Errorf("(-readers, +here):\n%s", diff)
			}
		}
	})
}

// readAsTheReadersDo decodes a Secret as both readers do, in short.
func readAsTheReadersDo(t *testing.T, secretType corev1.SecretType, text []byte) map[string]credential {
	t.Helper()
	type entry struct {
		Username, Password, Auth string
	}
	var config struct{ Auths map[string]entry }
	into := any(&config)
	if secretType == corev1.SecretTypeDockercfg {
		into = &config.Auths
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Errorf("the readers fail on what is accepted: %v", err)
	}
	read := map[string]credential{}
	for key, e := range config.Auths {
		read[key] = credential{e.Username, e.Password}
		if e.Auth != "" {
			read[key], _ = decodeAuth(e.Auth)
		}
	}
	return read
}

// FuzzErrors checks that a password is never printed, wherever in an entry it is, and that
// a valid one is parsed.
func FuzzErrors(f *testing.F) {
	for _, seed := range []string{"u", "", ":", "\n", "\xff", "é", `"`, "{}", strings.Repeat("x", 1000)} {
		for place := range 8 {
			f.Add(seed, byte(place))
		}
	}
	f.Fuzz(func(t *testing.T, noise string, place byte) {
		password := noise + canary + noise
		text := ""
		switch place % 8 {
		case 0:
			text = auths("ghcr.io", `{"auth":`+quoted(password)+`}`)
		case 1:
			text = auths("ghcr.io", `{"username":`+quoted(password)+`}`)
		case 2:
			text = auths("ghcr.io", quoted(password))
		case 3:
			text = auths("ghcr.io", `{"auth":"dTpw","identitytoken":`+quoted(password)+`}`)
		case 4:
			text = `{"auths":` + quoted(password) + `}`
		case 5:
			text = `{"auths":{"ghcr.io":{"auth":"` + password
		case 6:
			text = auths("https://u:"+password+"@ghcr.io", login("u", password))
		case 7:
			text = auths("ghcr.io", login("u", password))
		}
		config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(text))
		silent(t, fmt.Sprint(err), fmt.Sprintf("%v %+v %#v", config, config, config), config.Digest(), fmt.Sprint(config.Registries()))
		if place%8 == 7 && (err != nil || config.contents().entries["ghcr.io"].password != password) {
			t.Errorf("%q does not come through: %v", password, err)
		}
	})
}

// FuzzCovers checks that Covers never panics, agrees with the keychain, and that a further
// registry never removes an image.
func FuzzCovers(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		f.Add(pick(r, someSchemes)+pick(r, someHosts)+pick(r, somePaths), pick(r, someHosts)+pick(r, somePaths), someImage(r))
	}
	f.Fuzz(func(t *testing.T, key, other, image string) {
		Covers([]string{key, other}, image) // Whatever a status was forged to.
		config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(key, login("u", "p"))))
		if err != nil {
			return
		}
		laws(t, config, []string{image})
		_, found := keychain(t, auths(key, login("u", "p")))(image)
		if found != (tagResolution(config.contents().index, resolvedAt(image)) != "") {
			t.Errorf("key %q, image %q: the keychain finds %t", key, image, found)
		}
		more, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(key, login("u", "p"), other, login("v", "q"))))
		if err != nil {
			return
		}
		laws(t, more, []string{image})
		if config.Covers(image) && !more.Covers(image) {
			t.Errorf("%q covers %q, and with %q no longer", key, image, other)
		}
	})
}

func BenchmarkCovers(b *testing.B) {
	var entries []string
	for i := range 100 {
		entries = append(entries, fmt.Sprintf("r%03d.example.com", i), login("u", "p"))
	}
	config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(entries...)))
	if err != nil {
		b.Fatal(err)
	}
	registries := config.Registries()
	b.ReportAllocs()
	for b.Loop() {
		Covers(registries, "r099.example.com/acme/app:1")
	}
}
