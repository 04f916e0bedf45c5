// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

func names(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("secret-%04d", i))
	}
	return all
}

func TestSecrets(t *testing.T) {
	long := strings.Repeat("a", 253)
	tests := []struct {
		reason   string
		value    string
		want     []string
		problems []string
	}{
		{reason: "nothing", value: ""},
		{reason: "one name", value: "ghcr", want: []string{"ghcr"}},
		{reason: "the order is the user's", value: "b,a,c", want: []string{"b", "a", "c"}},
		{reason: "spaces and line breaks around commas", value: " ghcr ,\n\tquay\r\n", want: []string{"ghcr", "quay"}},
		{reason: "empty items", value: ",,ghcr,, ,", want: []string{"ghcr"}},
		{reason: "repeats collapse into the first", value: "b,a,b,a", want: []string{"b", "a"}},
		{reason: "dots are fine", value: "reg.example.com", want: []string{"reg.example.com"}},
		{reason: "the longest name", value: long, want: []string{long}},
		{
			reason: "a name that is too long", value: long + "a,ok", want: []string{"ok"},
			problems: []string{`annotation pullsecrets.dev/secrets: "` + strings.Repeat("a", 64) + `"… is not a DNS-1123 subdomain`},
		},
		{
			reason: "capitals, slashes and spaces within", value: "Ghcr,a/b,x y,ok", want: []string{"ok"},
			problems: []string{
				`annotation pullsecrets.dev/secrets: "Ghcr" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "a/b" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "x y" is not a DNS-1123 subdomain`,
			},
		},
		{
			reason: "control characters are escaped", value: "a\x00\x1b[31m,ok", want: []string{"ok"},
			problems: []string{`annotation pullsecrets.dev/secrets: "a\x00\x1b[31m" is not a DNS-1123 subdomain`},
		},
		{
			reason: "a bad item is reported once", value: "A,A,A",
			problems: []string{`annotation pullsecrets.dev/secrets: "A" is not a DNS-1123 subdomain`},
		},
		{
			reason: "a wildcard is for ServiceAccounts only", value: "*",
			problems: []string{`annotation pullsecrets.dev/secrets: "*" is not a DNS-1123 subdomain`},
		},
		{
			reason: "JSON is not the grammar", value: `["ghcr"]`,
			problems: []string{`annotation pullsecrets.dev/secrets: "[\"ghcr\"]" is not a DNS-1123 subdomain`},
		},
		{
			reason: "a thousand names", value: strings.Join(names(1000), ","), want: names(32),
			problems: []string{
				"annotation pullsecrets.dev/secrets: the value is longer than 4096 bytes; the rest is ignored",
				"annotation pullsecrets.dev/secrets: at most 32 names are used; the last 309 are ignored",
			},
		},
		{
			reason: "many bad items make a short report",
			value:  "A,B,C,D,E,F,G,H,I,J,K,ok", want: []string{"ok"},
			problems: []string{
				`annotation pullsecrets.dev/secrets: "A" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "B" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "C" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "D" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "E" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "F" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "G" is not a DNS-1123 subdomain`,
				`annotation pullsecrets.dev/secrets: "H" is not a DNS-1123 subdomain`,
				"annotation pullsecrets.dev/secrets: 3 more items are not DNS-1123 subdomains",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			annotations := map[string]string{pullsecrets.SecretsAnnotation: tt.value}
			for kind, got := range map[string]struct {
				secrets  []string
				problems []Problem
			}{
				"Service":   {ForService(annotations).Secrets, ForService(annotations).Problems},
				"Namespace": {ForNamespace(annotations).Secrets, ForNamespace(annotations).Problems},
			} {
				if diff := cmp.Diff(tt.want, got.secrets); diff != "" {
					t.Errorf("%s: secrets (-want, +got):\n%s", kind, diff)
				}
				var problems []string
				for _, p := range got.problems {
					problems = append(problems, p.Error())
				}
				if diff := cmp.Diff(tt.problems, problems); diff != "" {
					t.Errorf("%s: problems (-want, +got):\n%s", kind, diff)
				}
			}
		})
	}
}

func TestInject(t *testing.T) {
	tests := []struct {
		value   string
		want    Inject
		problem string
	}{
		{value: "declared", want: Declared},
		{value: "auto", want: Auto},
		{value: "disabled", want: Disabled},
		{value: " auto\n", want: Auto},
		{value: "", want: invalid, problem: `annotation pullsecrets.dev/inject: "" is not one of declared, auto and disabled; nothing is injected until corrected`},
		{value: "false", want: invalid, problem: `annotation pullsecrets.dev/inject: "false" is not one of declared, auto and disabled; nothing is injected until corrected`},
		{value: "Disabled", want: invalid, problem: `annotation pullsecrets.dev/inject: "Disabled" is not one of declared, auto and disabled; nothing is injected until corrected`},
		{value: "invalid", want: invalid, problem: `annotation pullsecrets.dev/inject: "invalid" is not one of declared, auto and disabled; nothing is injected until corrected`},
	}
	for _, tt := range tests {
		t.Run(tt.value, func(t *testing.T) {
			got := ForService(map[string]string{pullsecrets.InjectAnnotation: tt.value})
			if got.Inject != tt.want {
				t.Errorf("Inject = %q, want %q", got.Inject, tt.want)
			}
			var problem string
			for _, p := range got.Problems {
				problem += p.Error()
			}
			if problem != tt.problem {
				t.Errorf("problem = %q, want %q", problem, tt.problem)
			}
		})
	}
	if got := ForService(nil).Inject; got != Unset {
		t.Errorf("without annotations: Inject = %q, want unset", got)
	}
}

func TestServiceAccounts(t *testing.T) {
	tests := []struct {
		value    string
		want     Accounts
		problems int
	}{
		{value: "", want: Accounts{}},
		{value: "default, builder", want: Accounts{Names: []string{"default", "builder"}}},
		{value: "*", want: Accounts{All: true}},
		{value: "default, *", want: Accounts{All: true}},
		{value: "**, Default, ok", want: Accounts{Names: []string{"ok"}}, problems: 2},
		{value: strings.Join(names(40), ","), want: Accounts{Names: names(40)}},
	}
	for _, tt := range tests {
		t.Run(tt.value, func(t *testing.T) {
			got := ForNamespace(map[string]string{pullsecrets.ServiceAccountsAnnotation: tt.value})
			if diff := cmp.Diff(tt.want, got.ServiceAccounts); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			if len(got.Problems) != tt.problems {
				t.Errorf("problems = %v, want %d", got.Problems, tt.problems)
			}
		})
	}
}

func TestPolicyFor(t *testing.T) {
	tests := []struct {
		namespace, service Inject
		want               Policy
	}{
		{Unset, Unset, Policy{Always: true}},
		{Declared, Unset, Policy{Always: true}},
		{Auto, Unset, Policy{Always: true, Auto: true}},
		{Unset, Declared, Policy{}},
		{Auto, Declared, Policy{}},
		{Unset, Auto, Policy{Always: true, Auto: true}},
		{Declared, Auto, Policy{Always: true, Auto: true}},
		{Unset, Disabled, Policy{Disabled: true}},
		{Auto, Disabled, Policy{Disabled: true}},
		{Disabled, Unset, Policy{Disabled: true}},
		{Disabled, Auto, Policy{Disabled: true}},
		{Disabled, Declared, Policy{Disabled: true}},
		{Disabled, invalid, Policy{Disabled: true}},
		{invalid, Disabled, Policy{Disabled: true}},
		{invalid, Unset, Policy{Hold: true}},
		{Unset, invalid, Policy{Hold: true}},
		{Auto, invalid, Policy{Hold: true}},
		{invalid, Auto, Policy{Always: true, Auto: true}},
		{invalid, Declared, Policy{}},
	}
	for _, tt := range tests {
		if got := PolicyFor(tt.namespace, tt.service); got != tt.want {
			t.Errorf("PolicyFor(namespace %q, service %q) = %+v, want %+v", tt.namespace, tt.service, got, tt.want)
		}
	}
}

// FuzzParse checks properties of every text: valid names are distinct, bounded in number
// and part of the text; reports are few, short and printable; and the names parse to the
// same names again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "ghcr", "a,b,c", " a ,, b ", "A,/,\x00", "*", "a,*", "declared", "auto ", "Disabled",
		strings.Repeat("x", 300), strings.Repeat("a,", 1000), strings.Join(names(100), ","),
		"é,ü", "\u202e", "a\nb", "--", "a..b", strings.Repeat("A,B", 100),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		annotations := map[string]string{
			pullsecrets.SecretsAnnotation:         value,
			pullsecrets.InjectAnnotation:          value,
			pullsecrets.ServiceAccountsAnnotation: value,
		}
		got := ForNamespace(annotations)
		if len(got.Secrets) > pullsecrets.MaxSecrets {
			t.Errorf("%d names count", len(got.Secrets))
		}
		if sets.New(got.Secrets...).Len() != len(got.Secrets) {
			t.Errorf("repeats: %q", got.Secrets)
		}
		for _, name := range got.Secrets {
			if len(validation.IsDNS1123Subdomain(name)) > 0 || !strings.Contains(value, name) {
				t.Errorf("%q counts as a name", name)
			}
		}
		again := ForNamespace(map[string]string{pullsecrets.SecretsAnnotation: strings.Join(got.Secrets, " , ")})
		if diff := cmp.Diff(got.Secrets, again.Secrets); diff != "" || len(again.Problems) > 0 {
			t.Errorf("the names do not read as themselves: %v\n%s", again.Problems, diff)
		}
		if len(got.Problems) > 2*(maxProblems+2)+1 {
			t.Errorf("%d problems", len(got.Problems))
		}
		for _, p := range got.Problems {
			text := p.Error()
			if utf8.RuneCountInString(p.Item) > maxQuoted*10+3 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("report is long or not printable: %q", text)
			}
		}
	})
}

func BenchmarkForService(b *testing.B) {
	for _, bb := range []struct {
		name, value string
	}{
		{"none", ""},
		{"one", "ghcr"},
		{"three", "ghcr, quay, registry.example.com"},
		{"256KiB", strings.Repeat("secret-name,Bad/Name,", 256*1024/21)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			annotations := map[string]string{pullsecrets.SecretsAnnotation: bb.value}
			b.ReportAllocs()
			for b.Loop() {
				ForService(annotations)
			}
		})
	}
}
