// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// Held is an object that the installation holds something of.
type Held struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// What it is or has, such as the entries of a ledger.
	What string `json:"what"`
}

// LedgerOf returns what the ledger of an object holds, or nil if it has none.
func LedgerOf(kind, namespace, name string, annotations map[string]string) *Held {
	text, has := annotations[pullsecrets.AddedAnnotation]
	if !has {
		return nil
	}
	h := &Held{Kind: kind, Namespace: namespace, Name: name, What: "an invalid ledger"}
	if ledger, err := merge.ParseLedger(text); err == nil {
		var entries []merge.Entry
		for name, origin := range ledger {
			entries = append(entries, merge.Entry{Name: name, Origin: origin})
		}
		slices.SortFunc(entries, func(a, b merge.Entry) int { return cmp.Compare(a.Name, b.Name) })
		h.What = "added " + namesOf(entries)
	}
	return h
}

// Leftovers returns a finding for each object, for the proof that nothing is left, and for each
// thing that could not be read, without which there is no proof.
func Leftovers(held []Held, unread []Unread) []Finding {
	findings := make([]Finding, 0, len(held)+len(unread))
	for _, h := range held {
		object := h.Kind + " " + h.Name
		if h.Namespace != "" {
			object = name(h.Kind, h.Namespace, h.Name)
		}
		f := found(Leftover, Warning, object, "it is left of the installation: "+h.What, "remove it as docs/operations.md says")
		if h.Kind == "Service" || h.Kind == "ServiceAccount" {
			resource := "services.serving.knative.dev"
			if h.Kind == "ServiceAccount" {
				resource = "serviceaccount"
			}
			f.Remedy = "Remove its entries as docs/operations.md says, or keep them and remove the ledger"
			f = f.with(command("kubectl -n %s annotate %s %s %s", h.Namespace, resource, h.Name, pullsecrets.AddedAnnotation+"-"))
		}
		findings = append(findings, f)
	}
	for _, u := range unread {
		findings = append(findings, found(NotProven, Warning, "installation", "whether anything is left is not known. "+u.String(), "run the command with the rights of a cluster administrator"))
	}
	return findings
}
