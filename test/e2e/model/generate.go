// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// Schedule returns a random history of process operations, with gaps for random
// operations after each.
func Schedule(random *rand.Rand, processes bool) []Script {
	if !processes {
		return []Script{nil, nil}
	}
	down := []struct{ down, up Op }{
		{Op{"process", []string{"controller", "stop"}}, Op{"process", []string{"controller", "start"}}},
		{Op{"process", []string{"controller", "kill"}}, Op{"process", []string{"controller", "start"}}},
		{Op{"process", []string{"controller", "failover"}}, Op{"process", []string{"controller", "return"}}},
		{Op{"process", []string{"webhook", "stop"}}, Op{"process", []string{"webhook", "start"}}},
		{Op{"process", []string{"watches", "hold"}}, Op{"process", []string{"watches", "release"}}},
		{Op{"process", []string{"watches", "hold"}}, Op{"process", []string{"watches", "drop"}}},
		{Op{"process", []string{"controller", "restart"}}, Op{"process", []string{"webhook", "restart"}}},
	}
	d := down[random.IntN(len(down))]
	return []Script{nil, {d.down}, {d.up}}
}

// Generate returns a random script with the operations of the schedule, each before the
// segment of random ones that follows it.
func Generate(random *rand.Rand, schedule []Script, size int) Script {
	w := New()
	var s Script
	add := func(op Op) {
		if w.Apply(op) {
			s = append(s, op)
		}
	}
	for _, op := range prelude { // Without these, most operations have no effect.
		if random.IntN(4) > 0 {
			add(op)
		}
	}
	for _, global := range schedule {
		for _, op := range global {
			add(op)
		}
		for range size / len(schedule) {
			add(anyOp(random))
			if random.IntN(12) == 0 {
				add(Op{Verb: "settle"})
			}
		}
	}
	return s
}

var prelude = Script{
	{"cps", []string{"x", "create"}},
	{"cps", []string{"y", "create"}},
	{"grant", []string{"a", "x", "on"}},
	{"grant", []string{"b", "y", "on"}},
	{"ns", []string{"a", "secrets", "plain,x"}},
	{"ns", []string{"b", "secrets", "y"}},
	{"settle", nil},
}

// anyOp returns a random operation, which may make no sense in the current world.
func anyOp(random *rand.Rand) Op {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	ns, svc, credential := pick(Namespaces...), pick(Services...), pick(Credentials...)
	names := func(of []string, most int) string {
		of = slices.Clone(of)
		random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		if n := random.IntN(min(most, len(of)) + 1); n > 0 {
			return strings.Join(of[:n], ",")
		}
		return "-"
	}
	own := func() string { return names(append(slices.Clone(ownNames), allNames...), 3) }
	op := func(words ...string) Op { return Op{words[0], words[1:]} }
	choices := []struct {
		weight int
		op     func() Op
	}{
		{8, func() Op { return op("ns", ns, "secrets", names(allNames, 3)) }},
		{2, func() Op { return op("ns", ns, "inject", pick("-", "-", "declared", "auto", "disabled")) }},
		{3, func() Op { return op("ns", ns, "service-accounts", names([]string{"*", "default", "builder"}, 2)) }},
		{6, func() Op { return op("grant", ns, credential, pick("on", "on", "off")) }},
		{1, func() Op { return op("exclude", ns, pick("true", "-", "-", "false")) }},
		{8, func() Op {
			return op("cps", credential, pick("create", "create", "create", "always", "plain", "delete"))
		}},
		{4, func() Op { return op("source", credential, pick("rotate", "rotate", "break", "restore", "delete")) }},
		{3, func() Op { return op("copy", ns, credential, pick("delete", "tamper")) }},
		{5, func() Op {
			return op("secret", ns, credential, pick("csa", "ssa", "create", "helm", "delete", "delete"))
		}},
		{14, func() Op { return op("create", ns, svc, pick(writers...), names(ownNames, 2)) }},
		{6, func() Op { return op("change", ns, svc) }},
		{6, func() Op { return op("own", ns, svc, own()) }},
		{6, func() Op { return op("reapply", ns, svc) }},
		{2, func() Op { return op("touch", ns, svc) }},
		{2, func() Op { return op("null", ns, svc) }},
		{2, func() Op { return op("strip", ns, svc) }},
		{5, func() Op { return op("svc", ns, svc, "secrets", names(allNames, 2)) }},
		{2, func() Op { return op("svc", ns, svc, "inject", pick("-", "declared", "auto", "disabled")) }},
		{1, func() Op { return op("delete", ns, svc) }},
		{6, func() Op {
			account := pick(Accounts...)
			if account == "default" { // Its writer owns no fields that show who owns an entry.
				return op("account", ns, account, names(ownNames, 2))
			}
			return op("account", ns, account, own())
		}},
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := random.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.op()
		}
	}
	panic("unreachable")
}
