// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Config is a valid docker config. It prints its registries and never a credential, and is
// immutable. The zero Config is empty. Compare two Configs by their digests.
type Config struct {
	// open is a function because fmt calls no methods on unexported fields of other
	// structs, and follows pointers there for verbs that do not fit. It cannot look into a
	// function.
	open func() *contents
}

// contents is the data of a Config.
type contents struct {
	// entries are the credentials by key as written.
	entries map[string]credential
	// credentials are the credentials by registry.
	credentials map[string]credential
	// index are the registries in the order in which they are tried.
	index []string
	// repeated are the registries whose key occurs more than once in the text.
	repeated map[string]bool
	// numbers are the positions of the entries in the text, from 1, by registry. A config that
	// was not parsed has none.
	numbers map[string]int
	// declared are the registries that the platform team wrote, so that they can be shown.
	declared map[string]bool
	// passwords are those of all entries.
	passwords map[string]bool
}

// newConfig indexes entries with valid keys. If two keys refer to one registry with
// different credentials, it returns that registry as ambiguous.
func newConfig(entries map[string]credential) (config Config, ambiguous string) {
	c := &contents{entries: entries, credentials: make(map[string]credential, len(entries)), passwords: make(map[string]bool, len(entries))}
	var registries []string
	for key, credential := range entries {
		registry, _ := registryOf(key)
		// The first in alphabetical order, so that the same config makes the same
		// error.
		if other, found := c.credentials[registry]; found && other != credential && (ambiguous == "" || registry < ambiguous) {
			ambiguous = registry
		}
		c.credentials[registry] = credential
		c.passwords[credential.password] = true
		registries = append(registries, registry)
	}
	c.index = inOrder(registries)
	return Config{func() *contents { return c }}, ambiguous
}

// contents returns the data of the config. It must not be changed.
func (c Config) contents() *contents {
	if c.open == nil {
		return &contents{}
	}
	return c.open()
}

// Registries returns the sorted registries that the config has credentials for, as the
// readers match them: hosts, with a port and a path where the key has them. A copy has
// credentials for c.WithHub().Registries(). A registry that could be a misplaced credential is
// left out, because the result is shown.
func (c Config) Registries() []string {
	contents := c.contents()
	hidden := func(registry string) bool { return !contents.shows(registry) }
	return slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(contents.index), hidden)))
}

// HidesKeys reports whether Registries leaves any out.
func (c Config) HidesKeys() bool { return len(c.Registries()) < len(c.contents().index) }

// Covers reports whether both readers find a credential for the image in this config; see
// [Covers]. For what a copy covers, use c.WithHub().
func (c Config) Covers(image string) bool {
	return Covers(c.contents().index, image)
}

// Copy returns what a copy holds under the key .dockerconfigjson: the config with its
// Docker Hub keys (see [Config.WithHub]), every credential byte for byte, and nothing
// else. Equal configs give the same text however they were written, and the copy of a copy
// is the same text.
func (c Config) Copy() []byte {
	auths := map[string]written{}
	for key, credential := range c.WithHub().contents().entries {
		auths[key] = credential.write()
	}
	// Maps are written in the order of their keys, and maps of strings always
	// can be.
	text, _ := json.Marshal(map[string]any{"auths": auths})
	return text
}

// Digest is equal for two configs exactly if their copies are equal, so a cache can keep
// it in place of the config. It must not be shown: a short credential could be guessed
// from it.
func (c Config) Digest() string { return DigestOf(c.Copy()) }

// DigestOf returns the Digest of the config with this copy.
func DigestOf(copied []byte) string {
	sum := sha256.Sum256(copied)
	return hex.EncodeToString(sum[:])
}

// CredentialDigests returns, by registry, what is equal for two credentials exactly if they are
// equal. Like Digest, it must not be shown.
func (c Config) CredentialDigests() map[string]string {
	all := make(map[string]string, len(c.contents().credentials))
	for registry, credential := range c.contents().credentials {
		text, _ := json.Marshal(credential.write()) // Strings always can be written.
		all[registry] = DigestOf(text)
	}
	return all
}

// LoginOf returns the username and the password that the entry of a registry has, if one of the
// readers finds the entry for an image. It is for those who ask the registry themselves: the caller
// must neither keep nor show them.
func (c Config) LoginOf(registry, image string) (username, password string, found bool) {
	login, exists := c.contents().credentials[registry]
	for reader := range Readers {
		if target, ok := reader.Target(image); exists && ok && reader.finds(target, registry) {
			return login.username, login.password, true
		}
	}
	return "", "", false
}

// Login is an answer of [KubeletLogins]: a username and a password. It does not print. Whoever has one must neither keep
// nor show it.
type Login struct{ Username, Password string }

// Format keeps the login out of all messages.
func (Login) Format(state fmt.State, _ rune) { fmt.Fprint(state, "(credential)") }

// KubeletLogins returns what the kubelet would try for an image, in its order, if a Pod listed
// copies of these configs. Credentials for Docker Hub that it would offer to another registry
// are left out.
//
// Only prototype/credential-provider/server uses it. It is here because it gives away no more than
// the logins for one image: from anywhere else, it would need a way to read every credential.
func KubeletLogins(image string, configs ...Config) (logins []Login) {
	target, ok := Kubelet.Target(image)
	if !ok {
		return nil
	}
	all := make([]Facts, 0, len(configs))
	for _, config := range configs {
		all = append(all, FactsOf(config.contents().index))
	}
	for _, match := range Kubelet.Matches(target, all...) {
		if match.Foreign {
			continue
		}
		login := configs[match.Secret].contents().credentials[all[match.Secret].Entries[match.Entry].registry]
		logins = append(logins, Login{login.username, login.password})
	}
	return logins
}

// String returns the registries.
func (c Config) String() string {
	return "docker config for [" + strings.Join(c.Registries(), " ") + "]"
}

// GoString returns the registries too.
func (c Config) GoString() string { return c.String() }

// Format writes String for every verb.
func (c Config) Format(state fmt.State, _ rune) { fmt.Fprint(state, c.String()) }
