// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import "slices"

// Verdict is what an admission request calls for.
type Verdict string

const (
	// Renew: the list and the ledger become those of the Result.
	Renew Verdict = "Renew"
	// Restore: the list and the ledger become exactly what they are in the old
	// object.
	Restore Verdict = "Restore"
	// Revert: as Restore, and Knative's note of a change with it. Knative saw the request
	// without entries that are put back now: the first call of the request failed, or knew
	// something else.
	Revert Verdict = "Revert"
	// Leave: the request passes as it is.
	Leave Verdict = "Leave"
)

// Side is a Service as one side of an admission request shows it.
type Side struct {
	Current
	// Name is the template's metadata.name, with which a user names the Revision.
	Name string
	// Secrets and Inject are the raw values of the Service's own annotations.
	Secrets, Inject string
	// Noted, of the requested side, is set where Knative has found a change already
	// and noted who sent the request. The API server calls again after that.
	Noted bool
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
// A request is a change where the list, by more than entries of ours that it
// lacks, or the Service's own annotations differ, or where changed reports that
// Knative finds another template; changed is called only where that decides. Where
// nothing changed, whoever sent the request merely dropped what he did not know of,
// and gets it back: a Revision is never made by that. Where the first call of the request
// failed, Knative has noted a change by then, which is none once the entries are back, and
// it refuses such a note. So the note is put back too.
//
// Knative refuses every change of a template under an unchanged name, so there
// the old list is put back and nothing is added. taken is the Revision that
// already has the template's new name, or nil; Knative accepts the name only
// with that Revision's very template.
func AdmitUpdate(old, requested Side, changed func() bool, d Declared, taken *Revision) (Verdict, Result) {
	due := Update(old.Current, requested.Current, d)
	named, same := requested.Name != "", sameOwn(old.Current, requested.Current, d)
	switch {
	case named && requested.Name == old.Name:
		if same {
			return restored(old, requested), due
		}
		// The user's own entries changed under an unchanged name. Knative will
		// say so, and nothing must hide it.
		return Leave, due
	case named && taken != nil && reuses(taken.List, old.Current, requested.Current, d):
		return Renew, reused(*taken, old.Current, requested.Current, d)
	case !same,
		requested.Name != old.Name,
		requested.Secrets != old.Secrets, requested.Inject != old.Inject,
		renewed(old, requested),
		changed():
		return Renew, due
	default:
		return restored(old, requested), due
	}
}

// restored is Restore, or Revert where Knative has noted that entries are gone.
func restored(old, requested Side) Verdict {
	if requested.Noted && !slices.Equal(clean(old.List), clean(requested.List)) {
		return Revert
	}
	return Restore
}

// renewed reports whether the list holds more than the old one. So it is when the API
// server calls again after Renew, which must not be taken back: Knative has noted a
// change, and refuses the note of a change that is none.
func renewed(old, requested Side) bool {
	before := clean(old.List)
	return slices.ContainsFunc(clean(requested.List), func(name string) bool { return !slices.Contains(before, name) })
}

// reused is the state in which a Service takes up an existing Revision: its
// list, with a ledger of what was added to it. What the request does not list is not the
// user's. Where nothing says any more where it came from, it counts as the Namespace's,
// and goes with the next template unless something declares it.
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
	for _, name := range clean(taken.List) {
		if !slices.Contains(own, name) && !contains(entries, name) {
			entries = append(entries, Entry{name, FromNamespace})
		}
	}
	return compare(old, requested, clean(taken.List), entries, nil).against(brought)
}
