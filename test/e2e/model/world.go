// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"
)

// Set is a set of names.
type Set map[string]bool

func (s Set) add(names ...string) {
	for _, name := range names {
		s[name] = true
	}
}

// World is the state that the operations so far request.
type World struct {
	Namespaces  map[string]*Namespace
	Credentials map[string]*Credential
	// Down are stopped processes and held watches.
	Down Set
	// Quiet is set while nothing was declared, granted or stored since all had settled:
	// then no cache is stale.
	Quiet bool
}

// Namespace is what its users have requested.
type Namespace struct {
	Secrets, Accounts []string
	Inject, Exclude   string
	Grants            Set
	Services          map[string]*Service
	ServiceAccounts   map[string]*Account
	// Secret is the content of the user's own Secret, by credential.
	Secret map[string]string
	// Freed are the names of deleted user Secrets. The controller notices such a deletion
	// within ten minutes, which no script waits for.
	Freed Set
	// asked are credentials that were requested since they were granted.
	asked Set
	// copied are credentials of which a copy may exist, granted or revoked.
	copied Set
	// listed are names that the users of its ServiceAccounts have listed, which a Service
	// without a list of its own gets.
	listed Set
	// leaving is set if it became excluded since all had settled: a stale cache may not
	// show it.
	leaving bool
}

// Service is what its users have written.
type Service struct {
	Writer  string
	Version int
	Own     []string
	Secrets []string
	Inject  string
	// Stale are names that the list may contain because they were declared since the last
	// change. Recent are those declared since the world last settled, which a stale cache
	// may still show.
	Stale, Recent Set
	// Generations is the maximum generation that the Service may have.
	Generations int
	// Lost are names that the list may contain without being in the ledger, because a
	// request that bypassed the webhook removed it. Those that are no longer declared
	// count as the user's, who may remove them.
	Lost      Set
	must, may []string
}

// Account is a ServiceAccount with its user's own list.
type Account struct {
	Own []string
	// Stale are names declared since all had settled: if the Namespace is excluded, they
	// stay.
	Stale Set
}

// Credential is a ClusterPullSecret with its source.
type Credential struct {
	Exists, Always bool
	// Source is the content of the source; "" means broken or deleted.
	Source string
	// Values are all contents that the source has had.
	Values  Set
	version int
	// deleted is set if it was deleted since all had settled, and pending if no
	// controller has certainly finished the deletion.
	deleted, pending bool
}

// Tampered is the content of a changed copy.
const Tampered = "tampered"

// Names of the objects of each world.
var (
	Namespaces   = []string{"a", "b"}
	Services     = []string{"s", "t"}
	Accounts     = []string{"default", "builder", "runner"}
	Credentials  = []string{"x", "y"}
	ownNames     = []string{"own-1", "own-2", "own-3"}
	allNames     = append(slices.Clone(Credentials), "plain")
	writers      = []string{"csa", "ssa", "put", "patch"}
	otherManager = Set{"csa": true, "ssa": true}
)

// New returns a world with namespaces and sources and nothing else.
func New() *World {
	w := &World{Namespaces: map[string]*Namespace{}, Credentials: map[string]*Credential{}, Down: Set{}}
	for _, name := range Namespaces {
		ns := &Namespace{Grants: Set{}, Services: map[string]*Service{}, ServiceAccounts: map[string]*Account{}, Secret: map[string]string{}, Freed: Set{}, asked: Set{}, copied: Set{}, listed: Set{}}
		for _, account := range Accounts {
			ns.ServiceAccounts[account] = &Account{Stale: Set{}}
		}
		w.Namespaces[name] = ns
	}
	for _, name := range Credentials {
		w.Credentials[name] = &Credential{Source: "v0", Values: Set{"v0": true}}
	}
	return w
}

func (n *Namespace) excluded() bool { return n.Exclude != "" && n.Exclude != "false" }

// granted reports whether the Namespace may have the credential.
func (w *World) granted(n *Namespace, credential string) bool {
	c := w.Credentials[credential]
	return c != nil && c.Exists && n.Grants[credential] && !n.excluded()
}

// asks reports whether a copy of the credential is certainly requested, and whether it
// may be.
func (w *World) asks(n *Namespace, credential string) (must, may bool) {
	if w.Credentials[credential].Always || n.Inject == "auto" || slices.Contains(n.Secrets, credential) {
		return true, true
	}
	for _, s := range n.Services {
		if slices.Contains(s.Secrets, credential) {
			may = true
			must = must || s.Inject != "disabled"
		}
		may = may || s.Inject == "auto"
	}
	return must, may
}

// available reports whether a name can be injected without waiting: no copy is needed,
// there is a source for it, or the Secret was observed.
func (w *World) available(n *Namespace, name string, observed map[string]Secret) bool {
	_, copied := observed[name]
	return !w.granted(n, name) || w.Credentials[name].Source != "" || n.Secret[name] != "" || copied
}

// declared returns the names that a Service must have once all has settled, and those
// that it may have too, given the observed Secrets with the names of credentials.
func (w *World) declared(n *Namespace, s *Service, observed map[string]Secret) (must, may []string) {
	inject := s.Inject
	if inject == "" {
		inject = n.Inject
	}
	if n.excluded() || n.Inject == "disabled" || inject == "disabled" {
		return nil, nil
	}
	names := slices.Concat(s.Secrets, n.Secrets)
	for _, c := range Credentials {
		if w.granted(n, c) && w.Credentials[c].Always && s.Inject != "declared" {
			names = append(names, c)
		}
		if w.granted(n, c) && inject == "auto" {
			may = append(may, c)
		}
	}
	for _, name := range names {
		if w.available(n, name, observed) {
			must = append(must, name)
		} else {
			may = append(may, name)
		}
	}
	if len(must)+len(may) > 0 {
		bound, perhaps := w.bound(n, "default")
		may = slices.Concat(may, n.ServiceAccounts["default"].Own, bound, perhaps)
	}
	return must, may
}

// bound returns the same for a ServiceAccount.
func (w *World) bound(n *Namespace, account string) (must, may []string) {
	if n.excluded() {
		return nil, slices.Collect(maps.Keys(n.ServiceAccounts[account].Stale))
	}
	var names []string
	if slices.Contains(n.Accounts, "*") || slices.Contains(n.Accounts, account) {
		names = append(names, n.Secrets...)
	}
	for _, c := range Credentials {
		// "always" binds the ServiceAccount runner, see package oracles.
		if account == "runner" && w.granted(n, c) && w.Credentials[c].Always {
			names = append(names, c)
		}
	}
	for _, name := range names {
		if w.available(n, name, nil) {
			must = append(must, name)
		} else {
			may = append(may, name)
		}
	}
	return must, may
}

// note updates derived state after each operation.
func (w *World) note() {
	for _, n := range w.Namespaces {
		for _, c := range Credentials {
			if _, may := w.asks(n, c); may && w.granted(n, c) {
				n.asked.add(c)
				n.copied.add(c)
			} else if !w.granted(n, c) {
				delete(n.asked, c)
			}
		}
		if !n.excluded() || n.leaving {
			label := n.Exclude
			n.Exclude = ""
			for name, a := range n.ServiceAccounts {
				must, may := w.bound(n, name)
				a.Stale.add(slices.Concat(must, may)...)
			}
			n.Exclude = label
		}
		for _, s := range n.Services {
			must, may := w.declared(n, s, nil)
			s.Stale.add(slices.Concat(must, may)...)
			s.Recent.add(slices.Concat(must, may)...)
			// Optional entries may be added too, by one write of the controller.
			if gained(must, s.must) || gained(may, s.may) {
				s.Generations++
			}
			s.must, s.may = must, may
		}
	}
}

func gained(now, before []string) bool {
	return slices.ContainsFunc(now, func(name string) bool { return !slices.Contains(before, name) })
}

// changed records a change of a Service by its user. Admission recomputes the list from
// its caches.
func (w *World) changed(n *Namespace, s *Service) {
	s.Generations++
	if !w.Quiet {
		s.Generations++ // The controller adds what a stale cache did not show.
	}
	if w.Down["webhook"] || n.excluded() {
		s.Generations++ // The controller adds the rest.
		return
	}
	s.Stale = maps.Clone(s.Recent)
}

// settled records that all has settled: no cache is stale.
func (w *World) settled() {
	w.Quiet = true
	for _, c := range w.Credentials {
		c.deleted = false
	}
	for _, n := range w.Namespaces {
		n.leaving = false
		maps.DeleteFunc(n.copied, func(name string, _ bool) bool { return !w.granted(n, name) })
		for _, s := range n.Services {
			s.Recent = Set{}
		}
		for _, a := range n.ServiceAccounts {
			if !n.excluded() {
				a.Stale = Set{}
			}
		}
	}
}
