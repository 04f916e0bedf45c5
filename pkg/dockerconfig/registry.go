// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"net/url"
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
func nameOf(key string, number int) string {
	registry, reason := registryOf(key)
	if number > 0 && (reason != "" || !looksLikeRegistry(registry)) {
		return strconv.Itoa(number)
	}
	return annotation.Quote(registry)
}

// looksLikeRegistry reports whether a registry can be shown, because it is no misplaced
// credential.
func looksLikeRegistry(registry string) bool {
	host, _, _ := strings.Cut(registry, "/")
	return strings.ContainsAny(host, ".:") || host == "localhost"
}
