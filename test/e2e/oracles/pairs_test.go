// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/test/e2e/pairs"
	"pullsecrets.dev/test/env"
)

var (
	pairsSeed = flag.Uint64("pairs.seed", 0, "seed of the first group of TestPairs; 0 takes one from the clock")
	pairsCase = flag.String("pairs.case", "", "case for TestPairs as JSON instead of random ones")
)

const (
	// pairsBriefly is the default number of pairs, which the variable PAIRS overrides,
	// and groupSize the number of pairs that share their namespaces.
	pairsBriefly = 240
	groupSize    = 20
	// pairsFrom is the default first seed, which -pairs.seed overrides: a test that runs
	// with every change must be deterministic.
	pairsFrom = 1795901394512254525
	pairSteps = 6
)

// TestPairs sends the same requests of the same users to two namespaces, one where pull
// secrets are declared and one without: both reject the same requests and create the same
// Revisions with the same last modifier. It tests only admission, so neither our
// controller nor Knative's runs meanwhile.
func TestPairs(t *testing.T) {
	e := env.Get(t)
	e.Need(t, env.ProcessControl)
	if err := (machinery{Env: e}).restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"controller", "knative-controller"} {
		if err := e.Processes.Stop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Processes.Start(context.WithoutCancel(t.Context()), name, nil); err != nil {
				t.Error(err)
			}
		})
	}
	if *pairsCase != "" {
		var c pairs.Case
		if err := json.Unmarshal([]byte(*pairsCase), &c); err != nil {
			t.Fatal(err)
		}
		reportPair(t, "the case of -pairs.case", c, playPairs(t, []pairs.Case{c})[0])
		return
	}
	knownPairs(t)
	count := pairsBriefly
	if text := os.Getenv("PAIRS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := *pairsSeed
	if seed == 0 {
		seed = pairsFrom
	}
	counts := map[string]int{}
	kinds := map[string]bool{}
	for played := 0; played < count && len(kinds) < 10; played, seed = played+groupSize, seed+1 {
		random := rand.New(rand.NewPCG(seed, 0))
		due := pairs.Dues[random.IntN(len(pairs.Dues))]
		group := make([]pairs.Case, groupSize)
		for i := range group {
			group[i] = pairs.Generate(random, pairSteps)
			group[i].Due = due
		}
		for i, result := range playPairs(t, group) {
			for what, n := range result.counts {
				counts[what] += n
			}
			if result.failure == "" || kinds[result.kind] {
				continue
			}
			kinds[result.kind] = true
			small, failure := shrinkPair(t, group[i], result)
			reportPair(t, fmt.Sprintf("case %d of -pairs.seed=%d", i, seed), small, failure)
		}
		counts["pairs"] += groupSize
	}
	t.Logf("results up to -pairs.seed=%d: %v", seed-1, counts)
}

func knownPairs(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	byDue := map[string][]pairs.Case{}
	names := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c pairs.Case
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		byDue[c.Due], names[c.Due] = append(byDue[c.Due], c), append(names[c.Due], file)
	}
	for due, cases := range byDue {
		for i, result := range playPairs(t, cases) {
			reportPair(t, names[due][i], cases[i], result)
		}
	}
}

func reportPair(t *testing.T, what string, c pairs.Case, r result) {
	t.Helper()
	if r.failure != "" {
		t.Errorf("%s:\n%s\nreproduce: go test -tags=e2e -count=1 -run 'TestPairs$' ./test/e2e/oracles -pairs.case='%s'", what, r.failure, encode(c))
	}
}

func shrinkPair(t *testing.T, c pairs.Case, found result) (pairs.Case, result) {
	t.Helper()
	t.Logf("shrinking %s\n%s", encode(c), found.failure)
	end := time.Now().Add(shrinking)
	small := pairs.Shrink(c, func(c pairs.Case) bool {
		if time.Now().After(end) {
			return false
		}
		r := playPairs(t, []pairs.Case{c})[0]
		if r.kind != found.kind {
			return false
		}
		found = r
		return true
	})
	return small, found
}

// result is the outcome of a pair.
type result struct {
	failure string
	// kind is equal for failures of the same kind.
	kind   string
	counts map[string]int
}

// playPairs runs cases with the same Due concurrently.
func playPairs(t *testing.T, cases []pairs.Case) []result {
	t.Helper()
	s := newSides(t)
	defer s.remove(context.WithoutCancel(t.Context()))
	s.opt(cases[0].Due != "more")
	results := make([]result, len(cases))
	players := make([]*player, len(cases))
	together := func(do func(p *player) result) {
		var wg sync.WaitGroup
		turns := make(chan struct{}, 6)
		for i := range players {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if results[i].failure == "" {
					results[i] = do(players[i])
				}
			})
		}
		wg.Wait()
	}
	for i, c := range cases {
		players[i] = &player{sides: s, name: fmt.Sprintf("p-%d", i), c: c, counts: map[string]int{}}
	}
	together(func(p *player) result { return p.step(0) })
	switch cases[0].Due {
	case "more":
		s.opt(true)
	case "less":
		s.opt(false)
	case "account":
		s.accounts("acct-2")
	}
	together(func(p *player) result {
		for i := range p.c.Steps[1:] {
			if r := p.step(i + 1); r.failure != "" {
				return r
			}
		}
		return result{counts: p.counts}
	})
	return results
}

// player runs one case.
type player struct {
	*sides
	name   string
	c      pairs.Case
	counts map[string]int
	// was is the Service on each side, here and there, after the last step.
	was [2]*unstructured.Unstructured
}

// step runs a step on both sides and compares the results.
func (p *player) step(i int) result {
	step := p.c.Steps[i]
	if i > 0 && p.was[0] == nil {
		return result{} // The Service could be created on neither side.
	}
	var previous map[string]any
	if i > 0 {
		previous = p.c.Steps[i-1].Manifest
	}
	var is [2]*unstructured.Unstructured
	var errs [2]error
	for side := range p.was {
		is[side], errs[side] = p.send(side, p.name, step, previous)
	}
	fail := func(kind, format string, args ...any) result {
		what := fmt.Sprintf("step %d, %s by %s (dry run: %t): ", i, step.Writer, step.User, step.DryRun)
		return result{failure: what + fmt.Sprintf(format, args...), kind: kind, counts: p.counts}
	}
	if (errs[0] == nil) != (errs[1] == nil) {
		return fail("rejected", "here: %v; there: %v", errs[0], errs[1])
	}
	if errs[0] != nil {
		p.counts["rejected"]++
		if os.Getenv("PAIRS_REFUSALS") != "" {
			p.t.Log(errs[1])
		}
		return result{counts: p.counts}
	}
	p.counts["accepted"]++
	changed := [2]bool{}
	for side, object := range is {
		changed[side] = p.was[side] == nil || object.GetGeneration() != p.was[side].GetGeneration()
	}
	if changed[1] {
		p.counts["changed"]++
	}
	if changed[1] && !changed[0] && p.onlyNamelessEntriesLeft(is[1]) {
		// There is nothing to compare from here on, because the sides differ by a change.
		p.was = [2]*unstructured.Unstructured{}
		p.counts["nameless"]++
		return result{counts: p.counts}
	}
	if changed[0] != changed[1] {
		return fail("generation", "a new generation here: %t, there: %t; the list here %q, before %q", changed[0], changed[1], listOf(is[0]), listOf(p.was[0]))
	}
	for _, key := range []string{"serving.knative.dev/creator", "serving.knative.dev/lastModifier"} {
		if here, there := is[0].GetAnnotations()[key], is[1].GetAnnotations()[key]; here != there {
			return fail("user", "%s is %q here and %q there", key, here, there)
		}
	}
	if here, there := specOf(is[0]), specOf(is[1]); !reflect.DeepEqual(here, there) {
		return fail("template", "the template is here %s, there %s", encode(here), encode(there))
	}
	if text := p.checkList(is, changed[0]); text != "" {
		return fail("list", "%s", text)
	}
	if !step.DryRun {
		p.was = is
	}
	return result{counts: p.counts}
}

// withNames returns a list without empty names and repeats, which mean nothing and are
// dropped when the list is written.
func withNames(names []string) (named []string) {
	for _, name := range names {
		if name != "" && !slices.Contains(named, name) {
			named = append(named, name)
		}
	}
	return named
}

// onlyNamelessEntriesLeft reports whether a change removed nothing but entries without
// a name and repeats. Here an earlier change may have dropped them already; see
// docs/annotations.md.
func (p *player) onlyNamelessEntriesLeft(there *unstructured.Unstructured) bool {
	was := p.was[1]
	return was != nil && reflect.DeepEqual(specOf(was), specOf(there)) && slices.Equal(withNames(listOf(was)), withNames(listOf(there)))
}

// checkList checks that the list here is the user's plus what is declared after a change,
// and unchanged otherwise.
func (p *player) checkList(is [2]*unstructured.Unstructured, changed bool) string {
	own, list := withNames(listOf(is[1])), withNames(listOf(is[0]))
	// A server-side apply appends new entries, so the user's own need not come first.
	kept := slices.DeleteFunc(slices.Clone(list), func(name string) bool { return !slices.Contains(own, name) })
	if !slices.Equal(kept, own) {
		return fmt.Sprintf("the list is %q here and %q there", list, own)
	}
	if p.was[0] != nil && !changed {
		if before := withNames(listOf(p.was[0])); !slices.Equal(before, list) {
			return fmt.Sprintf("the list is %q, was %q, although nothing changed", list, before)
		}
		return ""
	}
	if name, _, _ := unstructured.NestedString(is[0].Object, "spec", "template", "metadata", "name"); name != "" {
		return "" // It may be the list of an earlier Revision.
	}
	account, _, _ := unstructured.NestedString(is[0].Object, "spec", "template", "spec", "serviceAccountName")
	want := slices.Concat(own, p.declared(len(own) == 0 && account == "builder"))
	if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(list)), want) {
		return fmt.Sprintf("the list is %q after a change, want %q", list, want)
	}
	return ""
}

func listOf(object *unstructured.Unstructured) []string {
	if object == nil {
		return nil
	}
	refs, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "imagePullSecrets")
	var names []string
	for _, ref := range refs {
		name, _, _ := unstructured.NestedString(ref.(map[string]any), "name")
		names = append(names, name)
	}
	return names
}

// specOf returns the spec without the list and without null fields, which Knative's types
// add where a webhook changes something.
func specOf(object *unstructured.Unstructured) map[string]any {
	spec := maps.Clone(object.DeepCopy().Object["spec"].(map[string]any))
	unstructured.RemoveNestedField(spec, "template", "spec", "imagePullSecrets")
	if m, found, _ := unstructured.NestedMap(spec, "template", "metadata"); found && m["creationTimestamp"] == nil {
		unstructured.RemoveNestedField(spec, "template", "metadata", "creationTimestamp")
		if len(m) <= 1 {
			unstructured.RemoveNestedField(spec, "template", "metadata")
		}
	}
	return spec
}
