// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// jwt returns a signed JSON Web Token with these claims.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte(canary))
}

// ecr returns the password of an authorization token of Amazon ECR.
func ecr(expiration string) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"payload":"` + canary + `","datakey":"AQ==","version":"2","type":"DATA_KEY","expiration":` + expiration + `}`))
}

func seconds(t metav1.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// The life is that of the credential that expires first. The fallback counts for those that do
// not say when they expire.
func TestLife(t *testing.T) {
	const late, later = 1757147299, 1757147300
	token := credential{"u", jwt(`{"iat":1757140000,"exp":1757147299}`)}
	silent := credential{"u", canary}
	for _, test := range []struct {
		reason                    string
		entries                   map[string]credential
		fallback, begins, expires int64
	}{
		{reason: "nothing is known", entries: map[string]credential{"a.io": silent}},
		{reason: "a token", entries: map[string]credential{"a.io": token}, fallback: 1, begins: 1757140000, expires: late},
		{reason: "the fallback", entries: map[string]credential{"a.io": silent}, fallback: later, expires: later},
		{reason: "a token before the fallback", entries: map[string]credential{"a.io": silent, "b.io": token}, fallback: later, begins: 1757140000, expires: late},
		{reason: "a token after the fallback", entries: map[string]credential{"a.io": silent, "b.io": token}, fallback: late - 1, expires: late - 1},
		{reason: "no credential", fallback: late},
	} {
		config, _ := newConfig(test.entries)
		var fallback metav1.Time
		if test.fallback != 0 {
			fallback = metav1.Unix(test.fallback, 0)
		}
		got := config.Life(fallback)
		if seconds(got.Begins) != test.begins || seconds(got.Expires) != test.expires {
			t.Errorf("%s: %v, want %d and %d", test.reason, got, test.begins, test.expires)
		}
		if got.Expired(metav1.Unix(test.expires-1, 0)) || got.Expired(metav1.Unix(test.expires, 0)) != (test.expires != 0) {
			t.Errorf("%s: it does not expire at %d", test.reason, test.expires)
		}
	}
}

// The life of what is shown says nothing of a key that could be a misplaced credential.
func TestShownLife(t *testing.T) {
	const soon, late = 1757147299, 1757147300
	first, last := credential{"u", jwt(`{"exp":1757147299}`)}, credential{"u", jwt(`{"exp":1757147300}`)}
	for _, test := range []struct {
		reason     string
		entries    map[string]credential
		all, shown int64
	}{
		{"shown", map[string]credential{"a.io": first}, soon, soon},
		{"a hidden one before it", map[string]credential{"a.io": last, "Registry:5000": first}, soon, late},
		{"a hidden one after it", map[string]credential{"a.io": first, "Registry:5000": last}, soon, soon},
		{"hidden", map[string]credential{"Registry:5000": first}, soon, 0},
	} {
		config, _ := newConfig(test.entries)
		all, shown := config.Life(metav1.Time{}).Expires, config.ShownLife(metav1.Time{}).Expires
		if seconds(all) != test.all || seconds(shown) != test.shown {
			t.Errorf("%s: %d and %d, want %d and %d", test.reason, seconds(all), seconds(shown), test.all, test.shown)
		}
	}
}

func TestExpires(t *testing.T) {
	nested := strings.Repeat("[", 12000) + strings.Repeat("]", 12000)
	for _, test := range []struct {
		reason, username, password string
		want                       int64
	}{
		{"a password", "u", canary, 0},
		{"no password", "u", "", 0},
		{"ECR", "AWS", ecr("1757147299"), 1757147299},
		{"ECR without padding", "AWS", strings.TrimRight(ecr("1757147299"), "="), 1757147299},
		{"ECR for another user", "u", ecr("1757147299"), 0},
		{"ECR in milliseconds", "AWS", ecr("1757147299000"), 0},
		{"ECR as text", "AWS", ecr(`"1757147299"`), 0},
		{"ECR without a time", "AWS", ecr("null"), 0},
		{"ECR that is no base64", "AWS", "-" + ecr("1757147299"), 0},
		{"ECR that is no JSON", "AWS", base64.StdEncoding.EncodeToString([]byte("canary")), 0},
		{"a token", "u", jwt(`{"exp":1757147299}`), 1757147299},
		{"a token of the user AWS", "AWS", jwt(`{"exp":1757147299}`), 0},
		{"a token with a fraction", "u", jwt(`{"exp":1757147299.9}`), 1757147299},
		{"a token with an exponent", "u", jwt(`{"exp":1.757e9}`), 1757000000},
		{"the last second", "u", jwt(`{"exp":253402300799}`), 253402300799},
		{"after that", "u", jwt(`{"exp":253402300800}`), 0},
		{"a huge number", "u", jwt(`{"exp":1e400}`), 0},
		{"a number with many digits", "u", jwt(`{"exp":` + strings.Repeat("9", 10000) + `}`), 0},
		{"a small number with many digits", "u", jwt(`{"exp":17.` + strings.Repeat("9", 10000) + `}`), 18},
		{"zero", "u", jwt(`{"exp":0}`), 0},
		{"a negative number", "u", jwt(`{"exp":-1}`), 0},
		{"no time", "u", jwt(`{"iat":1757147299}`), 0},
		{"another case", "u", jwt(`{"EXP":1757147299}`), 0},
		{"deeply nested", "u", jwt(`{"exp":1757147299,"x":` + nested + `}`), 0},
		{"a list", "u", jwt(`[1757147299]`), 0},
		{"null", "u", jwt(`null`), 0},
		{"too long", "u", jwt(`{"exp":1757147299,"x":"` + strings.Repeat("x", maxToken) + `"}`), 0},
		{"encrypted", "u", jwt(`{"exp":1757147299}`) + ".a.b", 0},
		{"not signed", "u", "e30." + strings.SplitN(jwt(`{"exp":1757147299}`), ".", 2)[1], 0},
		{"two dots", "u", "..", 0},
	} {
		c := credential{test.username, test.password}
		if got := seconds(c.expires()); got != test.want {
			t.Errorf("%s: expires at %d, want %d", test.reason, got, test.want)
		}
	}
}

// The soonest time of a config counts, and each registry has its own.
func TestConfigExpires(t *testing.T) {
	config := parse(t, auths("ghcr.io", login("u", canary), "quay.io", login("u", jwt(`{"exp":2000}`)), "1.dkr.ecr.eu-west-1.amazonaws.com", login("AWS", ecr("1000"))))
	if got := seconds(config.Life(metav1.Time{}).Expires); got != 1000 {
		t.Errorf("expires at %d, want 1000", got)
	}
	want := map[string]int64{"quay.io": 2000, "1.dkr.ecr.eu-west-1.amazonaws.com": 1000}
	got := map[string]int64{}
	for registry, expires := range config.Expiries(metav1.Time{}) {
		got[registry] = seconds(expires)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
	if unknown := parse(t, auths("ghcr.io", login("u", "p"))); seconds(unknown.Life(metav1.Time{}).Expires) != 0 || len(unknown.Expiries(metav1.Time{})) > 0 || seconds(Config{}.Life(metav1.Time{}).Expires) != 0 {
		t.Error("a password expires")
	}
	fallback := config.Expiries(metav1.Unix(3000, 0))
	if own, other := fallback["quay.io"], fallback["ghcr.io"]; seconds(own) != 2000 || seconds(other) != 3000 {
		t.Errorf("with a fallback: %v", fallback)
	}
}

// Each reader has the time of the credential that it uses.
func TestInspectExpires(t *testing.T) {
	token := func(exp int) string { return quoted(jwt(fmt.Sprintf(`{"exp":%d}`, exp))) }
	for _, test := range []struct {
		reason                     string
		entries                    []string
		resolution, kubelet, first int64
	}{
		{"a password", []string{"ghcr.io", login("u", jwt(`{"exp":10}`))}, 10, 10, 10},
		{"an identity token", []string{"ghcr.io", `{"username":"u","password":` + token(10) + `,"identitytoken":` + token(20) + `}`}, 20, 10, 10},
		{"a registry token", []string{"ghcr.io", `{"auth":"dTpw","identitytoken":` + token(20) + `,"registrytoken":` + token(30) + `}`}, 30, 0, 30},
		{"a username alone", []string{"ghcr.io", `{"username":"u"}`}, 0, 0, 0},
		{"two spellings", []string{"ghcr.io", login("u", jwt(`{"exp":10}`)), "https://ghcr.io", login("u", jwt(`{"exp":20}`))}, 10, 20, 10},
		{"two spellings, one of which never expires", []string{"ghcr.io", login("u", jwt(`{"exp":10}`)), "https://ghcr.io", login("u", "p")}, 10, 0, 10},
		{"two spellings, one of which is empty", []string{"ghcr.io", login("u", jwt(`{"exp":10}`)), "https://ghcr.io", "{}"}, 10, 10, 10},
	} {
		f := Inspect(usual, secret(auths(test.entries...)))
		uses := f.Entries[0].Uses
		if got := [2]int64{seconds(uses[TagResolution].Expires), seconds(uses[Kubelet].Expires)}; got != [2]int64{test.resolution, test.kubelet} {
			t.Errorf("%s: %d, want %d and %d", test.reason, got, test.resolution, test.kubelet)
		}
		if got := seconds(f.Expires()); got != test.first {
			t.Errorf("%s: the first expires at %d, want %d", test.reason, got, test.first)
		}
	}
}

// FuzzExpires checks that any password gives a time that RFC 3339 can express or none, that a
// time in a token is found whatever else the token holds, and that nothing is shown.
func FuzzExpires(f *testing.F) {
	f.Add("AWS", ecr("1757147299"), int64(1757147299), "x")
	f.Add("u", jwt(`{"exp":1757147299}`), int64(1), `"`)
	f.Add("u", "a.b.c", int64(-1), "\xff")
	f.Fuzz(func(t *testing.T, username, password string, at int64, noise string) {
		for _, got := range []metav1.Time{credential{username, password}.expires(), tokenExpires(password)} {
			if !got.IsZero() && (got.Unix() < 1 || got.Unix() > maxSeconds) {
				t.Errorf("expires at %d", got.Unix())
			}
		}
		want := at
		if at < 1 || at > maxSeconds {
			want = 0
		}
		claims := fmt.Sprintf(`{"a":%s,"exp":%d,"Exp":7,"b":[%s]}`, quoted(noise), at, quoted(noise))
		if token := jwt(claims); len(token) <= maxToken && seconds(tokenExpires(token)) != want {
			t.Errorf("%s: %d, want %d", claims, seconds(tokenExpires(token)), want)
		}
		facts := Inspect(usual, secret(auths("ghcr.io", login("u", password+canary), "quay.io", `{"identitytoken":`+quoted(password+canary)+`}`)))
		silent(t, strings.ReplaceAll(fmt.Sprintf("%+v", facts), password, ""))
	})
}
