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

// Config is a docker config that was found good. It prints its registries and
// never a credential, and cannot be changed. The zero Config is empty. Two
// Configs are compared by their digests.
type Config struct {
	// open is a function because fmt calls no methods on what is in an
	// unexported field of somebody's struct, and follows pointers there for
	// verbs that do not fit. It finds no way into a function.
	open func() *contents
}

// contents are what a Config is about.
type contents struct {
	// entries are the credentials by key, as written.
	entries map[string]credential
	// credentials are the same by registry.
	credentials map[string]credential
	// index is the registries in the order in which they are tried.
	index []string
	// repeated are the registries whose key stands in the text more than once.
	repeated map[string]bool
}

// newConfig indexes the entries, whose keys are good. Where two keys stand for
// one registry with different credentials, it returns that registry.
func newConfig(entries map[string]credential) (config Config, ambiguous string) {
	c := &contents{entries: entries, credentials: make(map[string]credential, len(entries))}
	var registries []string
	for key, credential := range entries {
		registry, _ := registryOf(key)
		// The first in the order of the alphabet is told, so that the same
		// config makes the same error.
		if other, found := c.credentials[registry]; found && other != credential && (ambiguous == "" || registry < ambiguous) {
			ambiguous = registry
		}
		c.credentials[registry] = credential
		registries = append(registries, registry)
	}
	c.index = inOrder(registries)
	return Config{func() *contents { return c }}, ambiguous
}

// contents returns what is in the config; nothing of it may be changed.
func (c Config) contents() *contents {
	if c.open == nil {
		return &contents{}
	}
	return c.open()
}

// Registries returns what the config has credentials for, as the readers match
// it, sorted: hosts, with a port and a path where the key has them. What a copy
// has credentials for is c.WithHub().Registries().
func (c Config) Registries() []string {
	return slices.Sorted(slices.Values(c.contents().index))
}

// Covers tells whether both readers find a credential for the image in this
// very config; see the function [Covers]. Of what a copy covers, ask
// c.WithHub().
func (c Config) Covers(image string) bool {
	return Covers(c.contents().index, image)
}

// Copy returns what a copy holds under the key .dockerconfigjson: the config
// with its Hub keys (see [Config.WithHub]), every credential equal to the byte,
// and nothing else. The same config gives the same text however it was written,
// and the copy of a copy is the same text again.
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

// Digest is the same for two configs exactly if their copies are: a cache that
// keeps it need not keep the config. It is made from the credentials alone,
// which may be short enough to be guessed from it, so it is not to be shown.
func (c Config) Digest() string { return DigestOf(c.Copy()) }

// DigestOf is the Digest of the config whose copy this is.
func DigestOf(copied []byte) string {
	sum := sha256.Sum256(copied)
	return hex.EncodeToString(sum[:])
}

// String returns the registries.
func (c Config) String() string {
	return "docker config for [" + strings.Join(c.Registries(), " ") + "]"
}

// GoString returns the registries, too.
func (c Config) GoString() string { return c.String() }

// Format writes String, whatever the verb.
func (c Config) Format(state fmt.State, _ rune) { fmt.Fprint(state, c.String()) }
