// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// A config that can never pull an image is rejected, with the entry and the likely
// intended one. A likely mistake is accepted, with a remark.
func TestRemarksOnKeys(t *testing.T) {
	const rejected = ".dockerconfigjson: "
	tests := []struct {
		key, want string
	}{
		{"ghcr.io", ""},
		{"ghcr.io/acme", ""},
		{"ghcr.io/acme/", ""},
		{"https://ghcr.io/v2/", ""},
		{"*.example.com", ""},
		{"localhost:5000", ""},
		{"registry:5000", ""},
		{"[2001:db8::1]:5000", ""},
		{"docker.io", ""},
		{"docker.io/acme", ""},
		{"index.docker.io", ""},
		{"https://index.docker.io/v1/", ""},

		{"hub.docker.com", rejected + `entry "hub.docker.com": matches no image; use "https://index.docker.io/v1/"`},
		{"https://index.docker.io/v1", rejected + `entry "index.docker.io/v1": matches no image that a node pulls; use "https://index.docker.io/v1/"`},
		{"index.docker.io/acme", rejected + `entry "index.docker.io/acme": matches no image that a node pulls; use "docker.io/acme"`},
		{"ghcr.io/acme/app:v1", rejected + `entry 1: matches no image; use "ghcr.io/acme/app"`},
		{"reg.example.com:5000/app:v1", rejected + `entry 1: matches no image; use "reg.example.com:5000/app"`},
		{"ghcr.io/Acme", rejected + `entry "ghcr.io/Acme": matches no image; use "ghcr.io/acme"`},
		{"ghcr.io//acme", rejected + `entry "ghcr.io//acme": matches no image that a node pulls`},
		{"ghcr.io,quay.io", rejected + `entry 1: matches no image that a node pulls; use "ghcr.io"`},
		{"ghcr.io,quay.io/acme", rejected + `entry 1: matches no image that a node pulls; use "ghcr.io"`},
		{"ghcr", rejected + `entry 1: matches no image`},
		{"ghcr.io:acme", rejected + "entry 1: expected a registry: host[:port][/path], optionally after https:// or http://"},
		{"bücher.example", rejected + `entry "bücher.example": matches no image that a node pulls`},
		{"_.example.com", rejected + `entry "_.example.com": matches no image that a node pulls`},
		{"[2001:db8::1]", rejected + `entry "[2001:db8::1]": matches no image`},

		{"GHCR.IO", `entry 1: matches only images with the same spelling; use lower case`},
		{"registry-1.docker.io", `entry "registry-1.docker.io": matches only images with the same spelling; use "https://index.docker.io/v1/"`},
		{"ghcr.io/v2", `entry "ghcr.io/v2": matches only images with the same spelling; use "ghcr.io"`},
		{"localhost", `entry "localhost": matches no image whose tag Knative resolves`},
		{"*", ""}, // It matches localhost/app, and [::1]/app.
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(tt.key, login("u", canary))))
			got := strings.Join(config.Remarks(), "\n")
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			silent(t, got)
			// Beside a good entry, no key is rejected for what it matches.
			if err != nil && !strings.Contains(got, "expected") {
				config = parse(t, auths(tt.key, login("u", canary), "quay.io", login("u", canary)))
				if diff := cmp.Diff([]string{strings.TrimPrefix(tt.want, rejected)}, config.Remarks()); diff != "" {
					t.Errorf("beside a good entry (-want, +got):\n%s", diff)
				}
			}
		})
	}
}

func TestRemarks(t *testing.T) {
	tests := []struct {
		reason, text string
		want         []string
	}{
		{"a line break at the end of a password", auths("ghcr.io", login("u", canary+"\n")), []string{`entry "ghcr.io": the password ends with a line break, which is sent to the registry`}},
		{"of Windows", auths("ghcr.io", login("u", canary+"\r\n")), []string{`entry "ghcr.io": the password ends with a line break, which is sent to the registry`}},
		{"at the end of a username", auths("ghcr.io", `{"username":"u\n","password":"`+canary+`"}`), []string{`entry "ghcr.io": the username ends with a line break, which is sent to the registry`}},
		{"a key file in JSON", auths("gcr.io", login("_json_key", "{\"private_key\": \""+canary+"\"}\n")), nil},
		{"within a password", auths("ghcr.io", login("u", "a\nb")), nil},
		{"a repeated key", auths("ghcr.io", login("u", "old"), "ghcr.io", login("u", canary)), []string{`entry "ghcr.io": the key is repeated; the last value is used`}},
		{"two spellings", auths("ghcr.io", login("u", canary), "https://ghcr.io/v2/", login("u", canary)), []string{`entry "ghcr.io": 2 keys refer to this registry; keep one`}},
		{"both keys of the Hub", auths("docker.io/acme", login("u", canary), "index.docker.io/acme", login("u", canary)), nil},
		{
			"what the docker client writes", auths("https://index.docker.io/v1/", login("u", canary),
				"https://index.docker.io/v1/access-token", login("u", canary), "https://index.docker.io/v1/refresh-token", login("u", canary)),
			nil, // The Hub's other key serves what these match, for the nodes.
		},
		{
			"many", auths("A.io", login("u", canary), "B.io", login("u", canary), "C.io", login("u", canary),
				"D.io", login("u", canary), "E.io", login("u", canary), "F.io", login("u", canary)),
			[]string{
				`entry 1: matches only images with the same spelling; use lower case`,
				`entry 2: matches only images with the same spelling; use lower case`,
				`entry 3: matches only images with the same spelling; use lower case`,
				`entry 4: matches only images with the same spelling; use lower case`,
				"2 more",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := parse(t, tt.text).Remarks()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			silent(t, got...)
		})
	}
}

// imagesNear returns images that a registry might match: its own text, with wildcards
// replaced, and truncated or extended anywhere.
func imagesNear(r *rand.Rand, registry string) []string {
	var images []string
	for range 8 {
		image := registry
		for strings.Contains(image, "*") {
			image = strings.Replace(image, "*", pick(r, []string{"", "a", "Z", "0", "a-b", "reg", "localhost", "xn--a"}), 1)
		}
		images = append(images, image+pick(r, []string{"", "a", "/a", "a/b", "/a/b", "-a/b", "_a", "0/0", ".a/b"})+pick(r, someEnds))
	}
	return images
}

// usable checks that a reader uses a registry for no image if useOf says so.
func usable(t *testing.T, registry, image string, resolve func(string) (credential, bool)) {
	t.Helper()
	u := useOf(registry, FactsOf([]string{registry}))
	if host, _, _ := strings.Cut(registry, "/"); host == hubSite {
		return
	}
	if _, found := resolve(image); found && !u.resolution {
		t.Errorf("tag resolution takes %q for %q, and is said to take it for no image", registry, image)
	}
	if found := kubelet([]string{registry}, pulledFrom(image)); len(found) > 0 && !u.kubelet {
		t.Errorf("the kubelet takes %q for %q, and is said to take it for no image", registry, image)
	}
}

// someLetters are inserted into keys.
var someLetters = strings.Split("a b A 0 - _ . / : * , ; + = ! ~ $ v1 v2 // -- __ .. io docker index localhost ü [ ] ::1", " ")

func someKey(r *rand.Rand) string {
	key := pick(r, someSchemes) + pick(r, someHosts) + pick(r, somePaths)
	for range r.IntN(3) {
		at := r.IntN(len(key) + 1)
		key = key[:at] + pick(r, someLetters) + key[at:]
	}
	return key
}

// If useOf says that a reader uses a registry for no image, the reader's own code uses it
// for none.
func TestUseAgreesWithTheReaders(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	none, some := 0, 0
	for range 4000 {
		key := someKey(r)
		registry, reason := registryOf(key)
		if reason != "" {
			continue
		}
		if u := useOf(registry, FactsOf([]string{registry})); u.kubelet {
			some++
		} else {
			none++
		}
		resolve := keychain(t, auths(key, login("u", "p")))
		for _, image := range append(imagesNear(r, registry), someImage(r)) {
			usable(t, registry, image, resolve)
		}
	}
	if none < 200 || some < 1000 {
		t.Errorf("%d registries of use and %d of none are too few to say anything", some, none)
	}
}

// The same for recorded answers of the kubelet's own code; see testdata/kubelet.
func TestUseAgreesWithTheKubelet(t *testing.T) {
	file, err := os.Open("testdata/kubelet.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, checked := bufio.NewScanner(file), 0
	for lines.Scan() {
		var answers struct {
			Keys  []string
			Tries map[string][]int
		}
		if json.Unmarshal(lines.Bytes(), &answers) != nil {
			continue // The header.
		}
		for image, tries := range answers.Tries {
			for _, i := range tries {
				registry, _ := registryOf(answers.Keys[i])
				if checked++; !useOf(registry, FactsOf([]string{registry})).kubelet {
					t.Errorf("the kubelet takes %q for %q, and is said to take it for no image", registry, image)
				}
			}
		}
	}
	if lines.Err() != nil || checked < 500 {
		t.Errorf("%d answers are too few to say anything (%v)", checked, lines.Err())
	}
}

func FuzzUse(f *testing.F) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 200 {
		key := someKey(r)
		f.Add(key, someImage(r))
		if registry, reason := registryOf(key); reason == "" {
			f.Add(key, imagesNear(r, registry)[0])
		}
	}
	f.Fuzz(func(t *testing.T, key, image string) {
		registry, reason := registryOf(key)
		if reason != "" {
			return
		}
		usable(t, registry, image, keychain(t, auths(key, login("u", "p"))))
		if config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(key, login("u", "p")))); err == nil {
			if !slices.Equal(config.Remarks(), config.WithHub().Remarks()) && !strings.HasPrefix(registry, hubHost) {
				t.Errorf("%q: the copy has other remarks", key)
			}
		}
	})
}
