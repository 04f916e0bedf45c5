// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// writtenBy is an entry of managedFields.
func writtenBy(field string, at int64) metav1.ManagedFieldsEntry {
	moment := metav1.Unix(at, 0)
	return metav1.ManagedFieldsEntry{Manager: "kubectl", Time: &moment, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"` + field + `":{}}`)}}
}

// wrote is when the data of the Secret were written last.
func wrote(at int64) setup {
	return func(o *Objects) {
		s := o.Secrets["ghcr"]
		s.Written.CreationTimestamp = metav1.Unix(1, 0)
		s.Written.ManagedFields = []metav1.ManagedFieldsEntry{writtenBy("f:data", at)}
		o.Secrets["ghcr"] = s
	}
}

// failed is when the Revision failed, which was created at second 500.
func failed(at int64) setup {
	return func(o *Objects) {
		o.Revisions[0].CreationTimestamp = metav1.Unix(500, 0)
		o.Revisions[0].Status.Conditions[0].LastTransitionTime = apis.VolatileTime{Inner: metav1.Unix(at, 0)}
	}
}

// copyOf makes the Secret a copy of version 2 of a source that changed.
func copyOf(changed int64, version string) setup {
	return func(o *Objects) {
		at := metav1.Unix(changed, 0)
		grants(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Status.Source = &v1alpha1.SourceStatus{ResourceVersion: version, LastChanged: &at}
			cps.Status.Registries = []string{"ghcr.io"}
		})(o)
		s := o.Secrets["ghcr"]
		s.Owner, s.Written.Annotations = "ghcr", map[string]string{pullsecrets.SourceResourceVersionAnnotation: "2"}
		o.Secrets["ghcr"] = s
	}
}

// withoutRevisions is what the command status reads.
func withoutRevisions(at int64) setup {
	return func(o *Objects) {
		o.Revisions = nil
		for i, c := range o.Service.Status.Conditions {
			if c.Type == servingv1.ServiceConditionConfigurationsReady {
				o.Service.Status.Conditions[i].LastTransitionTime = apis.VolatileTime{Inner: metav1.Unix(at, 0)}
			}
		}
	}
}

// The conditions of a Revision keep the message about its tags until it is Ready.
func TestResolvedSince(t *testing.T) {
	resolved := func(o *Objects) {
		o.Revisions[0].Status.ContainerStatuses = make([]servingv1.ContainerStatus, len(o.Revisions[0].Spec.Containers))
	}
	if got := Service(objects(failed(510), wrote(600))).Findings; len(got) != 1 || got[0].Code != RetryDue {
		t.Fatalf("before its tags are resolved: %+v, want RetryDue", got)
	}
	if got := Service(objects(failed(510), wrote(600), resolved)).Findings; len(got) != 0 {
		t.Errorf("after its tags are resolved: %+v, want no finding", got)
	}
}

// A credential that changed after the registry had rejected the Revision is not called rejected,
// unless it was certainly tried since.
func TestChangedCredential(t *testing.T) {
	for _, test := range []struct {
		reason  string
		setups  []setup
		code    Code
		message string
		// unread is a part of what was not checked, or empty.
		unread string
	}{
		{"changed after the failure", []setup{failed(510), wrote(600)}, RetryDue, "Secret ghcr changed at 1970-01-01T00:10:00Z, after", ""},
		{"changed before the Revision was created", []setup{failed(510), wrote(400)}, RejectedPull, "", ""},
		{"changed in the second in which it was created", []setup{failed(500), wrote(500)}, RejectedPull, "", ""},
		{"changed after it was created, and it failed otherwise since", []setup{failed(700), wrote(600)}, RejectedPull, "", ""},
		{"changed so long ago that Knative has tried since", []setup{failed(510), wrote(600), func(o *Objects) { o.Now = metav1.Unix(600+1061, 0) }}, RejectedPull, "", ""},
		{"created after the failure", []setup{failed(510), wrote(600), func(o *Objects) {
			s := o.Secrets["ghcr"]
			s.Written = metav1.ObjectMeta{CreationTimestamp: metav1.Unix(600, 0)}
			o.Secrets["ghcr"] = s
		}}, RetryDue, "changed at 1970-01-01T00:10:00Z", ""},
		{"no record of its change", []setup{failed(510)}, RejectedPull, "", "whether Secret ghcr changed after the attempt: not checked (its managedFields do not say so)"},
		{"a copy of a source that changed since", []setup{copyOf(600, "2"), failed(510), wrote(601)}, RetryDue, "", ""},
		{"a copy whose labels alone were written since", []setup{copyOf(400, "2"), failed(510), wrote(600)}, RejectedPull, "", ""},
		{"a copy of another version than the status has", []setup{copyOf(400, "3"), failed(510), wrote(600)}, RetryDue, "", ""},
		{"a copy that follows a source whose first attempt failed with the old one", []setup{copyOf(600, "2"), failed(605), wrote(610)}, RetryDue, "", ""},
		{"the ServiceAccount lists it since", []setup{bare, func(o *Objects) { o.Namespace.Annotations = nil }, account(nil, "ghcr"), failed(510), wrote(400), func(o *Objects) {
			o.Account.ManagedFields = []metav1.ManagedFieldsEntry{writtenBy("f:imagePullSecrets", 600)}
		}}, RetryDue, "", ""},
		{"without the Revision, changed after the failure", []setup{withoutRevisions(510), wrote(600)}, RetryDue, "", ""},
		{"without the Revision, changed before the failure", []setup{withoutRevisions(510), wrote(500)}, RejectedPull, "", ""},
		{"a node tries more often", []setup{pod("user-container"), wrote(700)}, RetryDue, "the node tries again after up to 5 minutes", ""},
		{"a condition says that a node could not pull", []setup{failed(510), wrote(700), func(o *Objects) {
			const backOff = `Back-off pulling image "ghcr.io/acme/app:v1": ErrImagePull: failed to pull and unpack image: unexpected status: 401 Unauthorized`
			o.Service.Status.Conditions[0].Message, o.Revisions[0].Status.Conditions[0].Message = backOff, backOff
		}}, RetryDue, "the node tries again after up to 5 minutes", ""},
		{"a node has tried since", []setup{pod("user-container"), wrote(600)}, RejectedPull, "", ""},
		{"the image does not exist", []setup{failed(510), wrote(400), func(o *Objects) {
			const notFound = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 404 Not Found`
			o.Service.Status.Conditions[0].Message, o.Revisions[0].Status.Conditions[0].Message = notFound, notFound
		}}, RetryDue, "404 Not Found; Knative tries again", ""},
	} {
		report := Service(objects(test.setups...))
		if len(report.Findings) == 0 || report.Findings[0].Code != test.code || !strings.Contains(report.Findings[0].Message, test.message) {
			t.Errorf("%s: findings\n%s\nwant %s with %q", test.reason, listed(report.Findings), test.code, test.message)
			continue
		}
		var unread []string
		for _, u := range report.Unread {
			unread = append(unread, u.String())
		}
		if got := strings.Join(unread, "\n"); got != test.unread {
			t.Errorf("%s: not checked is %q, want %q", test.reason, got, test.unread)
		}
	}
}

// No command is given that retry would refuse.
func TestRetryCommand(t *testing.T) {
	was := func(o *Objects) { o.Service.Status.LatestReadyRevisionName = o.Revisions[0].Name }
	for _, setups := range [][]setup{{was}, {was, failed(510), wrote(600)}} {
		report := Service(objects(setups...))
		if f := report.Findings[0]; f.Command != "" || !strings.Contains(strings.ToLower(f.Remedy), "wait for the next attempt") {
			t.Errorf("finding is %+v", f)
		}
	}
}

// The expiry of a copy that says nothing itself is that of its ClusterPullSecret.
func TestExpiryOfACopy(t *testing.T) {
	expires := func(at int64, registries ...string) setup {
		return func(o *Objects) {
			end := metav1.Unix(at, 0)
			o.Offered[0].Status.Expires = &end
			if len(registries) > 0 {
				o.Offered[0].Status.Registries = registries
			}
		}
	}
	for _, test := range []struct {
		reason string
		setups []setup
		code   Code
		shown  int64
	}{
		{"expired", []setup{copyOf(1, "2"), expires(900)}, Expired, 900},
		{"expires soon", []setup{ready, copyOf(1, "2"), expires(2000)}, ExpiresSoon, 2000},
		{"one of several credentials has expired", []setup{ready, copyOf(1, "2"), expires(900, "ghcr.io", "quay.io")}, "", 900},
		{"the status is about another version", []setup{ready, copyOf(1, "3"), expires(900)}, "", 0},
	} {
		report := Service(objects(test.setups...))
		var first Code
		if len(report.Findings) > 0 {
			first = report.Findings[0].Code
		}
		var shown int64
		if e := report.PullSecrets[0].Expires; e != nil {
			shown = e.Unix()
		}
		if first != test.code || shown != test.shown {
			t.Errorf("%s: first finding is %q, expiry %d; want %q, %d\n%s", test.reason, first, shown, test.code, test.shown, listed(report.Findings))
		}
	}
}

// What is kept of the metadata of a Secret has no credential.
func TestWrittenOf(t *testing.T) {
	secret := metav1.ObjectMeta{Name: "ghcr"}
	secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: canary, pullsecrets.SourceResourceVersionAnnotation: "4"}
	written := WrittenOf(&secret)
	if len(written.Annotations) != 1 || written.Annotations[pullsecrets.SourceResourceVersionAnnotation] != "4" {
		t.Errorf("annotations are %v", written.Annotations)
	}
}
