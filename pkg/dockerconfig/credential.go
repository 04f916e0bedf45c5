// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// credential is the credential of one entry. It never prints.
type credential struct{ username, password string }

// Format keeps the credential out of all messages.
func (credential) Format(state fmt.State, _ rune) { fmt.Fprint(state, "(credential)") }

// text is a field that is a string or null. As in encoding/json, null keeps the previous
// value, and an error of an earlier value remains.
type text struct {
	value string
	bad   bool
}

// UnmarshalJSON never fails, so that the caller can report which field is invalid.
func (t *text) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &t.value) != nil {
		t.bad = true
	}
	return nil
}

// credentialOf parses the value of an entry. If it is no credential, the reason says what
// is expected.
//
// Both readers use auth if it is not empty, and otherwise username and password
// (config.go:256-273, authn.go:67-87), so they agree on an entry with both. An entry
// without a username or a password is an error, because tag resolution sends only complete
// credentials (pkg/v1/remote/transport/basic.go:50, bearer.go:331).
func credentialOf(value []byte) (credential, string) {
	var e entry
	if !isObject(value) || json.Unmarshal(value, &e) != nil {
		return credential{}, "expected an object with auth, or with username and password"
	}
	if reason := e.unsupported(); reason != "" {
		return credential{}, reason
	}
	if e.Auth.value != "" {
		c, reason := decodeAuth(e.Auth.value)
		if reason == "" && (c.username == "" || c.password == "") {
			reason = "auth: expected base64 of username:password; the username or the password is empty"
		}
		return c, reason
	}
	c := credential{e.Username.value, e.Password.value}
	switch {
	case c.username == "" && c.password == "":
		return c, "no credential; expected auth, or username and password"
	case c.password == "":
		return c, "username without password; expected both, or auth"
	case c.username == "":
		return c, "password without username; expected both, or auth"
	}
	return c, ""
}

// entry is the value of an entry as it is written.
type entry struct {
	Username      text `json:"username"`
	Password      text `json:"password"`
	Email         text `json:"email"`
	Auth          text `json:"auth"`
	IdentityToken text `json:"identitytoken"`
	RegistryToken text `json:"registrytoken"`
}

// unsupported returns why one of the readers fails on a field, or an empty string.
func (e *entry) unsupported() string {
	for _, field := range []struct {
		name string
		text text
	}{
		// The kubelet fails on an email that is not a string, and tag resolution on
		// such a token: config.go:244-253, authn.go:49-60.
		{"username", e.Username},
		{"password", e.Password},
		{"email", e.Email},
		{"auth", e.Auth},
		{"identitytoken", e.IdentityToken},
		{"registrytoken", e.RegistryToken},
	} {
		if field.text.bad {
			return field.name + ": expected a string"
		}
	}
	// The kubelet does not support tokens (config.go:244-253), and tag resolution
	// prefers them to a password (bearer.go:206,245). With a token, the two would
	// authenticate as different users.
	const unsupported = "not supported by the kubelet; remove it, and use auth or username and password"
	switch {
	case e.IdentityToken.value != "":
		return "identitytoken: " + unsupported
	case e.RegistryToken.value != "":
		return "registrytoken: " + unsupported
	}
	return ""
}

// decodeAuth decodes as both readers do, with or without padding, and splits at the first
// colon (config.go:285-313, authn.go:102-128).
func decodeAuth(field string) (credential, string) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(field), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(field)
	if err != nil {
		return credential{}, "auth: expected base64 of username:password; the value is not base64"
	}
	username, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return credential{}, "auth: expected base64 of username:password; the value has no colon"
	}
	return credential{username, password}, ""
}

// written is an entry of a copy. It has auth alone, which keeps every byte and which other
// tools accept too. A username with a colon cannot be represented there, so it has fields
// of its own.
type written struct {
	Auth     string `json:"auth,omitempty"`
	Password string `json:"password,omitempty"`
	Username string `json:"username,omitempty"`
}

func (c credential) write() written {
	if strings.Contains(c.username, ":") {
		return written{Username: c.username, Password: c.password}
	}
	return written{Auth: base64.StdEncoding.EncodeToString([]byte(c.username + ":" + c.password))}
}
