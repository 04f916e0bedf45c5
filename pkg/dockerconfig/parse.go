// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Parse parses the docker config of a Secret. The error is a [WrongTypeError] or an
// [InvalidError].
//
// It is stricter than the readers where they would skip an entry, read no credential from
// it or disagree, because such an entry is a mistake that would only show when an image is
// pulled. Where the readers agree it parses as they do: field names in any case, and the
// last one of repeated keys and fields if all of them are valid.
func Parse(secretType corev1.SecretType, data map[string][]byte) (Config, error) {
	key, ok := dataKeys[secretType]
	if !ok {
		return Config{}, &WrongTypeError{Type: secretType}
	}
	p := &parser{key: key, entries: map[string]credential{}, repeated: map[string]bool{}, numbers: map[string]int{}}
	text, found := data[key]
	switch {
	case !found:
		return Config{}, p.invalid("the Secret does not have this key")
	case len(text) == 0:
		return Config{}, p.invalid("the value is empty; expected a docker config")
	}
	if reason := notObject(text); reason != "" {
		return Config{}, p.invalid(reason)
	}
	read := p.configJSON
	if secretType == corev1.SecretTypeDockercfg {
		read = p.auths
	}
	if err := read(text); err != nil {
		return Config{}, err
	}
	return p.config()
}

// dataKeys are the keys of the data by the type of a pull Secret.
var dataKeys = map[corev1.SecretType]string{
	corev1.SecretTypeDockerConfigJson: corev1.DockerConfigJsonKey,
	corev1.SecretTypeDockercfg:        corev1.DockerConfigKey,
}

// What is expected in places where a reader fails on anything else.
const (
	objectExpected  = "expected a JSON object"
	authsExpected   = "auths: expected an object with an entry for each registry"
	headersExpected = "HttpHeaders: expected an object with string values"
)

// parser collects the entries of one config.
type parser struct {
	key     string
	number  int // of the current entry, from 1.
	entries map[string]credential
	// repeated are the registries whose key occurred before.
	repeated map[string]bool
	// numbers are the first positions of registries.
	numbers map[string]int
}

// invalid returns an error about the config as a whole.
func (p *parser) invalid(reason string) error {
	return &InvalidError{Key: p.key, Reason: reason}
}

// notObject returns why a text is no JSON object, or an empty string: with the position where
// it is no longer JSON. Errors of encoding/json quote the text, so they are not wrapped.
func notObject(text []byte) string {
	var (
		all    json.RawMessage
		syntax *json.SyntaxError
	)
	switch err := json.Unmarshal(text, &all); {
	case errors.As(err, &syntax):
		return fmt.Sprintf("invalid JSON at byte %d", syntax.Offset)
	case err != nil:
		return "invalid JSON"
	case !isObject(text):
		return objectExpected
	}
	return ""
}

// occurrences collects each value of a field in an object, because encoding/json reads
// repeated fields one after the other.
type occurrences []json.RawMessage

// UnmarshalJSON adds a value.
func (o *occurrences) UnmarshalJSON(text []byte) error {
	*o = append(*o, bytes.Clone(text))
	return nil
}

// configJSON parses the data of type kubernetes.io/dockerconfigjson.
func (p *parser) configJSON(text []byte) error {
	var config struct {
		Auths       occurrences `json:"auths"`
		CredsStore  occurrences `json:"credsStore"`
		CredHelpers occurrences `json:"credHelpers"`
		HTTPHeaders occurrences `json:"HttpHeaders"`
	}
	if json.Unmarshal(text, &config) != nil {
		return p.invalid(objectExpected)
	}
	// Before the entries: entries with credential helpers are empty, and an error
	// about that would be less helpful.
	for _, helpers := range []struct {
		field  string
		values occurrences
	}{{"credsStore", config.CredsStore}, {"credHelpers", config.CredHelpers}} {
		if slices.ContainsFunc(helpers.values, isSet) {
			return p.invalid(helpers.field + ": credential helpers do not run on nodes; put the credentials into auths")
		}
	}
	for _, value := range config.HTTPHeaders {
		// The kubelet rejects the whole Secret otherwise: config.go:40-44.
		if json.Unmarshal(value, &map[string]string{}) != nil {
			return p.invalid(headersExpected)
		}
	}
	if len(config.Auths) == 0 {
		return p.invalid(`auths is missing; expected {"auths": {...}}`)
	}
	for _, value := range config.Auths {
		if isNull(value) {
			clear(p.entries) // As encoding/json does with the readers' maps.
			continue
		}
		if !isObject(value) {
			return p.invalid(authsExpected)
		}
		if err := p.auths(value); err != nil {
			return err
		}
	}
	return nil
}

// auths parses an object with an entry for each registry, which is also the data of type
// kubernetes.io/dockercfg.
func (p *parser) auths(text []byte) error {
	for key, value := range inTextOrder(text) {
		p.number++
		if err := p.entry(key, value); err != nil {
			return err
		}
	}
	return nil
}

// inTextOrder returns the members of a JSON object, also those of a repeated name.
func inTextOrder(object []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		decoder := json.NewDecoder(bytes.NewReader(object))
		_, err := decoder.Token()
		for err == nil && decoder.More() {
			var (
				token json.Token
				value json.RawMessage
			)
			if token, err = decoder.Token(); err == nil {
				err = decoder.Decode(&value)
			}
			if name, ok := token.(string); err == nil && (!ok || !yield(name, value)) {
				return
			}
		}
	}
}

func (p *parser) entry(key string, value []byte) error {
	fail := func(reason string) error {
		return &InvalidError{Key: p.key, Entry: nameOf(key, p.number, value), Reason: reason}
	}
	registry, reason := registryOf(key)
	if reason != "" {
		return fail(reason)
	}
	c, reason := credentialOf(value)
	if reason != "" {
		return fail(reason)
	}
	if _, before := p.entries[key]; before {
		p.repeated[registry] = true
	}
	if p.numbers[registry] == 0 {
		p.numbers[registry] = p.number
	}
	p.entries[key] = c
	return nil
}

// config returns the config of the entries. It rejects two credentials for one registry:
// each reader iterates over a map, so it is random which of the two comes first
// (keyring.go:136-173, keychain.go:182-215), and tag resolution uses only the first.
func (p *parser) config() (Config, error) {
	if len(p.entries) == 0 {
		return Config{}, p.invalid("expected at least one entry")
	}
	config, ambiguous := newConfig(p.entries)
	contents := config.contents()
	contents.repeated, contents.numbers = p.repeated, p.numbers
	if ambiguous != "" {
		return Config{}, &InvalidError{
			Key: p.key, Entry: contents.nameOf(ambiguous),
			Reason: "two keys refer to this registry with different credentials; keep one",
		}
	}
	if registry, reason := config.useless(); reason != "" {
		return Config{}, &InvalidError{Key: p.key, Entry: contents.nameOf(registry), Reason: reason}
	}
	if reason := config.tooLarge(); reason != "" {
		return Config{}, p.invalid(reason)
	}
	return config, nil
}

// isObject reports whether a JSON text is an object.
func isObject(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
}

// isNull reports whether a JSON text is null.
func isNull(text []byte) bool { return string(bytes.TrimSpace(text)) == "null" }

// isSet reports whether a field is more than null, an empty string or an empty object.
func isSet(value json.RawMessage) bool {
	var members map[string]json.RawMessage
	empty := isObject(value) && json.Unmarshal(value, &members) == nil && len(members) == 0
	return !empty && !isNull(value) && string(value) != `""`
}
