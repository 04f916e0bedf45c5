// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"strings"
	"testing"
)

// The templates of tests: a word stands for all but the name.
const (
	plain   = "/v1"
	another = "/v2"
	named1  = "app-1/v1"
	named2  = "app-2/v1"
)

// side returns a Service with this template.
func side(words, template string) (s Side, rest string) {
	name, rest, _ := strings.Cut(template, "/")
	return Side{Current: current(words, ""), Name: name}, rest
}

func TestAdmitUpdate(t *testing.T) {
	declaresMore := Declared{Namespace: list("n more")}
	tests := []struct {
		reason         string
		old, requested string
		oldTemplate    string
		newTemplate    string
		secrets        string
		inject         string
		noted          bool
		declared       Declared
		taken          *Revision
		verdict        Verdict
		want           string
	}{
		{
			reason: "nothing changed: what was dropped is restored, and nothing that is due comes with it",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: plain, declared: declaresMore, verdict: Restore,
		},
		{
			reason: "the template changed",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: another, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the user's own entries changed",
			old:    "n=namespace", requested: "mine", oldTemplate: plain, newTemplate: plain, declared: declaresMore,
			verdict: Renew, want: "mine n=namespace more=namespace",
		},
		{
			reason: "the Service's secrets annotation changed",
			old:    "n=namespace", requested: "n", oldTemplate: plain, newTemplate: plain, secrets: "s", declared: Declared{Service: list("s")},
			verdict: Renew, want: "s=service",
		},
		{
			reason: "the Service's inject annotation changed",
			old:    "n=namespace", requested: "n", oldTemplate: plain, newTemplate: plain, inject: "disabled",
			verdict: Renew, want: "",
		},
		{
			reason: "the second call after an addition, and Knative found nothing else that changed",
			old:    "n=namespace", requested: "n=namespace more=namespace", oldTemplate: plain, newTemplate: plain, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the second call after a removal, and Knative has found no other change",
			old:    "gone=namespace n=namespace", requested: "n=namespace", oldTemplate: plain, newTemplate: plain, noted: true,
			declared: Declared{Namespace: list("n")}, verdict: Revert,
		},
		{
			reason: "the second call after one that failed: entries are dropped, and Knative noted that",
			old:    "n=namespace m=namespace", requested: "n", oldTemplate: plain, newTemplate: plain, noted: true,
			declared: Declared{Namespace: list("n m")}, verdict: Revert,
		},
		{
			reason: "the second call after one that failed, and more is due",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: plain, noted: true, declared: declaresMore, verdict: Revert,
		},
		{
			reason: "the second call after one that failed, with a changed template",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: "v2", noted: true, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the second call after something was restored: what Knative noted is another change, of the traffic",
			old:    "n=namespace", requested: "n=namespace", oldTemplate: plain, newTemplate: plain, noted: true, declared: declaresMore, verdict: Restore,
		},
		{
			reason: "an unchanged name: nothing new",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: named1, declared: declaresMore, verdict: Restore,
		},
		{
			reason: "an unchanged name, after a first call that failed",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: named1, noted: true, declared: declaresMore, verdict: Revert,
		},
		{
			reason: "an unchanged name and a changed template: Knative rejects it, the list is not changed",
			old:    "n=namespace", requested: "n", oldTemplate: named1,
			newTemplate: "app-1/v2", declared: declaresMore, verdict: Restore,
		},
		{
			reason: "an unchanged name and other own entries: Knative must see and reject it",
			old:    "n=namespace", requested: "mine n", oldTemplate: named1, newTemplate: named1, declared: declaresMore, verdict: Leave,
		},
		{
			reason: "the next name",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: named2, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the name is dropped",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: plain, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "an earlier name: that Revision's list",
			old:    "n=namespace more=namespace", requested: "", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("n")}, verdict: Renew, want: "n=namespace",
		},
		{
			reason: "an earlier name from before the opt-in",
			old:    "n=namespace", requested: "", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{}, verdict: Renew, want: "",
		},
		{
			reason: "an earlier name with other own entries is not corrected",
			old:    "n=namespace", requested: "mine", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("other n")}, verdict: Renew, want: "mine n=namespace more=namespace",
		},
		{
			reason: "an earlier name from before a retraction",
			old:    "n=namespace", requested: "mine n", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("mine gone n")}, verdict: Renew, want: "mine gone=namespace n=namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			old, before := side(tt.old, tt.oldTemplate)
			requested, after := side(tt.requested, tt.newTemplate)
			requested.Secrets, requested.Inject, requested.Noted = tt.secrets, tt.inject, tt.noted
			verdict, got := AdmitUpdate(old, requested, func() bool { return before != after }, tt.declared, tt.taken)
			if verdict != tt.verdict {
				t.Fatalf("verdict = %s, want %s", verdict, tt.verdict)
			}
			if verdict == Renew && render(got) != tt.want {
				t.Errorf("list = %q, want %q", render(got), tt.want)
			}
		})
	}
}
