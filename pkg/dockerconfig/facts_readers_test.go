// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

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
	lines, images := recorded(t, "testdata/kubelet-lists.jsonl")
	fails, found := 0, 0
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
		for _, image := range images {
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
