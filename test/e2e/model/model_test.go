// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestScriptsReadAsWritten(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := Generate(random, Schedule(random, seed%2 == 0), 40)
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%s\nis read as\n%s: %v", s, again, err)
		}
		w := New()
		for _, op := range s {
			if !w.Apply(op) {
				t.Fatalf("%q makes no sense in %s", op, s)
			}
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, text := range []string{"ns a secrets", "fly a b", "settle now"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, s)
		}
	}
}

func TestShrink(t *testing.T) {
	s, err := Parse("touch a s; cps x create; touch a t; grant a x on; touch b s; ns a secrets x; touch b t")
	if err != nil {
		t.Fatal(err)
	}
	got := Shrink(s, func(s Script) bool {
		return strings.Contains(s.String(), "cps x create") && strings.Contains(s.String(), "grant a x on")
	})
	if want := "cps x create; grant a x on"; got.String() != want {
		t.Errorf("Shrink() = %q, want %q", got, want)
	}
}

// A world with a granted credential and a Service that has it.
func TestCheck(t *testing.T) {
	const history = "cps x create; grant a x on; ns a secrets x; settle; create a s csa own-1; settle"
	good := func() Observation {
		return Observation{
			"a": {
				Services: map[string]List{"s": {Names: []string{"own-1", "x"}, Ledger: map[string]string{"x": "namespace"}, Generation: 1}},
				Secrets:  map[string]Secret{"x": {Value: "v0", Labelled: true}},
			},
			"b": {},
		}
	}
	service := func(l List) func(Observation) {
		return func(o Observation) { o["a"].Services["s"] = l }
	}
	ledger := map[string]string{"x": "namespace"}
	for _, test := range []struct {
		reason, more string
		edit         func(Observation)
		want         string
	}{
		{"the wanted state", "", func(Observation) {}, ""},
		{"the user's entry is lost", "", service(List{Names: []string{"x"}, Ledger: ledger, Generation: 1}), "is lost"},
		{"an entry is missing", "", service(List{Names: []string{"own-1"}, Generation: 1}), "lacks x"},
		{"an entry is nobody's", "", service(List{Names: []string{"own-1", "x", "z"}, Ledger: ledger, Generation: 1}), "z is neither"},
		{"the ledger is lost", "", service(List{Names: []string{"own-1", "x"}, Generation: 1}), "nor in the ledger"},
		{"a Revision too many", "", service(List{Names: []string{"own-1", "x"}, Ledger: ledger, Generation: 2}), "generation 2"},
		{"no copy", "", func(o Observation) { delete(o["a"].Secrets, "x") }, "is missing"},
		{"an old copy", "source x rotate", func(Observation) {}, `holds "v0", want "v1"`},
		{"a broken source keeps the copy", "source x break", func(Observation) {}, ""},
		{"a copy without a grant", "grant a x off", func(Observation) {}, "where nothing is granted"},
		{"a copy in an excluded namespace", "exclude a true", func(Observation) {}, "where nothing is granted"},
		{"what is no longer declared stays", "ns a secrets -", func(Observation) {}, ""},
		{"and is removed with a change", "ns a secrets -; settle; change a s", func(Observation) {}, "nor declared"},
		{"the user's Secret", "secret a x csa", func(Observation) {}, `user's Secret a/x holds "v0"`},
		{"a ServiceAccount is not bound", "ns a service-accounts *", func(Observation) {}, "ServiceAccount a/builder"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			script, err := Parse(history + ";" + test.more)
			if err != nil {
				t.Fatal(err)
			}
			w := New()
			for _, op := range script {
				if !w.Apply(op) {
					t.Fatalf("%q makes no sense", op)
				}
			}
			o := good()
			test.edit(o)
			got := w.Check(o)
			found := slices.ContainsFunc(got, func(text string) bool { return strings.Contains(text, test.want) })
			if (test.want == "") != (len(got) == 0) || test.want != "" && !found {
				t.Errorf("Check() = %q, want %q", got, test.want)
			}
		})
	}
}
