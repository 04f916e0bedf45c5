// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Verdict is what an admission request calls for.
type Verdict string

const (
	// Renew: the list and the ledger become those of the Result.
	Renew Verdict = "Renew"
	// Restore: the list and the ledger become what they are in the old object,
	// to the letter.
	Restore Verdict = "Restore"
	// Leave: the request passes as it is.
	Leave Verdict = "Leave"
)

// Side is a Service as one side of an admission request shows it.
type Side struct {
	Current
	// Template is spec.template as JSON. It is only read.
	Template map[string]any
	// Secrets and Inject are the raw values of the Service's own annotations.
	Secrets, Inject string
}

// name is the template's metadata.name, with which a user names the Revision.
func (s Side) name() string {
	metadata, _ := s.Template["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// Revision is an existing Revision whose name a template takes.
type Revision struct {
	List []string
}

// AdmitUpdate decides about a change of a Service. With Renew, the Result is
// the new state; with Restore and Leave it says what would be due if the
// template had another name, which is worth a warning where the template is
// named.
//
// A request is a change where the user's own entries differ, or the new
// template holds a value that the old one does not, or its name or the
// Service's own annotations differ. Where nothing changed, whoever sent the
// request merely dropped what he did not know of, and gets it back: a Revision
// is never made by that.
//
// Knative refuses every change of a template under an unchanged name, so there
// the old list is put back and nothing is added. taken is the Revision that
// already has the template's new name, or nil; Knative accepts the name only
// with that Revision's very template.
func AdmitUpdate(old, requested Side, d Declared, taken *Revision) (Verdict, Result) {
	due := Update(old.Current, requested.Current, d)
	named, same := requested.name() != "", sameOwn(old.Current, requested.Current, d)
	switch {
	case named && requested.name() == old.name():
		if same {
			return Restore, due
		}
		// The user's own entries changed under an unchanged name. Knative will
		// say so, and nothing must hide it.
		return Leave, due
	case named && taken != nil && reuses(taken.List, old.Current, requested.Current, d):
		return Renew, reused(*taken, old.Current, requested.Current, d)
	case !same,
		requested.name() != old.name(),
		requested.Secrets != old.Secrets, requested.Inject != old.Inject,
		TemplateChanged(old.Template, requested.Template):
		return Renew, due
	default:
		return Restore, due
	}
}

// reused is the state in which a Service takes up an existing Revision: its
// list, with a ledger of what the product added to it.
func reused(taken Revision, old, requested Current, d Declared) Result {
	brought := requested.Ledger
	old, requested, kept := d.judged(old, requested)
	own := d.ownOf(old, requested)
	var entries []Entry
	for _, e := range slices.Concat(old.added(), d.entries(), kept) {
		if slices.Contains(taken.List, e.Name) && !slices.Contains(own, e.Name) && !contains(entries, e.Name) {
			entries = append(entries, e)
		}
	}
	return compare(old, requested, clean(taken.List), entries, nil).against(brought)
}

// TemplateChanged tells whether the new template holds a value that the old one
// does not, imagePullSecrets apart. A field that is merely absent is no change:
// requests arrive before Knative's defaulting, so that an unchanged apply comes
// without everything that Knative filled in. A list of another length is one
// whole value that differs.
func TemplateChanged(old, requested map[string]any) bool {
	return exceeds(withoutPullSecrets(old), withoutPullSecrets(requested), false)
}

// withoutPullSecrets copies only the two maps on the way to the list.
func withoutPullSecrets(template map[string]any) map[string]any {
	spec, ok := template["spec"].(map[string]any)
	if _, has := spec["imagePullSecrets"]; !ok || !has {
		return template
	}
	rest, outer := maps.Clone(spec), maps.Clone(template)
	delete(rest, "imagePullSecrets")
	outer["spec"] = rest
	return outer
}

// exceeds tells whether b holds a value that a does not. Within resources,
// values are quantities, which Knative stores in another form than they were
// written in: 1000m becomes 1.
func exceeds(a, b any, quantities bool) bool {
	switch b := b.(type) {
	case nil:
		return false
	case map[string]any:
		am, ok := a.(map[string]any)
		if !ok {
			// An empty object, as in `resources: {}`, says as little as an
			// absent one.
			return a != nil || anyValue(b)
		}
		for k, v := range b {
			if exceeds(am[k], v, quantities || k == "resources") {
				return true
			}
		}
		return false
	case []any:
		al, ok := a.([]any)
		if len(al) != len(b) || (!ok && a != nil) {
			return true
		}
		for i := range b {
			if exceeds(al[i], b[i], quantities) {
				return true
			}
		}
		return false
	default:
		return !sameScalar(a, b) && (!quantities || !sameQuantity(a, b))
	}
}

// anyValue tells whether there is a value anywhere in an object.
func anyValue(m map[string]any) bool {
	for _, v := range m {
		if exceeds(nil, v, false) {
			return true
		}
	}
	return false
}

// sameScalar compares numbers by value, because JSON decoders differ in the
// type that they give them.
func sameScalar(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

func sameQuantity(a, b any) bool {
	x, errX := resource.ParseQuantity(fmt.Sprint(a))
	y, errY := resource.ParseQuantity(fmt.Sprint(b))
	return errX == nil && errY == nil && x.Cmp(y) == 0
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}
