// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import "slices"

// Reconcile computes the list of a Service outside of a request. Each change of the list
// rolls out a Revision, so:
//
//   - names that layers 2 to 4 declare are added;
//   - an entry of the Service's own annotation that is no longer declared there is
//     removed, because the owner removed it;
//   - any other entry stays, even if it is no longer declared: a reference to a
//     missing Secret is harmless, and a rollout without benefit is not;
//   - layers 5 and 6 are added together with the above, and by themselves only to a
//     Service that is not ready, because a rollout cannot make it worse;
//   - an entry that is Managed and in no ledger gets its item again.
//
// The caller passes an empty declaration where injection is disabled.
func Reconcile(current Current, d Declared, ready bool) Result {
	if d.Hold {
		return unchanged(current)
	}
	stored := current.trimmed()
	current = d.completed(current)
	own, added := current.own(), current.added()
	firm, withheld := d.layers(own, false)
	all, withheldAll := d.layers(own, true)
	declared := d.entries()

	var keep, retract []Entry
	for _, e := range added {
		if e.Origin == FromService && !contains(declared, e.Name) {
			retract = append(retract, e)
		} else {
			keep = append(keep, e)
		}
	}
	// An entry that the ServiceAccount lists would be carried over again, so it stays.
	for _, e := range d.carry(own, slices.Clone(keep))[len(keep):] {
		if contains(retract, e.Name) {
			keep = append(keep, e)
		}
	}
	retracts := len(keep) < len(added)
	missing := slices.ContainsFunc(firm, func(e Entry) bool { return !contains(added, e.Name) })

	// Without another reason for a Revision, layer 5 only changes origins of existing entries.
	want, carry := all, true
	if ready && !retracts && !missing {
		want = slices.DeleteFunc(slices.Clone(all), func(e Entry) bool {
			return !contains(firm, e.Name) && !contains(keep, e.Name)
		})
		carry, withheldAll = false, withheld
	}
	entries := interleave(want, keep)
	if carry {
		entries = d.carry(own, entries)
	}
	if retracts {
		entries = dropOrphans(entries)
	}
	return settle(current, current, own, entries, withheldAll).against(stored)
}

// dropOrphans removes entries carried over from a ServiceAccount if no other entry of ours
// is left. Without them, Kubernetes gives Pods the ServiceAccount's list again.
func dropOrphans(entries []Entry) []Entry {
	if slices.ContainsFunc(entries, notCarried) {
		return entries
	}
	return nil
}
