// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import "testing"

// Only what the registry answered decides whether it rejected a request, and no part of the
// image's reference.
func TestRejection(t *testing.T) {
	for message, want := range map[string]bool{
		unauthorized: true,
		`Unable to fetch image "ghcr.io/acme/app:1.403": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/1.403: unexpected status code 404 Not Found`:                                   false,
		`Unable to fetch image "ghcr.io/unauthorized/forbidden:403": failed to resolve image to digest: GET https://ghcr.io/v2/: MANIFEST_UNKNOWN: manifest unknown`:                                                  false,
		`ErrImagePull: failed to pull and unpack image "ghcr.io/acme/app@sha256:0401": failed to resolve reference "ghcr.io/acme/app@sha256:0401": ghcr.io/acme/app@sha256:0401: not found`:                           false,
		`ErrImagePull: failed to pull and unpack image "ghcr.io/denied:403": failed to resolve reference "ghcr.io/denied:403": dial tcp 10.4.0.1:403: connect: connection refused`:                                    false,
		`ErrImagePull: failed to pull and unpack image "ghcr.io/acme/app:v1": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token: 401 Unauthorized`:    true,
		`ErrImagePull: failed to pull and unpack image "docker.io/acme/app:v1": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`: true,
		`ErrImagePull: reading manifest v1 in ghcr.io/acme/app: denied: requested access to the resource is denied`:                                                                                                   true,
		`ImagePullBackOff: Back-off pulling image "ghcr.io/acme/app:v1": ErrImagePull: no basic auth credentials`:                                                                                                     true,
		`ErrImagePull: unable to pull image: initializing source: reading manifest: StatusCode: 403 (Forbidden)`:                                                                                                      true,
		`Revision "web-1" failed with message: 401 Unauthorized`: false,
	} {
		var f failure
		f.take(message)
		if f.rejected != want {
			t.Errorf("%s: rejected is %t", message, f.rejected)
		}
	}
}
