// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// A rotation that is verified counts once, at its end.
func TestReadinessChanged(t *testing.T) {
	state := func(mark func(*v1alpha1.ClusterPullSecretStatus)) *v1alpha1.ClusterPullSecret {
		cps := &v1alpha1.ClusterPullSecret{}
		cps.Status.InitializeConditions()
		mark(&cps.Status)
		return cps
	}
	var ref v1alpha1.SecretReference
	ready := state(func(s *v1alpha1.ClusterPullSecretStatus) { s.MarkSourceReady() })
	lost := state(func(s *v1alpha1.ClusterPullSecretStatus) { s.MarkSourceNotFound(ref) })
	verifying := state(func(s *v1alpha1.ClusterPullSecretStatus) { s.MarkSourceUnverified(ref) })
	for _, tt := range []struct {
		was, is *v1alpha1.ClusterPullSecret
		want    bool
	}{
		{ready, ready, false}, {ready, lost, true}, {lost, ready, true}, {ready, verifying, false}, {lost, verifying, false},
		{verifying, verifying, false}, {verifying, ready, true}, {verifying, lost, true},
	} {
		if got := readinessChanged(tt.was, tt.is); got != tt.want {
			t.Errorf("from %+v to %+v: %t, want %t", tt.was.Status.Conditions, tt.is.Status.Conditions, got, tt.want)
		}
	}
}
