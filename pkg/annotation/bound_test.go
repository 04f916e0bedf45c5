// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// allOf returns annotations with one value under each key.
func allOf(value string) map[string]string {
	return map[string]string{
		pullsecrets.SecretsAnnotation: value, pullsecrets.InjectAnnotation: value, pullsecrets.ServiceAccountsAnnotation: value,
	}
}

// An item that crosses the limit is not read as the name that its first half is.
func TestBound(t *testing.T) {
	before := strings.Repeat(" ", MaxBytes-len("one,two")) + "one,two"
	for _, test := range []struct {
		reason, value string
		want          []string
		problems      int
	}{
		{"as long as is read", before, []string{"one", "two"}, 0},
		{"an item crosses the limit", before + "-and-a-half", []string{"one"}, 1},
		{"an item ends at the limit", before + ",three", []string{"one", "two"}, 1},
		{"one item without an end", strings.Repeat("a", MaxBytes+1), nil, 1},
	} {
		got := ForService(map[string]string{pullsecrets.SecretsAnnotation: test.value})
		if diff := cmp.Diff(test.want, got.Secrets); diff != "" || len(got.Problems) != test.problems {
			t.Errorf("%s: problems %v, names (-want, +got):\n%s", test.reason, got.Problems, diff)
		}
	}
	if got := ForService(map[string]string{pullsecrets.InjectAnnotation: "auto" + strings.Repeat(" ", MaxBytes)}); got.Inject != invalid || len(got.Problems) != 1 {
		t.Errorf("inject that is too long is %q with the problems %v, want invalid and one", got.Inject, got.Problems)
	}
}

// A truncated value parses like the whole value, so that programs with and without a cache
// agree. Truncation is idempotent.
func TestCutValueParsesAlike(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "ab,, \tX*é"
	for range 300 {
		var b strings.Builder
		for length := MaxBytes - 8 + random.IntN(16); b.Len() < length; {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
		value := b.String()
		cut := Cut(value)
		if len(cut) > MaxBytes+1 || Cut(cut) != cut {
			t.Fatalf("%d bytes are kept of %d", len(cut), len(value))
		}
		if diff := cmp.Diff(ForNamespace(allOf(value)), ForNamespace(allOf(cut))); diff != "" {
			t.Fatalf("the truncated value parses differently (-whole, +cut):\n%s", diff)
		}
		if !Same(allOf(value), allOf(cut)) {
			t.Fatal("the truncated value counts as another one")
		}
	}
}

func TestSame(t *testing.T) {
	long := strings.Repeat("a,", 100<<10)
	for _, test := range []struct {
		reason  string
		was, is map[string]string
		want    bool
	}{
		{"nothing", nil, map[string]string{"example.com/note": "x"}, true},
		{"another value", allOf("a"), allOf("b"), false},
		{"an empty value is not none", nil, map[string]string{pullsecrets.InjectAnnotation: ""}, false},
		{"a difference beyond what is read", allOf(long + "a"), allOf(long + "b"), true},
	} {
		if got := Same(test.was, test.is); got != test.want {
			t.Errorf("%s: Same() = %t, want %t", test.reason, got, test.want)
		}
	}
}
