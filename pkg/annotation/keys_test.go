// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

func TestMisplaced(t *testing.T) {
	keys := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, name := range names {
			m[name] = "x"
		}
		return m
	}
	many := map[string]string{}
	for i := range 1000 {
		many[fmt.Sprintf("pullsecrets.dev/team-number-%03d", i)] = ""
	}
	tests := []struct {
		reason              string
		place               Place
		annotations, labels map[string]string
		want                []string
	}{
		{reason: "nothing", place: OnService},
		{
			reason: "what a Namespace has", place: OnNamespace,
			annotations: keys("pullsecrets.dev/secrets", "pullsecrets.dev/inject", "pullsecrets.dev/service-accounts"),
			labels:      keys("pullsecrets.dev/exclude", "app.kubernetes.io/managed-by"),
		},
		{reason: "what a Service has", place: OnService, annotations: keys("pullsecrets.dev/secrets", "pullsecrets.dev/inject", "pullsecrets.dev/added")},
		{reason: "what a ServiceAccount has", place: OnServiceAccount, annotations: keys("pullsecrets.dev/added")},
		{reason: "keys of others", place: OnService, annotations: keys("example.com/secret", "secrets", "pullsecrets.dev.example.com/secret"), labels: keys("pullsecrets")},
		{
			reason: "misspelled", place: OnService, annotations: keys("pullsecrets.dev/secret", "pullsecrets.dev/Inject", "pullsecrets.dev/injection"),
			want: []string{
				"annotation pullsecrets.dev/Inject: unknown key; did you mean the annotation pullsecrets.dev/inject?",
				"annotation pullsecrets.dev/injection: unknown key without effect",
				"annotation pullsecrets.dev/secret: unknown key; did you mean the annotation pullsecrets.dev/secrets?",
			},
		},
		{
			reason: "misspelled on a Namespace", place: OnNamespace, annotations: keys("pullsecrets.dev/serviceAccounts", "pullsecrets.dev/service-account"), labels: keys("pullsecrets.dev/excluded"),
			want: []string{
				"annotation pullsecrets.dev/service-account: unknown key; did you mean the annotation pullsecrets.dev/service-accounts?",
				"annotation pullsecrets.dev/serviceAccounts: unknown key; did you mean the annotation pullsecrets.dev/service-accounts?",
				"label pullsecrets.dev/excluded: unknown key; did you mean the label pullsecrets.dev/exclude?",
			},
		},
		{
			reason: "nothing like it", place: OnNamespace, annotations: keys("pullsecrets.dev/team"),
			want: []string{"annotation pullsecrets.dev/team: unknown key without effect"},
		},
		{
			reason: "on the template", place: OnTemplate, annotations: keys("pullsecrets.dev/secrets"), labels: keys("pullsecrets.dev/inject"),
			want: []string{
				"annotation pullsecrets.dev/secrets: has no effect on the template of a Service; it is an annotation of a Namespace or a Service",
				"label pullsecrets.dev/inject: has no effect on the template of a Service; it is an annotation of a Namespace or a Service",
			},
		},
		{
			reason: "on another kind", place: OnService, annotations: keys("pullsecrets.dev/service-accounts", "pullsecrets.dev/exclude"), labels: keys("pullsecrets.dev/exclude"),
			want: []string{
				"annotation pullsecrets.dev/exclude: has no effect on a Service; it is a label of a Namespace",
				"annotation pullsecrets.dev/service-accounts: has no effect on a Service; it is an annotation of a Namespace",
				"label pullsecrets.dev/exclude: has no effect on a Service; it is a label of a Namespace",
			},
		},
		{
			reason: "a label where it is an annotation, and the other way round", place: OnNamespace, annotations: keys("pullsecrets.dev/exclude"), labels: keys("pullsecrets.dev/secrets"),
			want: []string{
				"annotation pullsecrets.dev/exclude: has no effect on a Namespace; it is a label of a Namespace",
				"label pullsecrets.dev/secrets: has no effect on a Namespace; it is an annotation of a Namespace or a Service",
			},
		},
		{
			reason: "on a ServiceAccount", place: OnServiceAccount, annotations: keys("pullsecrets.dev/secrets"),
			want: []string{"annotation pullsecrets.dev/secrets: has no effect on a ServiceAccount; it is an annotation of a Namespace or a Service"},
		},
		{
			reason: "a thousand", place: OnService, annotations: many,
			want: []string{
				"annotation pullsecrets.dev/team-number-000: unknown key without effect", "annotation pullsecrets.dev/team-number-001: unknown key without effect",
				"annotation pullsecrets.dev/team-number-002: unknown key without effect", "annotation pullsecrets.dev/team-number-003: unknown key without effect",
				"annotation pullsecrets.dev/team-number-004: unknown key without effect", "annotation pullsecrets.dev/team-number-005: unknown key without effect",
				"annotation pullsecrets.dev/team-number-006: unknown key without effect", "annotation pullsecrets.dev/team-number-007: unknown key without effect",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			var got []string
			for _, p := range Misplaced(tt.place, tt.annotations, tt.labels) {
				got = append(got, p.Error())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
		})
	}
	if got := Unused(OnService, false, many); len(got) != maxKeys || !slices.IsSorted(got) {
		t.Errorf("Unused() = %q, want the first %d", got, maxKeys)
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"", "abc", 3}, {"abc", "", 3}, {"secret", "secrets", 1}, {"kitten", "sitting", 3}, {"inject", "injcet", 2}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// Each annotation and label of our group that package pullsecrets declares has a place, so
// that no key of ours is reported as unknown.
func TestUsesCoverAllKeys(t *testing.T) {
	source, err := os.ReadFile("../apis/pullsecrets/register.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\n\t\w+(?:Annotation|Label) += GroupName \+ "(/[a-z-]+)"`).FindAllSubmatch(source, -1)
	if len(found) != len(uses) {
		t.Errorf("found %d keys, want %d", len(found), len(uses))
	}
	for _, match := range found {
		if key := pullsecrets.GroupName + string(match[1]); len(uses[key].on) == 0 {
			t.Errorf("uses lacks %s", key)
		}
	}
}
