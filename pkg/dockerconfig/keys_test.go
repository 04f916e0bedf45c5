// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	const auth = `{"auth":"cm9ib3Q6aHVudGVyMg=="}` // robot:hunter2
	for _, test := range []struct {
		reason, text string
		want         []string
		ok           bool
	}{
		{"nothing", "", nil, true},
		{"null", "null", nil, true},
		{"no entry", `{"auths":{}}`, nil, true},
		{"null in place of entries", `{"auths":null}`, nil, true},
		{"a key as it is written", `{"auths":{"https://ghcr.io/v1/acme/":` + auth + `}}`, []string{"https://ghcr.io/v1/acme/"}, true},
		{"a wildcard and a port", `{"Auths":{"*.example.com:5000/acme":` + auth + `}}`, []string{"*.example.com:5000/acme"}, true},
		{"an entry without a credential", `{"auths":{"ghcr.io":{}}}`, []string{"ghcr.io"}, true},
		{"a key twice", `{"auths":{"ghcr.io":` + auth + `,"ghcr.io":` + auth + `}}`, []string{"ghcr.io", "ghcr.io"}, true},
		{"auths twice", `{"auths":{"ghcr.io":` + auth + `},"auths":{"quay.io":` + auth + `}}`, []string{"ghcr.io", "quay.io"}, true},
		{"the password as the key", `{"auths":{"hunter2.example.com":{"username":"robot","password":"hunter2.example.com"}}}`, []string{""}, true},
		{"the password in the path", `{"auths":{"ghcr.io/hunter2":` + auth + `}}`, []string{""}, true},
		{"a user in the key", `{"auths":{"robot:hunter2@ghcr.io":` + auth + `}}`, []string{""}, true},
		{"a token as the key", `{"auths":{"ghp_AbCd":` + auth + `}}`, []string{""}, true},
		{"other fields", `{"auths":{"ghcr.io":` + auth + `},"HttpHeaders":{"a":"b"}}`, nil, false},
		{"entries without auths", `{"ghcr.io":` + auth + `}`, nil, false},
		{"a comma too many", `{"auths":{"ghcr.io":` + auth + `,}}`, nil, false},
		{"no base64", `{"auths":{"ghcr.io":{"auth":"%"}}}`, nil, false},
		{"a field that the kubelet rejects", `{"auths":{"ghcr.io":{"email":1}}}`, nil, false},
		{"a key that tag resolution rejects", `{"auths":{"a b":` + auth + `}}`, nil, false},
	} {
		if got, ok := Keys([]byte(test.text)); !slices.Equal(got, test.want) || ok != test.ok {
			t.Errorf("%s: Keys() = %q, %t, want %q, %t", test.reason, got, ok, test.want, test.ok)
		}
	}
}

func TestKeyCovers(t *testing.T) {
	for _, test := range []struct {
		key, image string
		want       bool
	}{
		{"ghcr.io/acme", "ghcr.io/acme/app", true},
		{"ghcr.io/acme", "ghcr.io/other/app", false},
		{"https://index.docker.io/v1/", "acme/app", true},
		{"index.docker.io/acme", "acme/app", false}, // The kubelet does not find it.
		{"docker.io/acme", "acme/app", false},       // Tag resolution does not find it.
		{"a b", "a b", false},
	} {
		if got := KeyCovers(test.key, test.image); got != test.want {
			t.Errorf("KeyCovers(%q, %q) = %t", test.key, test.image, got)
		}
	}
}
