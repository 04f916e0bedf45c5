// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
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

// entryExpected is what an entry must be.
const entryExpected = "expected an object with auth, or with username and password"

// stringExpected follows the name of a field that is no string.
const stringExpected = ": expected a string"

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
		return credential{}, entryExpected
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

// badField returns a field on which the reader fails because it is no string, or an empty
// string: the kubelet fails on such an email, and tag resolution on such a token
// (config.go:244-253, authn.go:49-60).
func (e *entry) badField(reader Reader) string {
	for _, field := range []struct {
		name string
		text text
		of   []Reader
	}{
		{"username", e.Username, []Reader{TagResolution, Kubelet}},
		{"password", e.Password, []Reader{TagResolution, Kubelet}},
		{"email", e.Email, []Reader{Kubelet}},
		{"auth", e.Auth, []Reader{TagResolution, Kubelet}},
		{"identitytoken", e.IdentityToken, []Reader{TagResolution}},
		{"registrytoken", e.RegistryToken, []Reader{TagResolution}},
	} {
		if field.text.bad && slices.Contains(field.of, reader) {
			return field.name
		}
	}
	return ""
}

// unsupported returns why one of the readers fails on a field, or an empty string.
func (e *entry) unsupported() string {
	if field := cmp.Or(e.badField(Kubelet), e.badField(TagResolution)); field != "" {
		return field + stringExpected
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

// resolutionUse returns what tag resolution makes of an entry with this username and password:
// it prefers tokens, and sends no incomplete credential (pkg/v1/remote/transport/basic.go:48-57,
// bearer.go:190-210 and 331).
func (e *entry) resolutionUse(c credential) Use {
	switch {
	case e.RegistryToken.value != "":
		return Use{Expires: tokenExpires(e.RegistryToken.value)}
	case e.IdentityToken.value != "":
		return Use{Expires: tokenExpires(e.IdentityToken.value)}
	case c.username == "" || c.password == "":
		return Use{Empty: true}
	}
	return Use{Expires: c.expires()}
}

// kubeletUse returns what the kubelet makes of a username and a password. It passes both on,
// and containerd sends none without a username (ParseAuth in
// internal/cri/server/images/image_pull.go of containerd 2).
func (c credential) kubeletUse() Use {
	if c.username == "" {
		return Use{Empty: true}
	}
	return Use{Expires: c.expires()}
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
