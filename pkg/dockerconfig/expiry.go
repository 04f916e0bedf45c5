// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ecrUser is the user of an authorization token of Amazon ECR.
	ecrUser = "AWS"
	// maxToken is the length of a token up to which it is decoded. Those of the registries
	// have a few kilobytes.
	maxToken = 64 << 10
	// maxSeconds is the end of the year 9999, after which RFC 3339 has no times.
	maxSeconds = 253402300799
)

// Expires returns when the first credential of the config expires, or zero if that is not
// known of any.
func (c Config) Expires() (soonest metav1.Time) {
	for _, credential := range c.contents().credentials {
		soonest = sooner(soonest, credential.expires())
	}
	return soonest
}

// Expiries returns for each registry when its credential expires, where that is known.
func (c Config) Expiries() map[string]metav1.Time {
	known := map[string]metav1.Time{}
	for registry, credential := range c.contents().credentials {
		if expires := credential.expires(); !expires.IsZero() {
			known[registry] = expires
		}
	}
	return known
}

// sooner returns the earlier of two times, of which each may be unknown, which is zero.
func sooner(a, b metav1.Time) metav1.Time {
	if a.IsZero() || !b.IsZero() && b.Before(&a) {
		return b
	}
	return a
}

// expires returns when a credential expires, or zero if it does not say.
//
// The password of an ECR authorization token is base64 of a JSON object, whose expiration is
// a time in seconds. Any other password may be a JSON Web Token.
func (c credential) expires() metav1.Time {
	if c.username != ecrUser {
		return tokenExpires(c.password)
	}
	if len(c.password) > maxToken {
		return metav1.Time{}
	}
	token, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(c.password, "="))
	if err != nil {
		return metav1.Time{}
	}
	return timeIn(token, "expiration")
}

// tokenExpires returns the time exp of a signed JSON Web Token, or zero. The signature is not
// checked: a registry rejects a token whose time has passed, whoever signed it.
func tokenExpires(token string) metav1.Time {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return metav1.Time{}
	}
	header, rest, _ := strings.Cut(token, ".")
	claims, _, _ := strings.Cut(rest, ".")
	if _, signed := members(segment(header))["alg"]; !signed {
		return metav1.Time{}
	}
	return timeIn(segment(claims), "exp")
}

// segment decodes a part of a JSON Web Token.
func segment(part string) []byte {
	decoded, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil
	}
	return decoded
}

// members returns the members of a JSON object. Their names are compared by case, unlike
// those of a struct.
func members(text []byte) (all map[string]json.RawMessage) {
	if json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

// timeIn returns a member of a JSON object that is a time in seconds since 1970, possibly with
// a fraction, or zero if there is no such time.
func timeIn(text []byte, member string) metav1.Time {
	seconds, err := strconv.ParseFloat(string(members(text)[member]), 64)
	// ParseFloat also takes what is no number in JSON, such as Inf, but no text of JSON has it.
	if err != nil || seconds < 1 || seconds > maxSeconds {
		return metav1.Time{}
	}
	return metav1.Unix(int64(seconds), 0)
}
