// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"maps"
	"slices"
	"strings"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// maxKeys is the number of ineffective keys of our group that are kept of one object.
const maxKeys = 16

// Place is a kind of object, or a part of one, that carries labels and annotations.
type Place string

// The places whose keys are checked.
const (
	OnNamespace      Place = "a Namespace"
	OnService        Place = "a Service"
	OnTemplate       Place = "the template of a Service"
	OnServiceAccount Place = "a ServiceAccount"
	onSecret         Place = "a Secret"
)

// use describes where a key of our group has an effect.
type use struct {
	label bool
	on    []Place
}

// uses are all keys of our group.
var uses = map[string]use{
	pullsecrets.SecretsAnnotation:               {on: []Place{OnNamespace, OnService}},
	pullsecrets.InjectAnnotation:                {on: []Place{OnNamespace, OnService}},
	pullsecrets.ServiceAccountsAnnotation:       {on: []Place{OnNamespace}},
	pullsecrets.ExpiresAnnotation:               {on: []Place{onSecret}},
	pullsecrets.AddedAnnotation:                 {on: []Place{OnService, OnServiceAccount}},
	pullsecrets.SourceResourceVersionAnnotation: {on: []Place{onSecret}},
	pullsecrets.CopyMetadataAnnotation:          {on: []Place{onSecret}},
	pullsecrets.ClusterPullSecretLabel:          {label: true, on: []Place{onSecret}},
	pullsecrets.ExcludeLabel:                    {label: true, on: []Place{OnNamespace}},
}

func (u use) String() string {
	names := make([]string, 0, len(u.on))
	for _, place := range u.on {
		names = append(names, string(place))
	}
	return noun(u.label) + " of " + strings.Join(names, " or ")
}

func noun(label bool) string {
	if label {
		return "label"
	}
	return "annotation"
}

// Unused returns the keys of our group among annotations or labels that have no effect at
// this place, sorted, at most 16.
func Unused(place Place, label bool, keys map[string]string) []string {
	var unused []string
	for key := range keys {
		if !strings.HasPrefix(key, pullsecrets.GroupName+"/") {
			continue
		}
		if u, known := uses[key]; known && u.label == label && slices.Contains(u.on, place) {
			continue
		}
		unused = append(unused, key)
	}
	slices.Sort(unused)
	return unused[:min(len(unused), maxKeys)]
}

// Misplaced returns a problem for each key of our group that has no effect at this place.
// It names the right place or the right spelling.
func Misplaced(place Place, annotations, labels map[string]string) []Problem {
	var problems []Problem
	for _, keys := range []struct {
		label bool
		all   map[string]string
	}{{false, annotations}, {true, labels}} {
		for _, key := range Unused(place, keys.label, keys.all) {
			problems = append(problems, Problem{Annotation: key, Label: keys.label, Reason: reasonFor(place, key)})
		}
	}
	return problems[:min(len(problems), maxProblems)]
}

// reasonFor says why a key has no effect.
func reasonFor(place Place, key string) string {
	if u, known := uses[key]; known {
		return "has no effect on " + string(place) + "; it is " + article(u.label) + u.String()
	}
	if near := nearest(key); near != "" {
		return "unknown key; did you mean the " + noun(uses[near].label) + " " + near + "?"
	}
	return "unknown key without effect"
}

func article(label bool) string {
	if label {
		return "a "
	}
	return "an "
}

// nearest returns the known key that a key is most likely meant to be: the one with the
// smallest edit distance, if that is small for its length. Case and separators are
// ignored.
func nearest(key string) string {
	best, fewest := "", 0
	name := normalized(key)
	for _, known := range slices.Sorted(maps.Keys(uses)) {
		other := normalized(known)
		if most := max(1, len(other)/3); len(name) > len(other)+most {
			continue // In admission requests, the length of keys is not bounded.
		}
		if n := editDistance(name, other); n <= max(1, len(other)/3) && (best == "" || n < fewest) {
			best, fewest = known, n
		}
	}
	return best
}

// normalized returns the name of a key without its prefix, case and separators.
func normalized(key string) string {
	name := strings.ToLower(strings.TrimPrefix(key, pullsecrets.GroupName+"/"))
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(name)
}

// editDistance returns the Levenshtein distance of two short texts.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
