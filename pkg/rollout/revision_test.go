// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/rollout"
)

func TestRejected(t *testing.T) {
	const prefix = `Unable to fetch image "ghcr.io/acme/app:1.403": failed to resolve image to digest: `
	for message, want := range map[string]bool{
		prefix + "HEAD https://ghcr.io/v2/acme/app/manifests/1.403: unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)": true,
		prefix + "GET https://ghcr.io/token: unexpected status code 403 Forbidden: no":                                                                          true,
		prefix + "GET https://ghcr.io/token?scope=repository%3Aacme%2Fapp%3Apull: DENIED: denied":                                                               true,
		prefix + "GET https://ghcr.io/v2/: UNAUTHORIZED: authentication required":                                                                               true,
		prefix + "HEAD https://ghcr.io/v2/acme/app/manifests/1.403: unexpected status code 404 Not Found":                                                       false,
		prefix + "GET https://ghcr.io/v2/acme/app/manifests/1.403: MANIFEST_UNKNOWN: manifest sha256:4010a unknown":                                             false,
		prefix + "TOOMANYREQUESTS: slow down": false,
		"":                                    false,
	} {
		if got := rollout.Rejected(message); got != want {
			t.Errorf("%s: rejected is %t", message, got)
		}
	}
}

func TestMentions(t *testing.T) {
	for _, test := range []struct {
		message, image string
		want           bool
	}{
		{`Back-off pulling image "ghcr.io/acme/app@sha256:4f53"`, "ghcr.io/acme/app", true},
		{`Back-off pulling image "ghcr.io/acme/app-worker@sha256:4f53"`, "ghcr.io/acme/app", false},
		{`Back-off pulling image "ghcr.io/acme/app/worker:v1"`, "ghcr.io/acme/app", false},
		{`app-worker:v1 and ghcr.io/acme/app`, "ghcr.io/acme/app", true},
		{`ghcr.io/acme/app-worker, ghcr.io/acme/app.`, "ghcr.io/acme/app", true},
		{`cannot pull ghcr.io/acme/app.old`, "ghcr.io/acme/app", false},
		{`Unable to fetch image "ghcr.io/acme/app:v10"`, "ghcr.io/acme/app:v1", false},
		{`Unable to fetch image "ghcr.io/acme/app:v1"`, "ghcr.io/acme/app:v1", true},
		{`pull "docker.io/acme/app:v1"`, "acme/app", true},
		{`pull "index.docker.io/acme/app:v1"`, "acme/app", true},
		{`pull "docker.io/library/nginx:v1"`, "nginx", true},
		{`pull "ghcr.io/acme/app:v1"`, "acme/app", false},
		{`pull "mirror.example.com/docker.io/acme/app:v1"`, "acme/app", false},
		{`initializing source docker://ghcr.io/acme/app@sha256:4f53: unable to retrieve auth token`, "ghcr.io/acme/app", true},
		{`initializing source docker://acme/app:v1`, "acme/app", true},
		{`pull`, "", false},
	} {
		if got := rollout.Mentions(test.message, test.image); got != test.want {
			t.Errorf("%s: mentions %s is %t, want %t", test.message, test.image, got, test.want)
		}
	}
}

func TestResolved(t *testing.T) {
	r := &servingv1.Revision{}
	r.Spec.Containers, r.Spec.InitContainers = make([]corev1.Container, 1), make([]corev1.Container, 1)
	r.Status.ContainerStatuses = make([]servingv1.ContainerStatus, 1)
	if rollout.Resolved(r) {
		t.Error("resolved without the digest of an init container")
	}
	if r.Status.InitContainerStatuses = make([]servingv1.ContainerStatus, 1); !rollout.Resolved(r) {
		t.Error("not resolved with all digests")
	}
}
