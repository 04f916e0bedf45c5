// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLint(t *testing.T) {
	const secret = "cAnArY-hunter2"
	entry := func(key, password string) string {
		return fmt.Sprintf("%q:{\"auth\":%q}", key, base64.StdEncoding.EncodeToString([]byte("robot:"+password)))
	}
	auths := func(entries ...string) string { return `{"auths":{` + strings.Join(entries, ",") + `}}` }
	for _, test := range []struct {
		reason string
		text   string
		// images are those for tag resolution and the kubelet of the first entry.
		images string
		defect Defect
		want   string // part of the only mistake, or empty if there is none
		better string
	}{
		{"good", auths(entry("ghcr.io", secret)), "ghcr.io/* ghcr.io/*", 0, "", ""},
		{"a path", auths(entry("ghcr.io/acme", secret)), "ghcr.io/acme* ghcr.io/acme*", 0, "", ""},
		{"Docker Hub", auths(entry("https://index.docker.io/v1/", secret)), "docker.io/* docker.io/*", 0, "", ""},
		{"docker.io", auths(entry("docker.io", secret)), " docker.io/*", OneReader, "tag resolution finds this key for no image", "https://index.docker.io/v1/"},
		{"docker.io with a path", auths(entry("docker.io/acme", secret)), " docker.io/acme*", OneReader, "tag resolution finds this key for no image", "index.docker.io/acme"},
		{"the web site", auths(entry("hub.docker.com", secret)), " ", NoImage, "no image matches", "https://index.docker.io/v1/"},
		{"capitals", auths(entry("GHCR.io", secret)), "images of this host images of this host", NoImage, "same spelling match this key; use lower case", ""},
		{"a tag", auths(entry("ghcr.io/acme/app:v1", secret)), " ", NoImage, "no image matches", "ghcr.io/acme/app"},
		{"a user and a number", auths(entry("user:12345", secret)), "images of this host images of this host", 0, "", ""},
		{"a password in a path", auths(entry("ghcr.io/robot:"+secret, secret)), " ", NoImage, "no image matches", "ghcr.io/robot"},
		{"a user with a dot, and a number", auths(entry("john.doe:12345", "12345")), "images of this host images of this host", 0, "", ""},
		{"a list", auths(entry("ghcr.io,quay.io", secret)), "images of this host ", OneReader, "no image that a node pulls", "ghcr.io"},
		{"/v2", auths(entry("https://ghcr.io/v2", secret)), "ghcr.io/v2* ghcr.io/v2*", NoImage, "same spelling", "ghcr.io"},
		{"a line break", auths(entry("ghcr.io", secret+"\n")), "ghcr.io/* ghcr.io/*", TrailingLineBreak, "password ends with a line break", ""},
		{"twice", auths(entry("ghcr.io", secret), entry("https://ghcr.io", secret)), "ghcr.io/* ghcr.io/*", Repeated, "same registry as entry 1; keep one", ""},
		{"twice with other credentials", auths(entry("ghcr.io", secret), entry("https://ghcr.io", "other")), "ghcr.io/* ghcr.io/*", Repeated, "is random", ""},
		{"an identity token", `{"auths":{"ghcr.io":{"identitytoken":"` + secret + `"}}}`, "ghcr.io/* ghcr.io/*", NoNodeToken, "not supported by the kubelet", ""},
		{"no credential", `{"auths":{"ghcr.io":{}}}`, "ghcr.io/* ghcr.io/*", BadEntry, "no credential", ""},
		{"no base64", `{"auths":{"ghcr.io":{"auth":"%"}}}`, "ghcr.io/* ghcr.io/*", BadEntry, "not base64", ""},
		{"a credential for a key", auths(entry("robot:"+secret+"@ghcr.io", "x")), " ", BadEntry, "expected a registry", ""},
		{"helpers", `{"credsStore":"desktop","auths":{"ghcr.io":{"auth":"YTpi"}}}`, "ghcr.io/* ghcr.io/*", BadConfig, "credential helpers do not run on nodes", ""},
		{"no auths", `{}`, "", BadConfig, "auths is missing", ""},
		{"no JSON", secret, "", BadConfig, "invalid JSON", ""},
		{"empty", "", "", BadConfig, "empty", ""},
	} {
		entries, mistakes := Lint(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(test.text)}, metav1.Unix(1000, 0))
		images := ""
		if len(entries) > 0 {
			images = entries[0].Images[TagResolution] + " " + entries[0].Images[Kubelet]
		}
		if images != test.images {
			t.Errorf("%s: images %q, want %q", test.reason, images, test.images)
		}
		switch {
		case test.want == "" && len(mistakes) == 0:
		case len(mistakes) != 1 || test.want == "" || mistakes[0].Defect != test.defect || !strings.Contains(mistakes[0].Reason, test.want) || mistakes[0].Better != test.better:
			t.Errorf("%s: mistakes %+v, want defect %d with %q and %q", test.reason, mistakes, test.defect, test.want, test.better)
		}
		if text := fmt.Sprintf("%+v %+v", entries, mistakes); strings.Contains(text, secret) {
			t.Errorf("%s: a credential is in %s", test.reason, text)
		}
	}
}
