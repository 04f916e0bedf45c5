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
}

// newConfig indexes entries with valid keys. If two keys refer to one registry with
// different credentials, it returns that registry as ambiguous.
func newConfig(entries map[string]credential) (config Config, ambiguous string) {
	c := &contents{entries: entries, credentials: make(map[string]credential, len(entries))}
	var registries []string
	for key, credential := range entries {
		registry, _ := registryOf(key)
		// The first in alphabetical order, so that the same config makes the same
		// error.
		if other, found := c.credentials[registry]; found && other != credential && (ambiguous == "" || registry < ambiguous) {
			ambiguous = registry
		}
		c.credentials[registry] = credential
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
// credentials for c.WithHub().Registries().
func (c Config) Registries() []string {
	return slices.Sorted(slices.Values(c.contents().index))
}

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

// String returns the registries.
func (c Config) String() string {
	return "docker config for [" + strings.Join(c.Registries(), " ") + "]"
}

// GoString returns the registries too.
func (c Config) GoString() string { return c.String() }

// Format writes String for every verb.
func (c Config) Format(state fmt.State, _ rune) { fmt.Fprint(state, c.String()) }
