// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package words lists terms that the code and the documentation do not use, with
// the terms that they use instead. Its test checks comments, strings and names in
// Go, and all text in manifests, scripts and Markdown.
//
// A term belongs in the list only if it is nearly always wrong, so that the list
// needs no exceptions.
package words

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Term is a term to avoid.
type Term struct {
	// Avoid is a regular expression. It matches whole words in any case, and a
	// space in it matches any white space, a line break included.
	Avoid string
	// Say is what to say instead.
	Say string
	// Why is the reason.
	Why string
	// Example is a text that the term matches.
	Example string
}

const (
	field    = "Kubernetes has its own term for this"
	idiom    = "Go doc comments have their own idiom for this"
	plain    = "plain English is easier to read"
	specific = "it must be clear which program or object is meant"
)

// Terms are the terms to avoid.
var Terms = []Term{
	{`look(s|ed|ing)? again`, "requeue, reconcile again, check again", field, "It looks\nagain later."},
	{`wakes?|woken?|waking`, "enqueue", field, "A copy wakes the Service."},
	{`mend(s|ed|ing)?`, "restore, repair, fix", field, "The copy is mended."},
	{`doubt(s|ed)?`, "grace period, may differ, is uncertain", field, "It is in doubt."},
	{`patience`, "timeout, deadline, backoff", field, "The patience ends."},
	{`news`, "change, event", field, "That it is gone is news."},
	{`(puts?|putting) (it |them )?back`, "restore", field, "It is put back."},
	{`(take|takes|took|taken|taking) away`, "remove, revoke", field, "Nothing is taken away."},
	{`lets? go of|letting go of`, "release", field, "It lets go of the copy."},
	{`keep(s|ing)? at it`, "keep retrying, keep writing", plain, "Somebody keeps at it."},
	{`the product`, "the controller, the webhook, the installation, the project", specific, "Install the product."},
	{`tells? of|told of|telling of`, "report, list", plain, "An Event tells of it."},
	{`(tells?|says?) whether`, "reports whether", idiom, "It tells whether it runs."},
	{`(is|are|was|were|be|being|been) away`, "is down, is unavailable, does not run", plain, "The webhook is away."},
	{`to the (letter|byte)`, "literally, exactly, byte for byte", plain, "It is kept to the byte."},
	{`any more`, "no longer", plain, "It is not declared any more."},
	{`for ever`, "forever, indefinitely", plain, "It stays for ever."},
	{`anew`, "again; recreate, restart", plain, "It is made anew."},
	{`lest`, "so that ... not", plain, "Lest it fails."},
	{`in earnest`, "not in a dry run", plain, "It is applied in earnest."},
	{`heed(s|ed|ing)?`, "use, respect, cover", plain, "It heeds the image."},
	{`(become|becomes|became) of`, "happens to, the result of", plain, "What becomes of it."},
	{`under way`, "in progress, in flight", plain, "A write is under way."},
	{`in the place of`, "instead of, in place of", plain, "It stands in the place of data."},
	{`for want of`, "for lack of, without", plain, "It fails for want of capacity."},
	{`nor (do|does|did|is|are|was|were|can|may|has|have)`, "a sentence with the subject first", plain, "Nor is it deleted."},
}

var compiled = func() []*regexp.Regexp {
	all := make([]*regexp.Regexp, len(Terms))
	for i, term := range Terms {
		all[i] = regexp.MustCompile(`(?i)\b(?:` + strings.ReplaceAll(term.Avoid, " ", `\s+`) + `)\b`)
	}
	return all
}()

// Finding is a term in a text.
type Finding struct {
	Line int
	Text string
	Term Term
}

// Find returns the terms to avoid in passages of a file.
func Find(passages []Passage) (found []Finding) {
	for _, passage := range passages {
		for i, term := range Terms {
			for _, at := range compiled[i].FindAllStringIndex(passage.Text, -1) {
				found = append(found, Finding{
					Line: passage.Line + strings.Count(passage.Text[:at[0]], "\n"),
					Text: strings.Join(strings.Fields(passage.Text[at[0]:at[1]]), " "),
					Term: term,
				})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return found
}
