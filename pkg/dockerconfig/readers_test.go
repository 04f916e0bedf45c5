// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

const sha = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestCovers(t *testing.T) {
	const kubeletOnly, resolutionOnly, both, apart, none = "the kubelet alone", "tag resolution alone", "both", "both, at different places", "none"
	tests := []struct {
		registry, image, want string
	}{
		{"ghcr.io", "ghcr.io/acme/app:1", both},
		{"ghcr.io", "ghcr.io/acme/app", both},
		{"ghcr.io", "ghcr.io/acme/app" + sha, both},
		{"ghcr.io", "ghcr.io/acme/app:1" + sha, both},
		{"ghcr.io", "quay.io/acme/app", none},
		{"ghcr.io", "GHCR.io/acme/app", none},
		{"ghcr.io/acme", "ghcr.io/acme/app", both},
		{"ghcr.io/ac", "ghcr.io/acme/app", both},
		{"ghcr.io/acme", "ghcr.io/other/app", none},
		{"ghcr.io/acme/", "ghcr.io/acme/app", both},
		{"ghcr.io/acme/", "ghcr.io/acmeco/app", none},
		{"ghcr.io/acme/app", "ghcr.io/acme/app:1", both},
		{"ghcr.io/acme/app:1", "ghcr.io/acme/app:1", none},
		{"ghcr.io/v1", "ghcr.io/acme/app", none},
		{"*.example.com", "reg.example.com/acme/app", both},
		{"*.example.com", "a.reg.example.com/acme/app", none},
		{"*.example.com", "example.com/acme/app", none},
		{"r*.example.com", "reg.example.com/acme/app", both},
		{"*", "reg.example.com/acme/app", none},
		{"reg.example.com", "reg.example.com:5000/acme/app", none},
		{"reg.example.com:5000", "reg.example.com:5000/acme/app", both},
		{"reg.example.com:5000", "reg.example.com/acme/app", none},
		{"reg.example.com:443", "reg.example.com/acme/app", none},
		{"*.example.com:5000", "reg.example.com:5000/acme/app", both},

		{"docker.io", "nginx", kubeletOnly},
		{"docker.io", "acme/app:1", kubeletOnly},
		{"docker.io", "docker.io/acme/app:1", kubeletOnly},
		{"docker.io", "index.docker.io/acme/app:1", kubeletOnly},
		{"docker.io/acme", "acme/app", kubeletOnly},
		{"docker.io/library", "nginx", kubeletOnly},
		{"*.io", "nginx", kubeletOnly},
		{"docker.*", "nginx", kubeletOnly},
		{"index.docker.io", "nginx", both},
		{"index.docker.io", "acme/app:1", both},
		{"index.docker.io", "docker.io/acme/app" + sha, both},
		{"index.docker.io", "ghcr.io/acme/app", none},
		{"index.docker.io/acme", "acme/app", resolutionOnly},
		{"*.docker.io", "acme/app", resolutionOnly},
		{"*.docker.io", "registry-1.docker.io/acme/app", both},
		{"registry-1.docker.io", "acme/app", none},
		{"docker.io:443", "nginx", none},
		{"index.docker.io/v1", "nginx", none},

		{"localhost", "localhost/acme/app", kubeletOnly},
		{"localhost:5000", "localhost:5000/acme/app", both},
		{"index.docker.io", "localhost/acme/app", apart},
		{"index.docker.io", "ACME/app", kubeletOnly}, // Capitals are none of tag resolution's letters.
		{"[2001:db8::1]:5000", "[2001:db8::1]:5000/acme/app", both},
		{"[2001:db8::1]", "[2001:db8::1]/acme/app", none},

		{"ghcr.io", "", none},
		{"ghcr.io", "ghcr.io", none},
		{"ghcr.io", "ghcr.io/", none},
		{"ghcr.io", "ghcr.io//app", resolutionOnly},
		{"ghcr.io", "ghcr.io/Acme/app", none},
		{"ghcr.io", "ghcr.io/a", kubeletOnly}, // Two characters is the least for tag resolution.
		{"ghcr.io", "https://ghcr.io/acme/app", none},
		{"ghcr.io", "ghcr.io/acme/app:", resolutionOnly},
		{"ghcr.io", "ghcr.io/acme/app@sha512:" + strings.Repeat("a", 128), kubeletOnly},
		{"ghcr.io", " ghcr.io/acme/app", none},
		{"ghcr.io", "ghcr.io/acme/app\n", none},
	}
	for _, tt := range tests {
		t.Run(tt.registry+" "+tt.image, func(t *testing.T) {
			all := []string{tt.registry}
			got := none
			switch k, r := len(kubelet(all, pulledFrom(tt.image))) > 0, tagResolution(all, resolvedAt(tt.image)) != ""; {
			case k && r && tt.want == apart:
				got = apart
			case k && r:
				got = both
			case k:
				got = kubeletOnly
			case r:
				got = resolutionOnly
			}
			if got != tt.want {
				t.Errorf("covered for %s, want %s", got, tt.want)
			}
			if got, want := Covers(all, tt.image), tt.want == both; got != want {
				t.Errorf("Covers = %t, want %t", got, want)
			}
		})
	}
}

// An invalid registry, from a forged status, covers nothing and causes no error.
func TestCoversWithForgedRegistries(t *testing.T) {
	for _, registry := range []string{"", "/", "%", "[", "[]", "ghcr.io\\", "ghcr.io:x", "https://ghcr.io", "u@quay.io", "\x00", "a:b:c", "::", "[::1"} {
		if Covers([]string{registry}, "ghcr.io/acme/app") {
			t.Errorf("%q covers", registry)
		}
	}
	if !Covers([]string{"%", "ghcr.io", "["}, "ghcr.io/acme/app") {
		t.Errorf("the good one among them does not cover")
	}
}

var (
	someSchemes = []string{"", "", "https://", "http://"}
	someHosts   = []string{
		"docker.io", "docker.io", "index.docker.io", "registry-1.docker.io", "*.docker.io", "*.io", "docker.*", "*", "*.*",
		"ghcr.io", "GHCR.io", "quay.io", "reg.example.com", "*.example.com", "r*g.example.com", "reg.example.com:5000",
		"*.example.com:5000", "localhost", "localhost:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "bücher.example",
	}
	somePaths = []string{"", "", "", "", "/", "/v1/", "/v2/", "/v1", "/acme", "/acme/", "/ac", "/acme/app", "/v1/acme", "/library", "/v1/v2/acme"}
	someRepos = []string{"app", "acme/app", "acmeco/app", "other/app", "library/nginx", "v2/acme/app", "acme/app/sub", "Acme/app", "a"}
	someEnds  = []string{"", ":1", ":1" + sha, sha, ":", ":1:2", "@sha256:12"}
)

func pick(r *rand.Rand, all []string) string { return all[r.IntN(len(all))] }

// someEntries returns keys and values of a config, as users might write it, each
// with credentials of its own.
func someEntries(r *rand.Rand) []string {
	var entries []string
	for i := range 1 + r.IntN(6) {
		user, password := fmt.Sprintf("u%d", i), fmt.Sprintf("p%d:\n\"ü\"", i)
		value := login(user, password)
		switch r.IntN(4) {
		case 0:
			value = `{"username":` + quoted(user) + `,"password":` + quoted(password) + `}`
		case 1:
			value = `{"username":"x","password":"y","auth":"` + base64.RawStdEncoding.EncodeToString([]byte(user+":"+password)) + `"}`
		case 2:
			value = `{"username":` + quoted("a:"+user) + `,"password":` + quoted(password) + `,"email":"e"}`
		}
		entries = append(entries, pick(r, someSchemes)+pick(r, someHosts)+pick(r, somePaths), value)
	}
	return entries
}

func someImage(r *rand.Rand) string {
	host := ""
	if r.IntN(4) > 0 {
		host = strings.ReplaceAll(pick(r, someHosts), "*", "reg") + "/"
	}
	return host + pick(r, someRepos) + pick(r, someEnds)
}

// pulledFrom and resolvedAt return where the readers look for an image, or an empty string.
func pulledFrom(image string) string {
	t, _ := Kubelet.Target(image)
	return t.Repository
}

func resolvedAt(image string) string {
	t, _ := TagResolution.Target(image)
	return t.Repository
}

// kubelet returns the registries whose credentials the kubelet tries, in its order.
func kubelet(registries []string, pulled string) []string {
	return found(Kubelet, registries, pulled)
}

// tagResolution returns the registry whose credential tag resolution uses, or an empty
// string if it stays anonymous.
func tagResolution(registries []string, resolved string) string {
	if found := found(TagResolution, registries, resolved); len(found) > 0 {
		return found[0]
	}
	return ""
}

func found(r Reader, registries []string, repository string) (registriesFound []string) {
	facts := FactsOf(registries)
	t, parsed := r.Target(repository)
	if !parsed {
		return nil
	}
	for _, match := range r.Matches(t, facts) {
		registriesFound = append(registriesFound, facts.Entries[match.Entry].registry)
	}
	return registriesFound
}

// keychain returns the lookup of Knative's tag resolution with a Secret: the credential
// for an image.
func keychain(t *testing.T, text string) func(image string) (credential, bool) {
	t.Helper()
	keys, err := kubernetes.NewFromPullSecrets(t.Context(), []corev1.Secret{{Type: corev1.SecretTypeDockerConfigJson, Data: secret(text)}})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return func(image string) (credential, bool) {
		ref, err := name.ParseReference(image, name.WeakValidation)
		if err != nil {
			return credential{}, false
		}
		authenticator, err := keys.Resolve(ref.Context())
		if err != nil {
			t.Fatal(err)
		}
		if authenticator == authn.Anonymous {
			return credential{}, false
		}
		got, err := authn.Authorization(t.Context(), authenticator)
		if err != nil {
			t.Fatal(err)
		}
		return credential{got.Username, got.Password}, true
	}
}

// The package agrees with the keychain itself about the source and its copy: whether there
// is a credential, and which.
func TestKeychainAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	configs, found := 0, 0
	for range 1500 {
		text := auths(someEntries(r)...)
		source, err := Parse(corev1.SecretTypeDockerConfigJson, secret(text))
		if err != nil {
			continue // Two credentials for one registry.
		}
		configs++
		for _, c := range []struct {
			config Config
			text   string
		}{{source, text}, {source.WithHub(), string(source.Copy())}} {
			resolve := keychain(t, c.text)
			for range 20 {
				image := someImage(r)
				registry := tagResolution(c.config.contents().index, resolvedAt(image))
				got := c.config.contents().credentials[registry]
				want, ok := resolve(image)
				if ok != (registry != "") || got != want {
					t.Errorf("%s, %s:\nkeychain: %t %q %q\nhere:     %q %q %q", c.text, image,
						ok, want.username, want.password, registry, got.username, got.password)
				}
				if ok {
					found++
				}
			}
		}
	}
	if configs < 1000 || found < 5000 {
		t.Errorf("%d configs and %d credentials are too few to say anything", configs, found)
	}
}

// recorded returns the lines of a file of recorded answers of the kubelet's own code, after the
// header, and the images in the header; see testdata/kubelet.
func recorded(t *testing.T, path string) (lines *bufio.Scanner, images []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var header struct {
		Kubernetes string
		Images     []string
	}
	lines = bufio.NewScanner(bytes.NewReader(content))
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil || len(header.Images) == 0 {
		t.Fatal("no header")
	}
	tested, err := os.ReadFile("../../test/controlplane/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(tested), "k8s.io/kubernetes "+header.Kubernetes+"\n") {
		t.Errorf("These are the answers of Kubernetes %s, which is not what test/controlplane runs: record them again as testdata/kubelet says", header.Kubernetes)
	}
	return lines, header.Images
}

// The package agrees with the answers of the kubelet's own code; see testdata/kubelet.
func TestKubeletAnswers(t *testing.T) {
	lines, images := recorded(t, "testdata/kubelet.jsonl")
	configs, found := 0, 0
	for ; lines.Scan(); configs++ {
		var answers struct {
			Keys  []string
			Tries map[string][]int
		}
		if err := json.Unmarshal(lines.Bytes(), &answers); err != nil {
			t.Fatal(err)
		}
		var registries []string
		for _, key := range answers.Keys {
			registry, reason := registryOf(key)
			if reason != "" {
				t.Errorf("%q: %s", key, reason)
			}
			registries = append(registries, registry)
		}
		for _, image := range images {
			var want []string
			for _, i := range answers.Tries[image] {
				want = append(want, registries[i])
			}
			found += len(want)
			if diff := cmp.Diff(want, kubelet(inOrder(registries), pulledFrom(image)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q for %s (-kubelet, +here):\n%s", answers.Keys, image, diff)
			}
		}
	}
	if err := lines.Err(); err != nil || configs < 100 || found < 500 {
		t.Errorf("%d configs and %d credentials are too few to say anything (%v)", configs, found, err)
	}
}

// The pure core must not import net, so the package splits ports itself.
func TestSplitPort(t *testing.T) {
	for _, host := range []string{
		"", "a", "a.b", "a:1", "a:", ":1", "a:b:1", "[::1]", "[::1]:5000", "[::1]:", "[2001:db8::1%25en0]:1", "::1", "localhost:5000", "*.example.com:5000",
	} {
		wantName, wantPort, err := net.SplitHostPort(host)
		if err != nil {
			wantName, wantPort = host, ""
		}
		if name, port := splitPort(host); name != wantName || port != wantPort {
			t.Errorf("splitPort(%q) = %q, %q, want %q, %q", host, name, port, wantName, wantPort)
		}
	}
}
