// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
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
		{"as many as are kept", many[:2*(MaxSize/9)], false},
		{"more", many, true},
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
		registries := FactsOf(config.Registries())
		ignoreKey := cmpopts.IgnoreFields(Entry{}, "Key") // Which may be a number.
		if diff := cmp.Diff(registries.Entries, f.Entries, cmp.AllowUnexported(Entry{}, location{}), ignoreKey); diff != "" {
			t.Errorf("%s (-registries, +facts):\n%s", text, diff)
		}
	}
}

// listAnswers are recorded answers of the kubelet's own code; see testdata/kubelet.
type listAnswers struct {
	Secrets []struct {
		Type corev1.SecretType
		Text string
	}
	Fails bool
	Tries map[string][]string
}

// The package agrees with the answers of the kubelet's own code about lists of Secrets: whether
// it fails, which entries it tries, in which order, and which have a username.
func TestKubeletListAnswers(t *testing.T) {
	file, err := os.Open("testdata/kubelet-lists.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var header struct{ Images []string }
	lines, fails, found := bufio.NewScanner(file), 0, 0
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil {
		t.Fatal("no header")
	}
	for lines.Scan() {
		var answers listAnswers
		if err := json.Unmarshal(lines.Bytes(), &answers); err != nil {
			t.Fatal(err)
		}
		var all []Facts
		rejected := false
		for _, s := range answers.Secrets {
			f := Inspect(s.Type, dataOf(s.Type, s.Text))
			rejected = rejected || f.Rejected[Kubelet] != nil
			all = append(all, f)
		}
		if rejected != answers.Fails {
			t.Errorf("%s: rejected %t, and the kubelet fails %t", lines.Text(), rejected, answers.Fails)
		}
		if answers.Fails {
			fails++
			continue
		}
		for _, image := range header.Images {
			var got []string
			if target, parsed := Kubelet.Target(image); parsed {
				for _, match := range Kubelet.Matches(target, all...) {
					entry := all[match.Secret].Entries[match.Entry]
					email := emailOf(answers.Secrets[match.Secret].Text, entry.registry)
					if entry.Uses[Kubelet].Empty {
						email += "-"
					}
					got = append(got, email)
				}
			}
			found += len(got)
			if diff := cmp.Diff(answers.Tries[image], got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s for %s (-kubelet, +here):\n%s", lines.Text(), image, diff)
			}
		}
	}
	if lines.Err() != nil || fails < 20 || found < 1000 {
		t.Errorf("%d failures and %d credentials are too few to say anything (%v)", fails, found, lines.Err())
	}
}

// dataOf returns the data of a Secret, under the key that is usual for other types.
func dataOf(secretType corev1.SecretType, text string) map[string][]byte {
	if secretType == legacy {
		return map[string][]byte{corev1.DockerConfigKey: []byte(text)}
	}
	return secret(text)
}

// emailOf returns the email of the entry for a registry.
func emailOf(text, registry string) string {
	type entries map[string]struct{ Email string }
	var config struct{ Auths entries }
	var bare entries
	_ = json.Unmarshal([]byte(text), &config)
	_ = json.Unmarshal([]byte(text), &bare)
	for _, all := range []entries{config.Auths, bare} {
		for key, entry := range all {
			if found, ok := addressOf(key); ok && found == registry && entry.Email != "" {
				return entry.Email
			}
		}
	}
	return "none"
}

// FuzzInspect checks with any text that the readers fail exactly if that is said, by the
// keychain itself and by decoding as the kubelet does; that the keychain finds a credential for
// an image exactly if that is said, and that nothing of a credential is shown.
func FuzzInspect(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", `{"auths":{}}`, `{"auths":null}`, auths("ghcr.io", login("u", "p")), auths("ghcr.io", `{"username":"`+canary+`"}`),
		auths("ghcr.io", `{"identitytoken":"`+canary+`"}`, "docker.io", `null`), auths("ghcr.io:x", `{}`), auths("https://u:"+canary+"@ghcr.io?x", `{"auth":1,"email":2}`),
		`{"auths":{"a":"b"},"AUTHS":null,"HttpHeaders":{"a":1}}`, `{"ghcr.io":{"auth":"dTpw"}}`, `{"auths":{"ghcr.io":{"auth":1,"AUTH":"dTpw"}}}`,
		auths("localhost", login("u", "p"), "index.docker.io/acme", `{"registrytoken":"t"}`, "*.io", `{"password":"p"}`),
	} {
		f.Add([]byte(seed), "ghcr.io/acme/app")
	}
	f.Fuzz(func(t *testing.T, text []byte, image string) {
		for _, secretType := range []corev1.SecretType{usual, legacy} {
			data := dataOf(secretType, string(text))
			facts := Inspect(secretType, data)
			keys, err := kubernetes.NewFromPullSecrets(t.Context(), []corev1.Secret{{Type: secretType, Data: data}})
			if (err != nil) != (facts.Rejected[TagResolution] != nil) {
				t.Errorf("the keychain says %v, here: %v", err, facts.Rejected[TagResolution])
			}
			if err, rejected := kubeletError(secretType, text), facts.Rejected[Kubelet]; (err != nil) != (rejected != nil) {
				t.Errorf("the kubelet says %v, here: %v", err, rejected)
			}
			if _, err := Parse(secretType, data); err == nil && facts.Rejected != [Readers]*InvalidError{} {
				t.Errorf("Parse accepts what a reader rejects: %v", facts.Rejected)
			}
			for _, problem := range facts.Rejected {
				if problem != nil && len(problem.Error()) > 1000 {
					t.Errorf("%v", problem)
				}
			}
			if err == nil && !facts.Oversized {
				sameAsKeychain(t, keys, facts, image)
			}
			silent(t, strings.ReplaceAll(fmt.Sprintf("%+v %v", facts, facts.Rejected), string(text), ""))
		}
	})
}

// sameAsKeychain checks that the keychain has a credential exactly if the facts say so.
func sameAsKeychain(t *testing.T, keys authn.Keychain, facts Facts, image string) {
	t.Helper()
	ref, err := name.ParseReference(image, name.WeakValidation)
	target, parsed := TagResolution.Target(image)
	if parsed != (err == nil) {
		t.Errorf("%q: parsed %t, and by Knative's parser %v", image, parsed, err)
	}
	if err != nil {
		return
	}
	authenticator, err := keys.Resolve(ref.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := TagResolution.Matches(target, facts)
	if (len(found) > 0) != (authenticator != authn.Anonymous) {
		t.Errorf("%q: %d entries, and the keychain has one: %t", image, len(found), authenticator != authn.Anonymous)
	}
	if len(found) == 0 {
		return
	}
	got, err := authn.Authorization(t.Context(), authenticator)
	if err != nil {
		t.Fatal(err)
	}
	// The worst of two spellings counts, and the keychain chooses one of them.
	if sends := got.RegistryToken != "" || got.IdentityToken != "" || got.Username != "" && got.Password != ""; !sends &&
		!facts.Entries[found[0].Entry].Uses[TagResolution].Empty {
		t.Errorf("%q: the keychain has no credential", image)
	}
}

// kubeletError decodes a Secret as the kubelet does (config.go:38-52 and 231-313).
func kubeletError(secretType corev1.SecretType, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	var config struct {
		Auths       map[string]kubeletEntry `json:"auths"`
		HTTPHeaders map[string]string       `json:"HttpHeaders,omitempty"`
	}
	if secretType == legacy {
		return json.Unmarshal(text, &config.Auths)
	}
	return json.Unmarshal(text, &config)
}

type kubeletEntry struct{}

func (*kubeletEntry) UnmarshalJSON(text []byte) error {
	var entry struct{ Username, Password, Email, Auth string }
	if err := json.Unmarshal(text, &entry); err != nil || entry.Auth == "" {
		return err
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(entry.Auth), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(entry.Auth)
	if err == nil && !strings.Contains(string(decoded), ":") {
		err = errors.New("no colon")
	}
	return err
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
		if got := facts.Entries[0].Intended(test.reader, target); got != test.want {
			t.Errorf("%s, %s for %s: %q, want %q", test.reader, test.registry, test.image, got, test.want)
		}
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
