// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"pullsecrets.dev/pkg/annotation"
)

// registryExpected is what both readers accept as a key.
const registryExpected = "expected a registry: host[:port][/path], optionally after https:// or http://"

// registryOf returns the registry of a key of the config, by the readers' rules. If the key
// has none, the reason says what is expected.
//
// The kubelet skips a key that does not parse, and tag resolution fails on it for all pull
// secrets of the Service. The other rejected keys have parts that the readers drop
// silently, such as user info, or can match no image.
func registryOf(key string) (registry, reason string) {
	_, bare, _ := strings.Cut(withScheme(key), "://")
	if strings.ContainsAny(bare, `@?#%\`) || strings.Contains(bare, "://") || strings.ContainsFunc(bare, unprintable) {
		return "", registryExpected
	}
	registry, ok := addressOf(key)
	host, _, _ := strings.Cut(registry, "/")
	if !ok || host == "" || strings.HasSuffix(host, ":") {
		return "", registryExpected
	}
	return registry, ""
}

// addressOf returns the registry of any key, and fails if the readers cannot parse it
// (keyring.go:136-168, keychain.go:182-207).
func addressOf(key string) (registry string, ok bool) {
	parsed, err := url.Parse(withScheme(key))
	if err != nil {
		return "", false
	}
	path := parsed.Path
	if hasVersion(path) {
		path = path[len("/v1"):]
	}
	if path == "/" {
		path = ""
	}
	return parsed.Host + path, true
}

// withScheme returns a key as a URL.
func withScheme(key string) string {
	if strings.HasPrefix(key, "https://") || strings.HasPrefix(key, "http://") {
		return key
	}
	return "https://" + key
}

// hasVersion reports whether the readers remove the first part of the path, as the docker
// client once did.
func hasVersion(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v2/")
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// nameOf names an entry in an error: by its registry, or by its number if the key is none
// or could be a misplaced credential.
func nameOf(key string, number int, value []byte) string {
	registry, reason := registryOf(key)
	if reason != "" || !looksLikeRegistry(registry) || hasPart(registry, secretsIn(value)) {
		return strconv.Itoa(number)
	}
	return annotation.Quote(registry)
}

// nameOf names the entry of a registry in an error: by the registry, or if that could be a
// misplaced credential by its number, or by the host alone if there is none.
func (c *contents) nameOf(registry string) string {
	if c.shows(registry) {
		return annotation.Quote(registry)
	}
	if number := c.numbers[registry]; number > 0 {
		return strconv.Itoa(number)
	}
	host, _, _ := strings.Cut(registry, "/")
	if name, _ := splitPort(host); c.shows(name) {
		return "below " + annotation.Quote(name)
	}
	return "with a key that is not shown"
}

// shows reports whether a registry can be shown, because it is no misplaced credential. Of a
// key in place of which a credential was pasted, the entry has none. So an entry that has one
// may be for a host of the cluster, such as registry:5000.
func (c *contents) shows(registry string) bool {
	_, hasCredential := c.credentials[registry]
	return c.declared[registry] ||
		(looksLikeRegistry(registry) || hasCredential && looksLikeLocalRegistry(registry)) && !hasPart(registry, c.passwords)
}

// hasPart reports whether a part of a registry is one of these secrets.
func hasPart(registry string, secrets map[string]bool) bool {
	return slices.ContainsFunc(strings.FieldsFunc(registry, func(r rune) bool { return r == '/' || r == ':' }), func(part string) bool { return secrets[part] })
}

// secretsIn returns the secrets in the value of an entry, valid or not.
func secretsIn(value []byte) map[string]bool {
	var e entry
	if !isObject(value) || json.Unmarshal(value, &e) != nil {
		return nil
	}
	c, _ := decodeAuth(e.Auth.value)
	return map[string]bool{e.Password.value: true, c.password: true, e.IdentityToken.value: true, e.RegistryToken.value: true}
}

// maxHost and maxHostLabel are the lengths of the longest host and label (RFC 1035).
const maxHost, maxHostLabel = 253, 63

// looksLikeRegistry reports whether a registry looks like one and not like a misplaced
// credential. Readers match more than that. A token in three parts with dots, such as a JSON
// Web Token, has capital letters or labels that are too long for a host. A host without a dot
// but with a port could be a user and a number, and what follows a colon in a path, a password.
func looksLikeRegistry(registry string) bool {
	host, path, _ := strings.Cut(registry, "/")
	name, port := splitPort(host)
	switch {
	case strings.ContainsFunc(path, func(r rune) bool { return r != '/' && !isPlain(r) }), !isPort(port):
		return false
	case name == "localhost", name == "*":
		return true
	case strings.HasPrefix(host, "["):
		_, err := netip.ParseAddr(strings.Trim(name, "[]"))
		return err == nil
	case !strings.Contains(name, "."), len(name) > maxHost,
		strings.ContainsFunc(name, func(r rune) bool { return unicode.IsUpper(r) || !isPlain(r) }):
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > maxHostLabel {
			return false
		}
	}
	return true
}

// looksLikeLocalRegistry reports whether a registry looks like a host without a dot and with a
// port, and not like a user and a number.
func looksLikeLocalRegistry(registry string) bool {
	host, path, _ := strings.Cut(registry, "/")
	name, port := splitPort(host)
	return port != "" && name != "" && len(name) <= maxHostLabel && looksLikeRegistry("localhost:"+port+"/"+path) &&
		!strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}

// isPlain reports whether a character can be in a host or in a path.
func isPlain(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._*~", r)
}

// isPort reports whether the port of a host is one, or missing.
func isPort(port string) bool {
	number, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && number > 0
}
