// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A policy would reject leases of other names, so the setting is rejected too.
func TestLeaderElection(t *testing.T) {
	for _, test := range []struct {
		data map[string]string
		want string
	}{
		{map[string]string{"buckets": "2"}, ""},
		{map[string]string{"buckets": "many"}, "buckets"},
		{map[string]string{"map-lease-prefix.controller.Namespaces": "other"}, "map-lease-prefix.controller.Namespaces is not supported"},
	} {
		_, err := newLeaderElection(&corev1.ConfigMap{Data: test.data})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.data, err, test.want)
		}
	}
}
