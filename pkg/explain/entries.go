// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
)

// maxRegistries is the number of registries of a Secret that are listed.
const maxRegistries = 8

// Origins that no ledger has.
const (
	userOrigin = "user"
	notListed  = "not listed"
)

// States that mean that there is no Secret.
const (
	statePending    = "copy pending"
	stateNotGranted = "not granted"
	stateMissing    = "missing"
)

// entries returns the pull secrets of the list, those that only the ServiceAccount has, and
// others that hold a credential for one of the images.
func (s *subject) entries() (entries []EntryReport) {
	declared := map[string][]string{}
	layer := func(secret, of string) {
		if !slices.Contains(declared[secret], of) {
			declared[secret] = append(declared[secret], of)
		}
	}
	for _, secret := range s.declaration.Service {
		layer(secret, string(merge.FromService))
	}
	for _, secret := range s.declaration.Namespace {
		layer(secret, string(merge.FromNamespace))
	}
	for _, g := range slices.Concat(s.declaration.Always, s.declaration.Auto) {
		layer(g.Secret, string(merge.FromClusterPullSecret(g.ClusterPullSecret)))
	}
	seen := map[string]bool{}
	add := func(secret, origin string, onlyAccount bool) {
		if seen[secret] {
			return
		}
		seen[secret] = true
		e := EntryReport{Secret: secret, Origin: origin, OnlyAccount: onlyAccount, Declared: declared[secret]}
		s.describe(&e)
		entries = append(entries, e)
	}
	for _, secret := range s.current.List {
		origin := userOrigin
		if from, ours := s.current.Ledger[secret]; ours && !s.current.Claimed.Has(secret) {
			origin = string(from)
		}
		add(secret, origin, false)
	}
	if s.Account != nil {
		for _, secret := range merge.NamesOf(s.Account.ImagePullSecrets) {
			add(secret, "serviceaccount/"+s.account(), true)
		}
	}
	for _, result := range s.results {
		for reader := range result.Verdicts {
			for _, e := range result.Verdicts[reader].Entries {
				if e.Reason == coverage.NotListed {
					add(e.Secret, notListed, false)
				}
			}
		}
	}
	return entries
}

// describe fills in what is known of a Secret.
func (s *subject) describe(e *EntryReport) {
	secret := s.Secrets[e.Secret]
	e.State = s.state(e.Secret, secret)
	for _, entry := range secret.Facts.Entries[:min(len(secret.Facts.Entries), maxRegistries)] {
		e.Registries = append(e.Registries, entry.Key)
	}
	if expires := secret.Facts.Expires(); !expires.IsZero() {
		e.Expires = &expires
	} else {
		e.Expires = known(s.expiry(secret))
	}
	if cps := s.clusterPullSecret(secret.Owner); cps != nil && e.Expires == nil && isCurrent(cps, secret) {
		e.Expires = cps.Status.Expires // That of its first credential.
	}
}

// state says what is known of a Secret in a few words.
func (s *subject) state(name string, secret Secret) string {
	rejected := secret.Facts.Rejected
	switch {
	case !IsName(name):
		return "invalid name"
	case secret.State == coverage.Unknown:
		return "not checked (cannot get secrets)"
	case secret.State == coverage.Absent && copied(s.declaration.Granted, s.Service.Namespace, name) != nil:
		return statePending
	case secret.State == coverage.Absent && s.withheld(name) != nil:
		return stateNotGranted
	case secret.State == coverage.Absent:
		return stateMissing
	case secret.Facts.WrongType != nil:
		return "wrong type"
	case rejected[dockerconfig.TagResolution] != nil, rejected[dockerconfig.Kubelet] != nil:
		return "malformed"
	case secret.Owner != "":
		return "copy of " + secret.Owner
	}
	return "exists"
}

// change returns what the next change of the template does.
func (s *subject) change() Change {
	c := Change{Add: origins(s.next.Added), Remove: origins(s.next.Taken)}
	if len(c.Add)+len(c.Remove) == 0 {
		return Change{}
	}
	switch {
	case s.Service.Spec.Template.Name != "":
		c.When = "with the next name"
	case s.due.ListChanged && s.decision.Action == rollout.Write && s.decision.Reason == "":
		c.When = "now"
	default:
		c.When = "with the next change"
	}
	return c
}

func origins(entries []merge.Entry) (reports []OriginReport) {
	for _, e := range entries {
		reports = append(reports, OriginReport{e.Name, string(e.Origin)})
	}
	return reports
}
