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

// Life is the time in which credentials are valid, as far as it is known.
type Life struct {
	// Begins is when a credential was issued, or zero.
	Begins metav1.Time
	// Expires is when it expires, or zero.
	Expires metav1.Time
}

// Expired reports whether a credential is known to have expired.
func (l Life) Expired(now metav1.Time) bool {
	return !l.Expires.IsZero() && !now.Before(&l.Expires)
}

// Life returns the life of the credential that expires first. The fallback is when those
// expire that do not say so themselves; it may be zero.
func (c Config) Life(fallback metav1.Time) Life { return c.lifeOf(c.contents().index, fallback) }

// ShownLife is Life of the credentials for [Config.Registries].
func (c Config) ShownLife(fallback metav1.Time) Life { return c.lifeOf(c.Registries(), fallback) }

func (c Config) lifeOf(registries []string, fallback metav1.Time) (first Life) {
	contents := c.contents()
	for _, registry := range registries {
		l := contents.credentials[registry].life()
		if l.Expires.IsZero() {
			l = Life{Expires: fallback}
		}
		if first.Expires.IsZero() || !l.Expires.IsZero() && l.Expires.Before(&first.Expires) {
			first = l
		}
	}
	return first
}

// Expiries returns for each registry when its credential expires, where that is known. The fallback
// is that of [Config.Life].
func (c Config) Expiries(fallback metav1.Time) map[string]metav1.Time {
	known := map[string]metav1.Time{}
	for registry, credential := range c.contents().credentials {
		expires := credential.expires()
		if expires.IsZero() {
			expires = fallback
		}
		if !expires.IsZero() {
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
func (c credential) expires() metav1.Time { return c.life().Expires }

// life returns what a credential says about its life.
//
// The password of an ECR authorization token is base64 of a JSON object, whose expiration is
// a time in seconds. Any other password may be a JSON Web Token.
func (c credential) life() Life {
	if c.username != ecrUser {
		claims := claimsOf(c.password)
		return Life{Begins: timeIn(claims, "iat"), Expires: timeIn(claims, "exp")}
	}
	if len(c.password) > maxToken {
		return Life{}
	}
	token, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(c.password, "="))
	if err != nil {
		return Life{}
	}
	return Life{Expires: timeIn(token, "expiration")}
}

// tokenExpires returns the time exp of a signed JSON Web Token, or zero.
func tokenExpires(token string) metav1.Time { return timeIn(claimsOf(token), "exp") }

// claimsOf returns the claims of a signed JSON Web Token, or nil. The signature is not
// checked: a registry rejects a token whose time has passed, whoever signed it.
func claimsOf(token string) []byte {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return nil
	}
	header, rest, _ := strings.Cut(token, ".")
	claims, _, _ := strings.Cut(rest, ".")
	if _, signed := members(segment(header))["alg"]; !signed {
		return nil
	}
	return segment(claims)
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
