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

// registryOf returns the registry of a key of the config, by the readers' rules
// (keyring.go:136-168, keychain.go:182-207). If the key has none, the reason says what is
// expected.
//
// The kubelet skips a key that does not parse, and tag resolution fails on it for all pull
// secrets of the Service. The other rejected keys have parts that the readers drop
// silently, such as user info, or can match no image.
func registryOf(key string) (registry, reason string) {
	const expected = "expected a registry: host[:port][/path], optionally after https:// or http://"
	address := key
	if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		address = "https://" + address
	}
	_, bare, _ := strings.Cut(address, "://")
	if strings.ContainsAny(bare, `@?#%\`) || strings.Contains(bare, "://") || strings.ContainsFunc(bare, unprintable) {
		return "", expected
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || strings.HasSuffix(parsed.Host, ":") {
		return "", expected
	}
	path := parsed.Path
	if hasVersion(path) {
		path = path[len("/v1"):]
	}
	if path == "/" {
		path = ""
	}
	return parsed.Host + path, ""
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
	host, _, _ := strings.Cut(registry, "/")
	if number > 0 && (reason != "" || !strings.ContainsAny(host, ".:") && host != "localhost") {
		return strconv.Itoa(number)
	}
	return annotation.Quote(registry)
}
