// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// What a Service and its ClusterPullSecret report alike is one finding, with the worse severity.
func TestOverviewReportsOnce(t *testing.T) {
	type finding struct {
		Code     Code
		Severity Severity
	}
	broken := func(mark func(*v1alpha1.ClusterPullSecret)) setup {
		return func(o *Objects) {
			grants(mark)(o)
			s := o.Secrets["ghcr"]
			s.Owner = "ghcr"
			o.Secrets["ghcr"] = s
		}
	}
	for _, test := range []struct {
		reason string
		change setup
		want   []finding
	}{
		{"the source is not valid", broken(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Status.MarkSourceInvalid(cps.Spec.SecretRef, "entry 1: the value is not base64")
		}), []finding{{SourceNotReady, Error}}},
		{"the credential is rejected", broken(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Status.MarkCredentialRejected(cps.Spec.SecretRef, "ghcr.io: 401 Unauthorized")
		}), []finding{{Rejected, Error}}},
		{"a Namespace, of two Services", func(o *Objects) { o.Namespace.Annotations["pullsecrets.dev/secret"] = "ghcr" }, []finding{{MisplacedKey, Error}}},
	} {
		failing, working := objects(test.change), objects(ready, test.change)
		reports := []Report{Service(failing), Service(working)}
		_, findings := Overview(reports, failing.Offered)
		var got []finding
		for _, f := range findings {
			if f.Code == SourceNotReady || f.Code == Rejected || f.Code == MisplacedKey {
				got = append(got, finding{f.Code, f.Severity})
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", test.reason, diff)
		}
	}
}
