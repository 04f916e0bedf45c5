// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Current is a list as it is, or as somebody wants to write it.
type Current struct {
	// List holds the names in order; as users write it, it may hold repeats
	// and empty names.
	List []string
	// Ledger says which of them the product added.
	Ledger Ledger
	// Claimed are names that count as the user's own although the ledger names
	// them; see CurrentOf.
	Claimed sets.Set[string]
	// Free are names of the list that provably nobody else owns. Of these, a ledger
	// that comes with a request is believed.
	Free sets.Set[string]
	// Managed are those of them that the controller itself owns: they are ours although
	// no ledger names them.
	Managed sets.Set[string]
}

// own returns the user's own entries, in order, without repeats or empty names.
func (c Current) own() []string {
	return slices.DeleteFunc(clean(c.List), c.ours)
}

// ours reports whether the controller or the webhook added the entry and nobody claims it.
func (c Current) ours(name string) bool {
	_, added := c.Ledger[name]
	return added && !c.Claimed.Has(name)
}

// added returns our entries that really stand in the list, with their origins,
// in the list's order.
func (c Current) added() []Entry {
	var added []Entry
	for _, name := range clean(c.List) {
		if c.ours(name) {
			added = append(added, Entry{name, c.Ledger[name]})
		}
	}
	return added
}

// Entry is a name of the list and why it is there.
type Entry struct {
	Name   string
	Origin Origin
}

func contains(entries []Entry, name string) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name })
}

// Result is what a list becomes.
type Result struct {
	// List and Ledger are the new state; both are nil where they are empty.
	List   []string
	Ledger Ledger
	// Added and Taken are the differences to what was there, by the product.
	Added, Taken []Entry
	// Withheld are declared names that the ServiceAccount's
	// enforce-mountable-secrets keeps out.
	Withheld []Entry
	// ListChanged and LedgerChanged tell whether there is anything to write.
	ListChanged, LedgerChanged bool
}

// Changed tells whether there is anything to write.
func (r Result) Changed() bool { return r.ListChanged || r.LedgerChanged }

// Create answers the admission of a new Service. The ledger that comes with it
// is the product's own (a second call in the same request), or comes out of a
// backup or an export, or is forged: an item counts only if it is in the list
// and declared now with that very origin, or if the entry is Free. Whoever creates
// a Service owns what they write, so what is Free was added by a webhook in this
// request: a second call that knows less keeps what the first one added.
func Create(requested Current, d Declared) Result {
	brought := requested.Ledger
	requested.Managed = nil
	_, requested, kept := d.judged(Current{}, requested)
	requested.Claimed = nil
	if d.Hold {
		return unchanged(requested).against(brought)
	}
	return full(requested, requested, d, kept).against(brought)
}

// Update answers the admission of a changed Service: the full list anew, and
// what the ledger names but nothing declares any more goes away. The ledger of
// the old object is the truth, because the requested one is the user's to drop
// or to forge. Of that one an item counts only as in Create, which is what our
// own answer needs when the API server calls a second time.
//
// Two calls of one request may know different things. What either of them adds
// stays, with its item of the ledger. An entry of the old ledger goes if the last
// call finds that nothing declares it; the next change or the reconciler corrects
// what a stale cache got wrong, because the entry is in the ledger if it is there.
//
// Whether the Service changed is for AdmitUpdate to find out; for one that did
// not, the old list and ledger are put back as they were.
func Update(old, requested Current, d Declared) Result {
	brought := requested.Ledger
	old, requested, kept := d.judged(old, requested)
	if d.Hold {
		return held(old, requested).against(brought)
	}
	return full(old, requested, d, kept).against(brought)
}

// Restored is the ledger with which AdmitUpdate's Restore puts the old list back: the
// old one with the items that it lacks. A request that drops an entry ends our owning
// it, so that afterwards it is not Managed any more.
func Restored(old Current, d Declared) Ledger { return d.rebuilt(old).Ledger }

// sameOwn reports whether both lists hold the same entries of the user's own, in
// the same order.
func sameOwn(old, requested Current, d Declared) bool {
	old, requested, _ = d.judged(old, requested)
	return slices.Equal(old.own(), d.ownOf(old, requested))
}

// reuses reports whether a template that takes the name of an existing Revision
// may have that Revision's list: it holds the user's own entries, in their order.
// Knative accepts the name with the Revision's very template and no other, so
// whatever else is in the list, and came from what was declared then, is part of
// what the user goes back to.
func reuses(revision []string, old, requested Current, d Declared) bool {
	old, requested, _ = d.judged(old, requested)
	own := d.ownOf(old, requested)
	for _, name := range revision {
		if len(own) > 0 && own[0] == name {
			own = own[1:]
		}
	}
	return len(own) == 0
}

// Reconcile looks at a Service that nobody is changing. Each change of the list
// rolls out a Revision, so:
//
//   - names that layers 2 to 4 declare are added;
//   - an entry that came from the Service's own annotation, which no longer says
//     it, is taken away, because its owner asked;
//   - any other entry stays, even if nothing declares it any more: a reference
//     to a Secret that is gone is harmless, a rollout for nobody's benefit is not;
//   - layers 5 and 6 come along with the above, and by themselves only to a
//     Service that is not ready, where there is nothing to lose;
//   - an entry that is Managed and in no ledger gets its item again.
//
// The caller asks for nothing where injection is disabled.
func Reconcile(current Current, d Declared, ready bool) Result {
	if d.Hold {
		return unchanged(current)
	}
	stored := current.trimmed()
	current = d.rebuilt(current)
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
	// What the ServiceAccount lists would be carried right back, so it stays.
	for _, e := range d.carry(own, slices.Clone(keep))[len(keep):] {
		if contains(retract, e.Name) {
			keep = append(keep, e)
		}
	}
	retracts := len(keep) < len(added)
	missing := slices.ContainsFunc(firm, func(e Entry) bool { return !contains(added, e.Name) })

	// Unless a Revision is made anyway, layer 5 may only relabel what is there.
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

// ForServiceAccount keeps the list of a bound ServiceAccount: what the
// Namespace and ClusterPullSecrets declare is appended, what the ledger names
// and nothing declares any more is taken out, and every other entry keeps its
// place. A claimed entry leaves the ledger at once: the next write of the list,
// whoever makes it, ends the proof that it is claimed.
func ForServiceAccount(current Current, namespace []string, always []Grant) Result {
	stored := maps.Clone(current.Ledger)
	maps.DeleteFunc(stored, func(name string, _ Origin) bool { return !slices.Contains(current.List, name) })
	return bind(current, Declared{Namespace: namespace, Always: always}, true).against(stored)
}

// AdmitServiceAccount is ForServiceAccount for an admission request, and takes
// nothing away: the declaration that a stale cache does not know yet may be the
// one that an entry is there for, so that is for the reconciler, which asks the API
// server. The old object's ledger is the truth, as in Update; old is empty for a
// new ServiceAccount. What the requested one has Managed is ours where it is
// declared.
func AdmitServiceAccount(old, requested Current, namespace []string, always []Grant) Result {
	d := Declared{Namespace: namespace, Always: always}
	brought := requested.Ledger
	requested.Ledger = d.proven(brought)
	maps.DeleteFunc(requested.Ledger, func(name string, _ Origin) bool { return slices.Contains(old.List, name) })
	maps.Copy(requested.Ledger, old.trimmed())
	want, _ := d.layers(nil, false)
	for _, e := range want {
		if requested.Managed.Has(e.Name) {
			requested.Ledger[e.Name] = e.Origin
		}
	}
	return bind(requested, d, false).against(brought)
}

// bind computes the list of a ServiceAccount, without the entries that nothing
// declares any more if those are to be taken.
func bind(current Current, d Declared, take bool) Result {
	want, _ := d.layers(nil, false)
	var (
		list    []string
		entries []Entry
	)
	for _, name := range clean(current.List) {
		if current.ours(name) {
			e := Entry{name, current.Ledger[name]}
			if i := slices.IndexFunc(want, func(e Entry) bool { return e.Name == name }); i >= 0 {
				e = want[i]
			} else if take {
				continue
			}
			entries = append(entries, e)
		}
		list = append(list, name)
	}
	for _, e := range want {
		if !slices.Contains(list, e.Name) {
			list = append(list, e.Name)
			entries = append(entries, e)
		}
	}
	return compare(current, current, list, entries, nil)
}

// against says whether the ledger differs from the one that is stored, or is about
// to be, which may have been dropped or forged.
func (r Result) against(brought Ledger) Result {
	r.LedgerChanged = !maps.Equal(r.Ledger, brought)
	return r
}

// full is the whole list anew: the own entries of the request, all layers, and what
// another call of the same request has added.
func full(old, requested Current, d Declared, kept []Entry) Result {
	own := d.ownOf(old, requested)
	entries, withheld := d.layers(own, true)
	return settle(old, requested, own, d.carry(own, interleave(entries, kept)), withheld)
}

// ownOf returns the user's own entries of a request. Among them is what somebody
// claims and merely dropped from the list, if it would come back: it comes back
// as theirs, or a second call with our own answer would take it for theirs and
// answer otherwise than the first.
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

// claims returns the names among entries that somebody claims.
func (c Current) claims(entries []Entry) []string {
	var names []string
	for _, e := range entries {
		if c.Claimed.Has(e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// held keeps the own entries of the request and the entries that either ledger
// names, and adds or takes nothing.
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

func unchanged(c Current) Result {
	return Result{List: clip(slices.Clone(c.List)), Ledger: c.trimmed()}
}

// dropOrphans takes away what was carried over from a ServiceAccount where it
// would stand alone: without the product's other entries, the Pod gets the
// ServiceAccount's list from Kubernetes again.
func dropOrphans(entries []Entry) []Entry {
	if slices.ContainsFunc(entries, notCarried) {
		return entries
	}
	return nil
}

// interleave adds to want what is kept although nothing declares it any more,
// each behind the entries of its own layer.
func interleave(want, keep []Entry) []Entry {
	all := slices.Clone(want)
	for _, e := range keep {
		if !contains(all, e.Name) {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(rank(a.Origin), rank(b.Origin)) })
	return all
}

func rank(o Origin) int {
	switch {
	case o == FromService:
		return 2
	case o == FromNamespace:
		return 3
	case o.isClusterPullSecret():
		return 4
	default:
		return 6
	}
}

// settle turns own entries and ours into a result. Where that is only another
// order of what was there, or of what was asked for, that order stays, because
// every reordering is a Revision; but the order of the user's own entries is
// always theirs.
func settle(old, requested Current, own []string, entries []Entry, withheld []Entry) Result {
	list := make([]string, 0, len(own)+len(entries))
	list = append(list, own...)
	ours := make(Ledger, len(entries))
	for _, e := range entries {
		list = append(list, e.Name)
		ours[e.Name] = e.Origin
	}
	for _, other := range [][]string{clean(old.List), clean(requested.List)} {
		if isReordering(list, other) && slices.Equal(Current{List: other, Ledger: ours}.own(), own) {
			list = other
			break
		}
	}
	return compare(old, requested, list, entries, withheld)
}

// isReordering tells whether two lists without repeats hold the same names.
func isReordering(a, b []string) bool {
	return len(a) == len(b) && sets.New(a...).HasAll(b...)
}

// clean is the list without repeats and empty names. Users may write both; to
// clean up after them is never a reason to write, and whenever the list is
// written, it is clean.
func clean(list []string) []string {
	seen := sets.New("")
	var names []string
	for _, name := range list {
		if !seen.Has(name) {
			seen.Insert(name)
			names = append(names, name)
		}
	}
	return names
}

// compare fills in what a new state changes. Added and Taken are judged by the
// old state, ListChanged and LedgerChanged by what is about to be stored.
func compare(old, requested Current, list []string, entries []Entry, withheld []Entry) Result {
	r := Result{List: list, Withheld: withheld}
	for _, e := range entries {
		if !slices.Contains(old.List, e.Name) && !slices.Contains(requested.List, e.Name) {
			r.Added = append(r.Added, e)
		}
		// What somebody claims and merely dropped from the list is not ours
		// when it comes back.
		if !requested.Claimed.Has(e.Name) {
			if r.Ledger == nil {
				r.Ledger = make(Ledger, len(entries))
			}
			r.Ledger[e.Name] = e.Origin
		}
	}
	for _, e := range old.added() {
		if !slices.Contains(list, e.Name) {
			r.Taken = append(r.Taken, e)
		}
	}
	if r.ListChanged = !slices.Equal(list, clean(requested.List)); !r.ListChanged {
		r.List = slices.Clone(requested.List)
	}
	r.List = clip(r.List)
	r.LedgerChanged = !maps.Equal(r.Ledger, requested.trimmed())
	return r
}

// trimmed is the ledger without items that say nothing: of names that are not
// in the list, and of names that somebody else claims.
func (c Current) trimmed() Ledger {
	var ledger Ledger
	for _, e := range c.added() {
		if ledger == nil {
			ledger = Ledger{}
		}
		ledger[e.Name] = e.Origin
	}
	return ledger
}

// clip returns nil for an empty list, so that absent and empty are the same.
func clip(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}
