// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"slices"
)

// Observation is the observed state of a world.
type Observation map[string]Observed

// Observed is the observed state of a Namespace.
type Observed struct {
	Services, Accounts map[string]List
	// Secrets are the Secrets with the name of a credential.
	Secrets map[string]Secret
	// Referred are the names that Revisions list.
	Referred Set
}

// List is a list of pull secrets with its ledger.
type List struct {
	Names      []string
	Ledger     map[string]string
	Generation int
}

// Secret is a Secret with the name of a credential.
type Secret struct {
	// Value is its content, as the world names values.
	Value string
	// Labelled is set if it has the labels of a copy.
	Labelled bool
}

// Violations returns what must never happen: user data that is lost, reordered or
// overwritten.
func (w *World) Violations(o Observation) (broken []string) {
	for _, ns := range Namespaces {
		n := w.Namespaces[ns]
		for name, s := range n.Services {
			if got := o[ns].Services[name].Names; !ordered(got, s.Own) {
				broken = append(broken, fmt.Sprintf("Service %s/%s has %q: part of the user's %q is lost or moved", ns, name, got, s.Own))
			}
		}
		for name, a := range n.ServiceAccounts {
			if got := o[ns].Accounts[name].Names; !ordered(got, a.Own) {
				broken = append(broken, fmt.Sprintf("ServiceAccount %s/%s has %q: part of the user's %q is lost or moved", ns, name, got, a.Own))
			}
		}
		for name, value := range n.Secret {
			if got := o[ns].Secrets[name].Value; got != value {
				broken = append(broken, fmt.Sprintf("user's Secret %s/%s holds %q, want %q", ns, name, got, value))
			}
		}
	}
	return broken
}

// ordered reports whether the list contains all of own in order.
func ordered(list, own []string) bool {
	i := 0
	for _, name := range list {
		if i < len(own) && own[i] == name {
			i++
		}
	}
	return i == len(own)
}

// Check returns everything that is wrong once all has settled.
func (w *World) Check(o Observation) []string {
	missing := w.Violations(o)
	for _, ns := range Namespaces {
		n := w.Namespaces[ns]
		if n.excluded() {
			o[ns] = o[ns].unkept()
		}
		for _, name := range slices.Sorted(maps.Keys(n.Services)) {
			for _, text := range w.checkService(n, n.Services[name], o[ns].Services[name], o[ns].Secrets) {
				missing = append(missing, fmt.Sprintf("Service %s/%s %s", ns, name, text))
			}
		}
		for _, name := range Accounts {
			must, may := w.bound(n, name)
			for _, text := range checkList(o[ns].Accounts[name], n.ServiceAccounts[name].Own, must, may) {
				missing = append(missing, fmt.Sprintf("ServiceAccount %s/%s %s", ns, name, text))
			}
		}
		for _, name := range Credentials {
			if text := w.checkSecret(n, name, o[ns]); text != "" {
				missing = append(missing, fmt.Sprintf("Secret %s/%s %s", ns, name, text))
			}
		}
	}
	return missing
}

// checkList compares a list with the names that it must and may contain besides the
// user's own, and with its ledger.
func checkList(got List, own, must, may []string) (wrong []string) {
	for _, name := range must {
		if !slices.Contains(got.Names, name) {
			wrong = append(wrong, fmt.Sprintf("has %q and lacks %s, which is declared", got.Names, name))
		}
	}
	for _, name := range got.Names {
		if slices.Contains(own, name) {
			continue
		}
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			wrong = append(wrong, fmt.Sprintf("has %q, and %s is neither the user's %q nor declared", got.Names, name, own))
		}
		if _, ours := got.Ledger[name]; !ours {
			wrong = append(wrong, fmt.Sprintf("has %q, and %s is neither the user's %q nor in the ledger %v", got.Names, name, own, got.Ledger))
		}
	}
	// Ledger entries that the list lacks mean nothing, and are removed with the next
	// write.
	return wrong
}

func (w *World) checkService(n *Namespace, s *Service, got List, secrets map[string]Secret) []string {
	must, may := w.declared(n, s, secrets)
	may = slices.Concat(may, slices.Collect(maps.Keys(s.Stale)))
	// A lost name that is in the ledger again is checked like any other.
	own := slices.Clone(s.Own)
	for name := range s.Lost {
		if _, ours := got.Ledger[name]; !ours {
			own = append(own, name)
		}
	}
	wrong := checkList(got, own, must, may)
	for name, origin := range got.Ledger {
		active := !n.excluded() && n.Inject != "disabled" && s.Inject != "disabled"
		if origin == "service" && active && !slices.Contains(s.Secrets, name) {
			wrong = append(wrong, fmt.Sprintf("has %s of its own annotation, which it no longer declares", name))
		}
	}
	if got.Generation > s.Generations {
		wrong = append(wrong, fmt.Sprintf("has generation %d, want at most %d", got.Generation, s.Generations))
	}
	return wrong
}

func (w *World) checkSecret(n *Namespace, name string, o Observed) string {
	got, found := o.Secrets[name]
	c := w.Credentials[name]
	must, may := w.asks(n, name)
	switch granted := w.granted(n, name); {
	case n.Secret[name] != "":
		if got.Labelled {
			return "belongs to the user and is labelled as a copy"
		}
	case !granted && found:
		return fmt.Sprintf("holds %q where nothing is granted", got.Value)
	case !granted:
	case c.Source == "":
		// A changed copy cannot be restored without a source.
		if found && !c.Values[got.Value] && got.Value != Tampered {
			return fmt.Sprintf("holds %q, which the source never held", got.Value)
		}
	case must && !found && !n.Freed[name]:
		return "is missing although it is granted and requested"
	case found && got.Value != c.Source:
		return fmt.Sprintf("holds %q, want %q", got.Value, c.Source)
	case found && !got.Labelled:
		return "is a copy without its labels"
	case found && !may && !n.asked[name] && !o.refers(name):
		return "exists although nobody requested it"
	}
	return ""
}

// unkept returns the observation without ledger entries that lists lack: the ledgers of
// an excluded Namespace are not updated.
func (o Observed) unkept() Observed {
	for _, lists := range []map[string]List{o.Services, o.Accounts} {
		for _, l := range lists {
			maps.DeleteFunc(l.Ledger, func(name, _ string) bool { return !slices.Contains(l.Names, name) })
		}
	}
	return o
}

func (o Observed) refers(name string) bool {
	for _, lists := range []map[string]List{o.Services, o.Accounts} {
		for _, l := range lists {
			if slices.Contains(l.Names, name) {
				return true
			}
		}
	}
	return o.Referred[name]
}
