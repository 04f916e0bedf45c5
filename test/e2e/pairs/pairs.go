// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package pairs generates Services and edits of them that are sent to two namespaces: one
// with declared pull secrets and one without. The result in the second, by Knative alone,
// is what the first must match.
//
// The package is pure. Package oracles sends what it generates.
package pairs

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
)

// Case is a Service and its edits.
type Case struct {
	// Due is what becomes due between the first step and the others, see Dues.
	Due   string `json:"due"`
	Steps []Step `json:"steps"`
}

// Dues are what can become due without a change of a Service.
var Dues = []string{"nothing", "more", "less", "account"}

// Step is one request: the whole manifest in its writer's hands.
type Step struct {
	Writer   string         `json:"writer"`
	User     string         `json:"user"`
	DryRun   bool           `json:"dryRun,omitempty"`
	Manifest map[string]any `json:"manifest"`
}

// Writers are the ways to send a manifest.
var Writers = []string{"csa", "ssa", "put", "patch", "json"}

// Generate returns a random case.
func Generate(random *rand.Rand, steps int) Case {
	c := Case{Due: Dues[random.IntN(len(Dues))]}
	manifest := service(random)
	main := Writers[random.IntN(len(Writers))]
	c.Steps = append(c.Steps, Step{Writer: main, User: "alice", Manifest: manifest})
	for range steps {
		manifest = clone(manifest)
		if random.IntN(3) > 0 { // Otherwise it is sent again unchanged.
			for range 1 + random.IntN(2) {
				edit(random, manifest)
			}
			if random.IntN(8) > 0 {
				fit(manifest)
			}
		}
		writer := main
		if random.IntN(4) == 0 {
			writer = Writers[random.IntN(len(Writers))]
		}
		s := Step{Writer: writer, User: []string{"alice", "bob"}[random.IntN(2)], DryRun: random.IntN(8) == 0, Manifest: manifest}
		c.Steps = append(c.Steps, s)
	}
	return c
}

// clone copies a JSON value.
func clone[T any](value T) T {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // The value came from JSON.
	}
	var copied T
	if err := json.Unmarshal(text, &copied); err != nil {
		panic(err)
	}
	return copied
}

// service returns a random manifest: {metadata: {labels, annotations}, spec: ...}.
func service(random *rand.Rand) map[string]any {
	container := map[string]any{"image": "registry.example.com/app:v1"}
	spec := map[string]any{"containers": []any{container}}
	template := map[string]any{"spec": spec}
	for range random.IntN(4) {
		set(random, container, ofContainer)
	}
	for range random.IntN(3) {
		set(random, spec, ofSpec)
	}
	for range random.IntN(2) {
		set(random, template, ofTemplate)
	}
	manifest := map[string]any{"metadata": map[string]any{}, "spec": map[string]any{"template": template}}
	fit(manifest)
	return manifest
}

// fit repairs what Knative would reject most often: volumes without mounts, mounts
// without volumes, and containers without an image.
func fit(manifest map[string]any) {
	spec := at(at(at(manifest, "spec"), "template"), "spec")
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		containers = []any{map[string]any{}}
		spec["containers"] = containers
	}
	mounts := 0
	for i := range containers {
		container, ok := containers[i].(map[string]any)
		if !ok {
			container = map[string]any{}
			containers[i] = container
		}
		if container["image"] == nil {
			container["image"] = "registry.example.com/app:v1"
		}
		mounted, _ := container["volumeMounts"].([]any)
		mounts += len(mounted)
	}
	volumes, _ := spec["volumes"].([]any)
	switch {
	case mounts > 0 && len(volumes) == 0:
		spec["volumes"] = []any{map[string]any{"name": "data", "emptyDir": map[string]any{}}}
	case mounts == 0 && len(volumes) > 0:
		containers[0].(map[string]any)["volumeMounts"] = []any{map[string]any{"name": "data", "mountPath": "/data"}}
	}
}

// edit changes a manifest at a random place.
func edit(random *rand.Rand, manifest map[string]any) {
	template := at(at(manifest, "spec"), "template")
	spec := at(template, "spec")
	containers, _ := spec["containers"].([]any)
	var container map[string]any
	if len(containers) > 0 {
		container, _ = containers[random.IntN(len(containers))].(map[string]any)
	}
	switch n := random.IntN(20); {
	case n < 7 && container != nil:
		set(random, container, ofContainer)
	case n < 10:
		set(random, spec, ofSpec)
	case n < 12:
		set(random, template, ofTemplate)
	case n < 13:
		set(random, manifest, ofService)
	case n < 17:
		remove(random, template)
	default:
		rearrange(random, template)
	}
}

func at(m map[string]any, key string) map[string]any {
	if inner, ok := m[key].(map[string]any); ok {
		return inner
	}
	inner := map[string]any{}
	m[key] = inner
	return inner
}

// set sets a random field to one of its values.
func set(random *rand.Rand, m map[string]any, fields map[string][]string) {
	names := slices.Sorted(maps.Keys(fields))
	name := names[random.IntN(len(names))]
	values := fields[name]
	var value any
	if err := json.Unmarshal([]byte(values[random.IntN(len(values))]), &value); err != nil {
		panic(name + ": " + err.Error())
	}
	m[name] = value
}

// place is a key of an object or an index of a list, anywhere in a manifest.
type place struct {
	in  any
	key string
	at  int
	set func(any)
}

// places returns all places in a value. Setting a place of a list replaces the list.
func places(value any, replace func(any)) (all []place) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, place{in: v, key: key})
			all = append(all, places(v[key], func(n any) { v[key] = n })...)
		}
	case []any:
		for i := range v {
			all = append(all, place{in: v, at: i, set: replace})
			all = append(all, places(v[i], func(n any) { v[i] = n })...)
		}
	}
	return all
}

func (p place) remove() {
	if m, ok := p.in.(map[string]any); ok {
		delete(m, p.key)
		return
	}
	l := p.in.([]any)
	p.set(slices.Concat(l[:p.at], l[p.at+1:]))
}

// remove removes a random field or item.
func remove(random *rand.Rand, template map[string]any) {
	if all := places(template, nil); len(all) > 0 {
		all[random.IntN(len(all))].remove()
	}
}

// rearrange reverses a list or repeats the end of one.
func rearrange(random *rand.Rand, template map[string]any) {
	all := slices.DeleteFunc(places(template, nil), func(p place) bool { return p.set == nil })
	if len(all) == 0 {
		return
	}
	p := all[random.IntN(len(all))]
	l := slices.Clone(p.in.([]any))
	if random.IntN(2) == 0 {
		slices.Reverse(l)
	} else {
		l = l[:len(l)-1]
	}
	p.set(l)
}

// Shrink drops steps, and fields from all manifests, as long as the case still fails, and
// returns the smallest such case.
func Shrink(c Case, fails func(Case) bool) Case {
	for i := len(c.Steps) - 1; i > 0; i-- {
		smaller := clone(c)
		smaller.Steps = slices.Delete(smaller.Steps, i, i+1)
		if fails(smaller) {
			c = smaller
		}
	}
	for i := 0; i < len(everywhere(c)); {
		smaller := clone(c)
		everywhere(smaller)[i].remove()
		if fails(smaller) {
			c = smaller
		} else {
			i++
		}
	}
	return c
}

// everywhere returns the places of all manifests.
func everywhere(c Case) (all []place) {
	for i := range c.Steps {
		all = append(all, places(c.Steps[i].Manifest, nil)...)
	}
	return all
}
