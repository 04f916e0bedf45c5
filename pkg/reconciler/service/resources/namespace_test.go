// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"fmt"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/service/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func TestSameForServices(t *testing.T) {
	ghcr := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "a"}
	})
	offered := grant.NewCatalog([]*v1alpha1.ClusterPullSecret{ghcr, ClusterPullSecret("all")})
	secrets, inject := pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation
	annotated, labelled := WithNamespaceAnnotation, WithNamespaceLabel
	for _, test := range []struct {
		reason  string
		was, is []NamespaceOption
		want    bool
	}{
		{"nothing", nil, nil, true},
		{"other names", []NamespaceOption{annotated(secrets, "a")}, []NamespaceOption{annotated(secrets, "a,b")}, false},
		{"another order", []NamespaceOption{annotated(secrets, "a,b")}, []NamespaceOption{annotated(secrets, "b,a")}, false},
		{"spaces, repeats and empty items", []NamespaceOption{annotated(secrets, "a,b")}, []NamespaceOption{annotated(secrets, " a,,b , a")}, true},
		{"an item that does not count", []NamespaceOption{annotated(secrets, "a")}, []NamespaceOption{annotated(secrets, "a,No_Name")}, true},
		{"an annotation that declares nothing", nil, []NamespaceOption{annotated(secrets, "")}, true},
		{"auto", nil, []NamespaceOption{annotated(inject, "auto")}, false},
		{"the default, and nothing", nil, []NamespaceOption{annotated(inject, "declared")}, false},
		{"two invalid values", []NamespaceOption{annotated(inject, "yes")}, []NamespaceOption{annotated(inject, "true")}, true},
		{"ServiceAccounts", nil, []NamespaceOption{annotated(pullsecrets.ServiceAccountsAnnotation, "*")}, true},
		{"somebody else's annotation", nil, []NamespaceOption{annotated("example.com/note", "x")}, true},
		{"a label that no selector asks for", nil, []NamespaceOption{labelled("note", "x")}, true},
		{"a label that a selector asks for, with a value that none does", nil, []NamespaceOption{labelled("team", "b")}, true},
		{"a label that a selector asks for", nil, []NamespaceOption{labelled("team", "a")}, false},
		{"it is no longer selected", []NamespaceOption{labelled("team", "a")}, []NamespaceOption{labelled("team", "b")}, false},
		{"it is excluded", nil, []NamespaceOption{labelled(pullsecrets.ExcludeLabel, "true")}, false},
		{"it is excluded otherwise", []NamespaceOption{labelled(pullsecrets.ExcludeLabel, "yes")}, []NamespaceOption{labelled(pullsecrets.ExcludeLabel, "true")}, true},
		{"it is explicitly not excluded", nil, []NamespaceOption{labelled(pullsecrets.ExcludeLabel, "false")}, true},
	} {
		was, is := Namespace("team", test.was...), Namespace("team", test.is...)
		if got := SameForServices(was, is, offered); got != test.want {
			t.Errorf("%s: SameForServices = %t, want %t", test.reason, got, test.want)
		}
		if got := SameForServices(is, was, offered); got != test.want {
			t.Errorf("%s, the other way round: SameForServices = %t, want %t", test.reason, got, test.want)
		}
	}
}

// BenchmarkSameForServices shows that a change of a Namespace costs the same however many
// ClusterPullSecrets there are.
func BenchmarkSameForServices(b *testing.B) {
	for _, size := range []int{50, 500} {
		b.Run(fmt.Sprintf("%d ClusterPullSecrets", size), func(b *testing.B) {
			var all []*v1alpha1.ClusterPullSecret
			for i := range size {
				all = append(all, ClusterPullSecret(fmt.Sprint("ghcr-", i), func(cps *v1alpha1.ClusterPullSecret) {
					cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": fmt.Sprint(i)}
				}))
			}
			answers := map[string]grant.Answer{}
			offered := grant.Catalog{}.Renewed(all, func() grant.Memory {
				return func(key string, judge func() grant.Answer) grant.Answer {
					if _, known := answers[key]; !known {
						answers[key] = judge()
					}
					return answers[key]
				}
			})
			was, is := Namespace("team", WithNamespaceLabel("team", "1")), Namespace("team", WithNamespaceLabel("team", "1"), WithNamespaceLabel("note", "x"))
			for b.Loop() {
				if !SameForServices(was, is, offered) {
					b.Fatal("a label that no selector asks for makes a difference")
				}
			}
		})
	}
}
