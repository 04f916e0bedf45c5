// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
)

// Report is the explanation of one Service.
type Report struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	// Ready is the status of the newest Revision: True, False or Unknown.
	Ready    string `json:"ready"`
	Revision string `json:"revision,omitempty"`
	// Failure is what Knative or the node reports about the newest Revision.
	Failure string `json:"failure,omitempty"`
	// Images are all images, with their coverage.
	Images []ImageReport `json:"images"`
	// PullSecrets are those of the list and of the ServiceAccount.
	PullSecrets []EntryReport `json:"pullSecrets"`
	// Next is what the next change of the template adds and removes.
	Next Change `json:"nextChange"`
	// Covered and Total count images, without the queue-proxy of Knative's releases, which is
	// public, if nothing covers it.
	Covered  int       `json:"covered"`
	Total    int       `json:"total"`
	Findings []Finding `json:"-"`
	Unread   []Unread  `json:"-"`
}

// ImageReport is the coverage of one image.
type ImageReport struct {
	Kind  coverage.Kind `json:"kind"`
	Name  string        `json:"name"`
	Image string        `json:"image"`
	// Revision is the name of an earlier Revision that gets traffic, or empty for the template.
	Revision      string        `json:"revision,omitempty"`
	TagResolution VerdictReport `json:"tagResolution"`
	Kubelet       VerdictReport `json:"kubelet"`
}

// VerdictReport is how one reader gets a credential.
type VerdictReport struct {
	Reason  coverage.Reason `json:"reason"`
	Message string          `json:"message"`
	// Secret and Key are what the reason is about.
	Secret  string        `json:"secret,omitempty"`
	Key     string        `json:"key,omitempty"`
	Entries []MatchReport `json:"entries,omitempty"`
}

// MatchReport is what one Secret has for one image and reader.
type MatchReport struct {
	Secret         string          `json:"secret"`
	ServiceAccount bool            `json:"serviceAccount,omitempty"`
	Unread         bool            `json:"notRead,omitempty"`
	Reason         coverage.Reason `json:"reason"`
	Key            string          `json:"key,omitempty"`
	Expires        *metav1.Time    `json:"expires,omitempty"`
}

// EntryReport is one entry of a list of pull secrets.
type EntryReport struct {
	Secret string `json:"secret"`
	// Origin is why it is there: an origin of the ledger, "user", or "serviceaccount/NAME"
	// for one that only the ServiceAccount lists.
	Origin string `json:"origin"`
	// OnlyAccount means that it is in the list of the ServiceAccount, and not in the Service's.
	OnlyAccount bool `json:"onlyServiceAccount,omitempty"`
	// Declared are the layers that declare it now.
	Declared []string `json:"declared,omitempty"`
	// State says what is known of the Secret.
	State      string       `json:"state"`
	Registries []string     `json:"registries,omitempty"`
	Expires    *metav1.Time `json:"expires,omitempty"`
}

// Change is what happens to a list.
type Change struct {
	Add    []OriginReport `json:"add,omitempty"`
	Remove []OriginReport `json:"remove,omitempty"`
	// When is "now", "with the next change" or "with the next name", or empty if nothing changes.
	When string `json:"when,omitempty"`
}

// OriginReport is a name and its origin.
type OriginReport struct {
	Secret string `json:"secret"`
	Origin string `json:"origin"`
}

// imageReport returns a result without what only this process needs.
func imageReport(r coverage.Result, revision string) ImageReport {
	return ImageReport{
		Kind: r.Kind, Name: r.Name, Image: r.Reference, Revision: revision,
		TagResolution: verdictReport(r.Verdicts[dockerconfig.TagResolution]),
		Kubelet:       verdictReport(r.Verdicts[dockerconfig.Kubelet]),
	}
}

func verdictReport(v coverage.Verdict) VerdictReport {
	report := VerdictReport{Reason: v.Reason, Message: v.Message()}
	if e, decisive := v.Decisive(); decisive {
		report.Secret, report.Key = e.Secret, e.Key
	}
	for _, e := range v.Entries {
		report.Entries = append(report.Entries, MatchReport{
			Secret: e.Secret, ServiceAccount: e.ServiceAccount, Unread: e.Unread, Reason: e.Reason, Key: e.Key, Expires: known(e.Expires),
		})
	}
	return report
}

// known returns a time for JSON, or nil for an unknown one.
func known(t metav1.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
