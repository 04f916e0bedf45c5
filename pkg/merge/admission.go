// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import "slices"

// Verdict is how to answer an admission request.
type Verdict string

const (
	// Renew writes the list and the ledger of the Result.
	Renew Verdict = "Renew"
	// Restore writes the list and the ledger of the old object.
	Restore Verdict = "Restore"
	// Revert is Restore that also restores Knative's note of who changed the Service.
	// Knative saw the request without the restored entries: the first call of the request
	// failed, or had a stale cache.
	Revert Verdict = "Revert"
	// Leave changes nothing.
	Leave Verdict = "Leave"
)

// Side is one side of an admission request for a Service: the old object or the requested
// one.
type Side struct {
	Current
	// Name is the template's metadata.name, which names the Revision.
	Name string
	// Secrets and Inject are the values of the Service's own annotations.
	Secrets, Inject string
	// Noted is set on the requested side if Knative already found a change and noted who
	// sent the request. The API server calls the webhook again after that.
	Noted bool
}

// Revision is an existing Revision with the name that a template takes.
type Revision struct {
	List []string
}

// AdmitUpdate decides about an update of a Service. With Renew, the Result is the new
// state. With Restore and Leave, the Result is what would be due under another name of the
// template, for a warning if the template is named.
//
// A request is a change if the list differs by more than missing entries of ours, if the
// Service's own annotations differ, or if changed reports that Knative finds another
// template. changed is called only if it decides. Without a change, the client only
// dropped entries that it did not know of, and they are restored, so that no Revision is
// created. If the first call of the request failed, Knative has noted a change that does
// not exist once the entries are restored, and rejects the request for it. So the note is
// restored too.
//
// Knative rejects every change of a template under an unchanged name, so the old list is
// restored there and nothing is added. taken is the Revision that already has the
// template's new name, or nil. Knative accepts that name only with the same template.
func AdmitUpdate(old, requested Side, changed func() bool, d Declared, taken *Revision) (Verdict, Result) {
	due := update(old.Current, requested.Current, d)
	named, same := requested.Name != "", sameOwn(old.Current, requested.Current, d)
	switch {
	case named && requested.Name == old.Name:
		if same {
			return restored(old, requested), due
		}
		// The user's own entries changed under an unchanged name. Knative rejects
		// that, and the webhook must not hide the mistake.
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

// restored returns Restore, or Revert if Knative has noted the missing entries as a
// change.
func restored(old, requested Side) Verdict {
	if requested.Noted && !slices.Equal(clean(old.List), clean(requested.List)) {
		return Revert
	}
	return Restore
}

// renewed reports whether the requested list holds names that the old one lacks. This is
// so in the second call after Renew, which must not undo the first: Knative has noted a
// change, and rejects a note without one.
func renewed(old, requested Side) bool {
	before := clean(old.List)
	return slices.ContainsFunc(clean(requested.List), func(name string) bool { return !slices.Contains(before, name) })
}

// reused is the state in which a Service takes the name of an existing Revision: the
// Revision's list, with a ledger of the entries that were added to it. A name that the
// request does not list is not the user's. If its origin is unknown it gets the origin
// namespace, so that the next change of the template removes it unless it is declared.
func reused(taken Revision, old, requested Current, d Declared) Result {
	brought := requested.Ledger
	old, requested, kept := d.attribute(old, requested)
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

// Create computes the list of a new Service in an admission request. The ledger in the
// request may be ours (from the first call for the same request), come from a backup or an
// export, or be forged. An item counts only if the entry is in the list and either
// declared now with the same origin or Free. Whoever creates a Service owns what they
// write, so a Free entry was added by the webhook in this request, and a second call with
// a stale cache keeps what the first one added.
func Create(requested Current, d Declared) Result {
	brought := requested.Ledger
	requested.Managed = nil
	_, requested, kept := d.attribute(Current{}, requested)
	requested.Claimed = nil
	if d.Hold {
		return unchanged(requested).against(brought)
	}
	return recompute(requested, requested, d, kept).against(brought)
}

// update computes the list of a changed Service in an admission request. Entries in the
// ledger that are no longer declared are removed. The ledger of the old object is
// authoritative, because users can drop or forge the requested one. Of the requested
// ledger, items count as in [Create], which makes a second call for the same request
// idempotent.
//
// Two calls for one request may see different caches. What either of them adds stays, with
// its item in the ledger. An entry in the old ledger is removed if the last call finds it
// no longer declared. An error of a stale cache is corrected by the next change or the
// reconciler, because the entry stays in the ledger as long as it is in the list.
//
// [AdmitUpdate] finds out whether the Service changed. If not, it restores the old list
// and ledger.
func update(old, requested Current, d Declared) Result {
	brought := requested.Ledger
	old, requested, kept := d.attribute(old, requested)
	if d.Hold {
		return held(old, requested).against(brought)
	}
	return recompute(old, requested, d, kept).against(brought)
}

// recompute returns the complete list: the own entries of the request, all layers, and the
// entries that another call for the same request added.
func recompute(old, requested Current, d Declared, kept []Entry) Result {
	own := d.ownOf(old, requested)
	entries, withheld := d.layers(own, true)
	return settle(old, requested, own, d.carry(own, interleave(entries, kept)), withheld)
}

// ownOf returns the user's own entries of a request. They include a claimed entry that is
// missing in the list but would be added again: it comes back as the user's. Otherwise a
// second call would take it from our own answer for the user's, and answer differently.
func (d Declared) ownOf(old, requested Current) []string {
	own := requested.own()
	back, _ := d.layers(own, true)
	for _, e := range old.added() {
		if !slices.Contains(own, e.Name) && !contains(back, e.Name) {
			back = append(back, e)
		}
	}
	own = append(own, requested.claims(back)...)
	if len(own) == 0 {
		own = requested.claims(d.carry(nil, back))
	}
	return own
}

// held keeps the own entries of the request and the entries in either ledger. It adds and
// removes nothing.
func held(old, requested Current) Result {
	own := requested.own()
	keep := requested.added()
	for _, e := range old.added() {
		if !slices.Contains(own, e.Name) && !contains(keep, e.Name) {
			keep = append(keep, e)
		}
	}
	return settle(old, requested, own, interleave(nil, keep), nil)
}

// sameOwn reports whether both lists hold the same own entries of the user, in the same
// order.
func sameOwn(old, requested Current, d Declared) bool {
	old, requested, _ = d.attribute(old, requested)
	return slices.Equal(old.own(), d.ownOf(old, requested))
}

// reuses reports whether a template that takes the name of an existing Revision may have
// that Revision's list, that is, whether the list holds the user's own entries in their
// order. Knative accepts the name only with the Revision's exact template, so all other
// entries, which were declared at that time, are part of what the user returns to.
func reuses(revision []string, old, requested Current, d Declared) bool {
	old, requested, _ = d.attribute(old, requested)
	own := d.ownOf(old, requested)
	for _, name := range revision {
		if len(own) > 0 && own[0] == name {
			own = own[1:]
		}
	}
	return len(own) == 0
}
