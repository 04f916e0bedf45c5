// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// credential is what one entry holds. It prints as nothing.
type credential struct{ username, password string }

// Format keeps the credential out of every message.
func (credential) Format(state fmt.State, _ rune) { fmt.Fprint(state, "(credential)") }

// text is a field that is a string or null. A null leaves what stood there
// before, and a bad value stays bad, as in encoding/json.
type text struct {
	value string
	bad   bool
}

// UnmarshalJSON never fails, so that its caller can say which field is bad.
func (t *text) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &t.value) != nil {
		t.bad = true
	}
	return nil
}

// credentialOf reads the value of an entry. The reason says what was expected,
// where it is no credential.
//
// Both readers take auth, where it is not empty, and else username and password
// (config.go:256-273, authn.go:67-87), so that they agree where an entry has
// both and those differ. An entry without a username or without a password is
// an error here, because tag resolution sends nothing unless there are both
// (pkg/v1/remote/transport/basic.go:50, bearer.go:331).
func credentialOf(value []byte) (credential, string) {
	var entry struct {
		Username      text `json:"username"`
		Password      text `json:"password"`
		Email         text `json:"email"`
		Auth          text `json:"auth"`
		IdentityToken text `json:"identitytoken"`
		RegistryToken text `json:"registrytoken"`
	}
	if !isObject(value) || json.Unmarshal(value, &entry) != nil {
		return credential{}, "expected an object with auth, or with username and password"
	}
	for _, field := range []struct {
		name string
		text text
	}{
		// The kubelet fails on an email that is no string, and tag resolution
		// on a token: config.go:244-253, authn.go:49-60.
		{"username", entry.Username},
		{"password", entry.Password},
		{"email", entry.Email},
		{"auth", entry.Auth},
		{"identitytoken", entry.IdentityToken},
		{"registrytoken", entry.RegistryToken},
	} {
		if field.text.bad {
			return credential{}, field.name + ": expected a string"
		}
	}
	// The kubelet knows no tokens (config.go:244-253), and tag resolution
	// prefers them to a password (bearer.go:206,245). With one, the two would
	// come as different users, if the kubelet could come at all.
	if entry.IdentityToken.value != "" {
		return credential{}, "identitytoken: not supported by the kubelet; remove it, and use auth or username and password"
	}
	if entry.RegistryToken.value != "" {
		return credential{}, "registrytoken: not supported by the kubelet; remove it, and use auth or username and password"
	}
	if entry.Auth.value != "" {
		c, reason := decodeAuth(entry.Auth.value)
		if reason == "" && (c.username == "" || c.password == "") {
			reason = "auth: expected base64 of username:password; the username or the password is empty"
		}
		return c, reason
	}
	c := credential{entry.Username.value, entry.Password.value}
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

// decodeAuth decodes as both readers do, with padding or without, and to the
// first colon (config.go:285-313, authn.go:102-128).
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

// written is an entry as a copy holds it: auth alone, which keeps every byte
// and which tools other than the two readers take, too. A username with a colon
// cannot be told from the password in it, and came as a field of its own.
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
