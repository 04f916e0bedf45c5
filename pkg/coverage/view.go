// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/dockerconfig"
)

const (
	// maxEntries is the number of names of a list that are considered.
	maxEntries = 128
	// maxKeys is the number of registries in all Secrets together that are considered.
	maxKeys = 4 * dockerconfig.MaxEntries
)

// view is what one reader reads for a template, whatever the image. All slices have one item
// for each Secret: those that the reader reads, and then the others.
type view struct {
	reader dockerconfig.Reader
	// entries lack a reason where it depends on the image.
	entries []Entry
	// facts are empty where the reason does not depend on the image.
	facts []dockerconfig.Facts
	// intentions are those of the facts. They are nil until an image needs them.
	intentions [][]dockerconfig.Intention
	// verdicts are those of earlier images by repository, on which alone they depend.
	verdicts map[string]Verdict
	// expires are the times for credentials that have none of their own.
	expires []metav1.Time
	// read is the number of entries that the reader reads.
	read int
	// broken is the position of the first entry on which the reader fails, or -1.
	broken int
	// size is the length of all registries, and keys their number.
	size, keys int
	seen       sets.Set[string]
}

// viewOf returns what a reader reads for a template.
func viewOf(reader dockerconfig.Reader, t Template, secrets map[string]Secret) view {
	w := view{reader: reader, broken: -1, seen: sets.New[string](), verdicts: map[string]Verdict{}}
	// The Pod gets the ServiceAccount's list only if it has none of its own.
	readsAccount := reader == dockerconfig.TagResolution || len(t.PullSecrets) == 0
	w.addList(t.PullSecrets, Entry{}, secrets)
	if readsAccount && t.AccountUnknown {
		w.addEntry(Entry{ServiceAccount: true, Reason: NotChecked}, dockerconfig.Facts{}, metav1.Time{})
	}
	w.addList(t.ServiceAccount, Entry{ServiceAccount: true, Unread: !readsAccount}, secrets)
	var others []string
	for name := range secrets {
		if !w.seen.Has(name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	w.addList(others, Entry{Unread: true}, secrets)
	w.intentions = make([][]dockerconfig.Intention, len(w.facts))
	return w
}

// addList adds the names of a list that were not added before.
func (w *view) addList(names []string, in Entry, secrets map[string]Secret) {
	for i, name := range names {
		if i == maxEntries {
			in.Secret, in.Reason = "", NotChecked
			w.addEntry(in, dockerconfig.Facts{}, metav1.Time{})
			return
		}
		if !w.seen.Has(name) {
			w.seen.Insert(name)
			in.Secret = name
			w.add(in, secrets[name])
		}
	}
}

// add adds a Secret with the reason that holds for every image, if there is one.
func (w *view) add(e Entry, s Secret) {
	e.CopyOf = s.CopyOf
	fails := false
	switch rejected := s.Facts.Rejected[w.reader]; {
	case e.Secret == "" || len(path.IsValidPathSegmentName(e.Secret)) > 0:
		e.Reason = InvalidName
		fails = w.reader == dockerconfig.TagResolution
	case s.State == Unknown:
		e.Reason = NotChecked
	case s.State == Absent:
		e.Reason = Missing
	case s.State == Ungranted:
		e.Reason = NotGranted
	case rejected != nil:
		e.Reason, e.Problem = Malformed, rejected
		fails = true
	case s.Facts.WrongType != nil:
		e.Reason, e.Problem = WrongType, s.Facts.WrongType
	default:
		entries := len(s.Facts.Entries)
		w.size, w.keys = w.size+s.Facts.Size(), w.keys+entries
		if s.Facts.Oversized || entries > dockerconfig.MaxEntries || w.size > dockerconfig.MaxSize || w.keys > maxKeys {
			e.Reason = NotChecked
		}
	}
	if fails && !e.Unread && w.broken < 0 {
		w.broken = len(w.entries)
	}
	w.addEntry(e, s.Facts, s.Expires)
}

func (w *view) addEntry(e Entry, facts dockerconfig.Facts, expires metav1.Time) {
	if e.Reason != "" {
		facts = dockerconfig.Facts{}
	}
	w.entries, w.facts, w.expires = append(w.entries, e), append(w.facts, facts), append(w.expires, expires)
	if !e.Unread {
		w.read = len(w.entries)
	}
}

// resolution returns the verdict of tag resolution: whether it reads pull secrets for the
// image, and whether it then asks the registry.
func (w *view) resolution(t dockerconfig.Target, parsed, reads, asks bool, now metav1.Time) Verdict {
	if !reads || !asks && w.broken < 0 {
		return Verdict{Reason: NotResolved, decisive: -1}
	}
	return w.verdict(t, parsed, now)
}

// verdict returns the verdict for an image that the reader looks for.
func (w *view) verdict(t dockerconfig.Target, parsed bool, now metav1.Time) Verdict {
	if !parsed {
		return Verdict{Reason: InvalidImage, decisive: -1}
	}
	v, known := w.verdicts[t.Repository]
	if !known {
		v = w.decide(t, now)
		w.verdicts[t.Repository] = v
	}
	v.Entries = slices.Clone(v.Entries) // Results share nothing.
	return v
}

// decide returns the verdict for where the reader looks for an image.
func (w *view) decide(t dockerconfig.Target, now metav1.Time) Verdict {
	v := Verdict{Reason: NoPullSecrets, Repository: t.Repository, Entries: slices.Clone(w.entries), decisive: -1}
	found := w.reader.Matches(t, w.facts[:w.read]...)
	for i := range v.Entries {
		if e := &v.Entries[i]; e.Reason == "" {
			w.judge(i, e, t, found, now)
		}
	}
	v.decisive = w.broken
	for i := 0; i < len(v.Entries) && w.broken < 0; i++ {
		e := &v.Entries[i]
		if e.Unread && e.Reason != NotListed {
			continue
		}
		if v.decisive < 0 || e.before(&v.Entries[v.decisive]) {
			v.decisive = i
		}
	}
	if v.decisive >= 0 {
		v.Reason = v.Entries[v.decisive].Reason
	}
	return v
}

// judge fills in what a Secret has for the image.
func (w *view) judge(i int, e *Entry, t dockerconfig.Target, found []dockerconfig.Match, now metav1.Time) {
	if !e.Unread {
		w.choose(i, i, e, found, now)
	}
	if e.Reason == "" && (e.Unread || len(found) > 0) {
		w.judgeAlone(i, e, t, now)
	}
	if e.Reason != "" {
		return
	}
	e.Reason = NoMatch
	if w.intentions[i] == nil {
		w.intentions[i] = w.facts[i].Intentions(w.reader)
	}
	for j := range w.intentions[i] {
		if meant := &w.intentions[i][j]; meant.Finds(t) {
			e.Reason, e.Key, e.Better = WrongKey, w.facts[i].Entries[meant.Entry].Key, meant.Better
			return
		}
	}
}

// judgeAlone fills in what a Secret would have for the image if the reader read no other, for
// one that it does not read or try. The kubelet tries the key of Docker Hub only if no other
// key matches.
func (w *view) judgeAlone(i int, e *Entry, t dockerconfig.Target, now metav1.Time) {
	alone := *e
	w.choose(i, 0, &alone, w.reader.Matches(t, w.facts[i]), now)
	alone.Turn = 0
	covers := alone.Reason == Covered
	switch {
	case e.Unread && covers:
		alone.Reason = NotListed
	case covers:
		alone.Reason = Shadowed
	case !e.Unread:
		return
	}
	*e = alone
}

// choose fills in the key of a Secret that counts among the matches, in which the Secret has
// a position: for tag resolution the first, and for the kubelet the best, because it tries all.
func (w *view) choose(i, position int, e *Entry, found []dockerconfig.Match, now metav1.Time) {
	for turn, match := range found {
		if match.Secret != position || match.Foreign {
			continue
		}
		entry := &w.facts[i].Entries[match.Entry]
		candidate := *e
		candidate.Key, candidate.Turn, candidate.Expires = entry.Key, turn+1, entry.Uses[w.reader].Expires
		if candidate.Expires.IsZero() {
			candidate.Expires = w.expires[i]
		}
		switch {
		case entry.Uses[w.reader].Empty:
			candidate.Reason = NoCredential
		case !candidate.Expires.IsZero() && !now.Before(&candidate.Expires):
			candidate.Reason = Expired
		case w.reader == dockerconfig.TagResolution && turn > 0:
			candidate.Reason = Shadowed
		default:
			candidate.Reason = Covered
		}
		if e.Reason == "" || candidate.before(e) {
			*e = candidate
		}
		if w.reader == dockerconfig.TagResolution {
			return
		}
	}
}

// before reports whether an entry decides before another one: by its reason, and among equal
// ones by the order of the reader.
func (e *Entry) before(other *Entry) bool {
	return cmp.Or(cmp.Compare(slices.Index(ranked, e.Reason), slices.Index(ranked, other.Reason)), cmp.Compare(e.Turn, other.Turn)) < 0
}
