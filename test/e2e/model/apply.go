// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"slices"
)

// Apply performs an operation in the world. It reports false and does nothing if the
// operation makes no sense, as in scripts that were shrunk.
func (w *World) Apply(op Op) bool {
	do, known := verbs[op.Verb]
	if !known || !do(w, op.Args) {
		return false
	}
	if !quiet[op.Verb] {
		w.Quiet = false
	}
	w.note()
	return true
}

// quiet are the verbs that leave all caches current.
var quiet = Set{"settle": true, "create": true, "change": true, "own": true, "reapply": true, "touch": true, "null": true, "strip": true, "delete": true}

var verbs = map[string]func(*World, []string) bool{
	"ns": func(w *World, a []string) bool {
		n := w.Namespaces[a[0]]
		switch a[1] {
		case "secrets":
			n.Secrets = list(a[2])
		case "service-accounts":
			n.Accounts = list(a[2])
		case "inject":
			n.Inject = word(a[2])
		}
		return true
	},
	"grant": func(w *World, a []string) bool {
		w.Namespaces[a[0]].Grants[a[1]] = a[2] == "on"
		return true
	},
	"exclude": func(w *World, a []string) bool {
		n := w.Namespaces[a[0]]
		was := n.excluded()
		n.Exclude = word(a[1])
		n.leaving = n.leaving || !was && n.excluded()
		return true
	},
	"cps":    (*World).credential,
	"source": (*World).source,
	"copy": func(w *World, a []string) bool {
		return w.Namespaces[a[0]].Secret[a[1]] == ""
	},
	"secret": func(w *World, a []string) bool {
		n := w.Namespaces[a[0]]
		if a[2] == "delete" {
			had := n.Secret[a[1]] != ""
			delete(n.Secret, a[1])
			n.Freed[a[1]] = true
			return had
		}
		if n.Secret[a[1]] != "" {
			return false
		}
		// A plain create is rejected where a copy exists, revoked or not.
		if _, asked := w.asks(n, a[1]); a[2] == "create" && (w.granted(n, a[1]) || asked || n.copied[a[1]]) {
			return false
		}
		n.Secret[a[1]] = "of-the-user"
		return true
	},
	"create":  (*World).create,
	"change":  func(w *World, a []string) bool { return w.onService(a, func(s *Service) { s.Version++ }, true) },
	"own":     (*World).own,
	"reapply": func(w *World, a []string) bool { return w.onService(a, w.droppedUnseen, false) },
	"touch":   func(w *World, a []string) bool { return w.onService(a, func(*Service) {}, false) },
	"null": func(w *World, a []string) bool {
		s := w.Namespaces[a[0]].Services[a[1]]
		if s == nil || len(s.Own) > 0 {
			return false
		}
		return w.onService(a, w.droppedUnseen, false)
	},
	"strip": func(w *World, a []string) bool {
		n := w.Namespaces[a[0]]
		return w.onService(a, func(s *Service) {
			if w.Down["webhook"] || n.excluded() {
				s.Lost.add(slices.Collect(maps.Keys(s.Stale))...)
			}
		}, false)
	},
	"svc": func(w *World, a []string) bool {
		// The same value again is no change, and the API server writes nothing.
		if s := w.Namespaces[a[0]].Services[a[1]]; s == nil ||
			a[2] == "secrets" && slices.Equal(s.Secrets, list(a[3])) || a[2] == "inject" && s.Inject == word(a[3]) {
			return false
		}
		return w.onService(a, func(s *Service) {
			if a[2] == "secrets" {
				s.Secrets = list(a[3])
			} else {
				s.Inject = word(a[3])
			}
		}, true)
	},
	"delete": func(w *World, a []string) bool {
		n := w.Namespaces[a[0]]
		_, had := n.Services[a[1]]
		delete(n.Services, a[1])
		return had
	},
	"account": func(w *World, a []string) bool {
		n, own := w.Namespaces[a[0]], list(a[2])
		n.ServiceAccounts[a[1]].Own = own
		n.listed.add(own...)
		return true
	},
	"settle": func(w *World, _ []string) bool {
		if len(w.Down) > 0 {
			return false
		}
		w.settled()
		return true
	},
	"process": func(w *World, a []string) bool {
		switch a[1] {
		case "stop", "kill", "hold", "failover": // Another replica may act at any time.
			w.Down.add(a[0])
		case "start", "release", "drop", "return":
			delete(w.Down, a[0])
		}
		for _, c := range w.Credentials {
			c.pending = w.absent() && (c.deleted || c.pending)
		}
		return true
	},
}

// absent reports whether no controller reacts to changes.
func (w *World) absent() bool { return w.Down["controller"] || w.Down["watches"] }

func word(arg string) string {
	if arg == "-" {
		return ""
	}
	return arg
}

// droppedUnseen records a request without our entries that no webhook restored: it is a
// change, and the controller makes another one.
func (w *World) droppedUnseen(s *Service) {
	if w.Down["webhook"] {
		s.Generations += 2
	}
}

func (w *World) onService(a []string, do func(*Service), changes bool) bool {
	n := w.Namespaces[a[0]]
	s := n.Services[a[1]]
	if s == nil {
		return false
	}
	do(s)
	if changes {
		w.changed(n, s)
	} else if n.excluded() {
		s.Generations += 2 // No webhook is called.
	}
	return true
}

func (w *World) create(a []string) bool {
	n := w.Namespaces[a[0]]
	if n.Services[a[1]] != nil {
		return false
	}
	s := &Service{Writer: a[2], Own: list(a[3]), Stale: Set{}, Recent: Set{}, Lost: Set{}, Generations: 1}
	if !w.Quiet { // A stale cache may still show an earlier declaration.
		s.Recent.add(allNames...)
	}
	s.Stale = maps.Clone(s.Recent)
	if w.Quiet && !w.Down["webhook"] {
		s.must, s.may = w.declared(n, s, nil)
	}
	n.Services[a[1]] = s
	return true
}

// own sets another list of the user. Only writers that own what they write may list names
// that may have been added: for others nothing shows who owns an entry.
func (w *World) own(a []string) bool {
	n := w.Namespaces[a[0]]
	s := n.Services[a[1]]
	if s == nil {
		return false
	}
	own := list(a[2])
	if slices.Equal(own, s.Own) {
		return false // That would be "reapply".
	}
	for _, name := range own {
		if !otherManager[s.Writer] && (slices.Contains(allNames, name) || n.listed[name]) {
			return false
		}
	}
	return w.onService(a, func(s *Service) { s.Own = own }, true)
}

func (w *World) credential(a []string) bool {
	c := w.Credentials[a[0]]
	if w.Down["webhook"] && a[1] != "delete" {
		return false // Objects of our kind are always validated.
	}
	switch a[1] {
	case "create":
		if c.Exists || c.pending {
			return false
		}
		c.Exists, c.Always = true, false
	case "delete":
		if !c.Exists {
			return false
		}
		c.Exists, c.Always, c.deleted, c.pending = false, false, true, w.absent()
	case "always", "plain":
		if !c.Exists {
			return false
		}
		c.Always = a[1] == "always"
	}
	return true
}

func (w *World) source(a []string) bool {
	c := w.Credentials[a[0]]
	switch a[1] {
	case "rotate", "restore":
		c.version++
		c.Source = fmt.Sprintf("v%d", c.version)
		c.Values.add(c.Source)
	default:
		c.Source = ""
	}
	return true
}
