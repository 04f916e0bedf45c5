// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// The first expiry of several credentials says nothing about each of them.
func TestExpiresOf(t *testing.T) {
	at := metav1.Unix(1000, 0)
	for _, test := range []struct {
		registries []string
		expires    *metav1.Time
		known      bool
	}{
		{[]string{"ghcr.io"}, &at, true},
		{[]string{"ghcr.io"}, nil, false},
		{[]string{"index.docker.io/acme", "docker.io/acme"}, &at, true},
		{[]string{"docker.io/acme", "index.docker.io"}, &at, false},
		{[]string{"ghcr.io", "quay.io"}, &at, false},
		{nil, &at, false},
	} {
		cps := &v1alpha1.ClusterPullSecret{}
		cps.Status.Registries, cps.Status.Expires = test.registries, test.expires
		if got := grant.ExpiresOf(cps); got.IsZero() == test.known || test.known && !got.Equal(&at) {
			t.Errorf("%v until %v: ExpiresOf() = %v", test.registries, test.expires, got)
		}
	}
}
