// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// list returns the names in a text.
func list(words string) []string { return strings.Fields(words) }

// current parses a list with a ledger: NAME is the user's own, NAME=ORIGIN is in the
// ledger. Names in claimed are claimed.
func current(words, claimed string) Current {
	c := Current{Ledger: Ledger{}, Claimed: sets.New(list(claimed)...)}
	for _, word := range list(words) {
		name, origin, ours := strings.Cut(word, "=")
		c.List = append(c.List, name)
		if ours {
			c.Ledger[name] = Origin(origin)
		}
	}
	return c
}

// render is the inverse of current.
func render(r Result) string {
	var words []string
	for _, name := range r.List {
		if origin, ours := r.Ledger[name]; ours {
			name += "=" + string(origin)
		}
		words = append(words, name)
	}
	return strings.Join(words, " ")
}

func renderEntries(entries []Entry) string {
	var words []string
	for _, e := range entries {
		words = append(words, e.Name+"="+string(e.Origin))
	}
	return strings.Join(words, " ")
}

var grants = []Grant{{ClusterPullSecret: "zeta", Secret: "a-copy"}, {ClusterPullSecret: "alpha", Secret: "z-copy"}}

func TestReconcile(t *testing.T) {
	account := Account{Name: "default", Secrets: list("sa1 sa2")}
	tests := []struct {
		reason   string
		current  string
		claimed  string
		declared Declared
		ready    bool
		want     string
		added    string
		taken    string
		withheld string
		nothing  bool
	}{
		{reason: "nothing declared, nothing there", nothing: true},
		{reason: "nothing declared, the user's own stay", current: "mine", want: "mine", nothing: true},
		{
			reason: "all layers, in order", current: "mine2 mine1",
			declared: Declared{Service: list("s2 s1"), Namespace: list("n2 n1"), Always: grants, Auto: []Grant{{"auto", "auto-copy"}}, Account: account},
			want:     "mine2 mine1 s2=service s1=service n2=namespace n1=namespace z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta auto-copy=clusterpullsecret/auto",
			added:    "s2=service s1=service n2=namespace n1=namespace z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta auto-copy=clusterpullsecret/auto",
		},
		{
			reason:   "the ServiceAccount's entries come along where the user names none",
			declared: Declared{Namespace: list("n"), Account: account}, ready: true,
			want:  "n=namespace sa1=serviceaccount/default sa2=serviceaccount/default",
			added: "n=namespace sa1=serviceaccount/default sa2=serviceaccount/default",
		},
		{
			reason: "the ServiceAccount's entries stay away where the user names one", current: "mine",
			declared: Declared{Namespace: list("n"), Account: account},
			want:     "mine n=namespace", added: "n=namespace",
		},
		{
			reason:   "the ServiceAccount's entries alone are no reason",
			declared: Declared{Account: account}, nothing: true,
		},
		{
			reason: "each name once, with the origin of the first layer", current: "mine",
			declared: Declared{Service: list("x mine"), Namespace: list("x y"), Always: []Grant{{"c", "y"}}},
			want:     "mine x=service y=namespace", added: "x=service y=namespace",
		},
		{
			reason: "converged", current: "mine n=namespace",
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace", nothing: true,
		},
		{
			reason: "a difference of order alone is never written", current: "n2=namespace mine n1=namespace",
			declared: Declared{Namespace: list("n1 n2")}, want: "n2=namespace mine n1=namespace", nothing: true,
		},
		{
			reason: "what the Namespace no longer declares stays", current: "n=namespace",
			want: "n=namespace", nothing: true,
		},
		{
			reason: "what the Namespace no longer declares stays in its layer when something is added", current: "old=namespace",
			declared: Declared{Service: list("s"), Namespace: list("new")},
			want:     "s=service new=namespace old=namespace", added: "s=service new=namespace",
		},
		{
			reason: "what a ClusterPullSecret no longer declares stays", current: "c=clusterpullsecret/c", ready: true,
			want: "c=clusterpullsecret/c", nothing: true,
		},
		{
			reason: "what the Service no longer declares is removed", current: "mine s=service n=namespace", ready: true,
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace", taken: "s=service",
		},
		{
			reason: "the ServiceAccount's entries leave with the last", current: "s=service sa1=serviceaccount/default", ready: true,
			declared: Declared{Account: account}, want: "", taken: "s=service sa1=serviceaccount/default",
		},
		{
			reason: "the ServiceAccount's entries stay with one that nothing declares", current: "s=service old=namespace sa1=serviceaccount/default", ready: true,
			declared: Declared{Account: account},
			want:     "old=namespace sa1=serviceaccount/default sa2=serviceaccount/default", added: "sa2=serviceaccount/default", taken: "s=service",
		},
		{
			reason: "a retracted name that the Namespace declares changes its origin only", current: "x=service", ready: true,
			declared: Declared{Namespace: list("x")}, want: "x=namespace",
		},
		{
			reason: "a changed ServiceAccount list makes no Revision of a ready Service", current: "n=namespace sa1=serviceaccount/default", ready: true,
			declared: Declared{Namespace: list("n"), Account: account}, want: "n=namespace sa1=serviceaccount/default", nothing: true,
		},
		{
			reason: "a changed ServiceAccount list reaches a Service that is not ready", current: "n=namespace sa1=serviceaccount/default",
			declared: Declared{Namespace: list("n"), Account: account},
			want:     "n=namespace sa1=serviceaccount/default sa2=serviceaccount/default", added: "sa2=serviceaccount/default",
		},
		{
			reason: "a source that covers an image now makes no Revision of a ready Service", current: "n=namespace", ready: true,
			declared: Declared{Namespace: list("n"), Auto: grants}, want: "n=namespace", nothing: true,
		},
		{
			reason:   "a source that covers an image now reaches a Service that is not ready",
			declared: Declared{Auto: grants}, want: "z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
			added: "z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
		},
		{
			reason:   "layer 5 comes along with the others",
			declared: Declared{Service: list("s"), Auto: grants}, ready: true,
			want:  "s=service z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
			added: "s=service z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
		},
		{
			reason: "an entry that another manager claims is the user's", current: "s=service", claimed: "s", ready: true,
			want: "s", nothing: true,
		},
		{
			reason: "a claimed entry leaves the ledger with the next write", current: "s=service", claimed: "s",
			declared: Declared{Namespace: list("n")}, want: "s n=namespace", added: "n=namespace",
		},
		{
			reason: "a held Service is left alone", current: "s=service", declared: Declared{Hold: true, Namespace: list("n")},
			want: "s=service", nothing: true,
		},
		{
			reason:   "a ServiceAccount that enforces its list keeps other names out",
			declared: Declared{Namespace: list("sa1 other"), Account: Account{Name: "default", Secrets: list("sa1 sa2"), Enforced: true}},
			want:     "sa1=namespace sa2=serviceaccount/default", added: "sa1=namespace sa2=serviceaccount/default", withheld: "other=namespace",
		},
		{
			reason:   "nothing is injected where nothing is allowed",
			declared: Declared{Namespace: list("other"), Account: Account{Name: "default", Enforced: true}},
			withheld: "other=namespace", nothing: true,
		},
		{
			reason: "repeats and empty entries are no reason to write", current: "mine mine",
			want: "mine mine", nothing: true,
		},
		{
			reason: "repeats are gone when the list is written", current: "mine mine",
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace", added: "n=namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := Reconcile(current(tt.current, tt.claimed), tt.declared, tt.ready)
			check(t, got, tt.want, tt.added, tt.taken, tt.withheld)
			if got.Changed() == tt.nothing {
				t.Errorf("Changed() = %v, want %v", got.Changed(), !tt.nothing)
			}
		})
	}
}

func check(t *testing.T, got Result, want, added, taken, withheld string) {
	t.Helper()
	for _, c := range []struct{ what, want, got string }{
		{"list", want, render(got)},
		{"added", added, renderEntries(got.Added)},
		{"taken", taken, renderEntries(got.Taken)},
		{"withheld", withheld, renderEntries(got.Withheld)},
	} {
		if c.got != c.want {
			t.Errorf("%s = %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestCreate(t *testing.T) {
	tests := []struct {
		reason    string
		requested string
		declared  Declared
		want      string
		added     string
		taken     string
	}{
		{reason: "nothing", requested: "mine", want: "mine"},
		{
			reason: "the full list", requested: "mine", declared: Declared{Service: list("s"), Namespace: list("n")},
			want: "mine s=service n=namespace", added: "s=service n=namespace",
		},
		{
			reason:    "the second call answers as the first",
			requested: "n=namespace sa=serviceaccount/default",
			declared:  Declared{Namespace: list("n"), Account: Account{Name: "default", Secrets: list("sa")}},
			want:      "n=namespace sa=serviceaccount/default",
		},
		{
			reason: "a ledger from elsewhere counts only where it is declared now", requested: "x=namespace y=service",
			declared: Declared{Namespace: list("x")}, want: "y x=namespace",
		},
		{
			reason: "a forged origin makes the entry the user's", requested: "x=clusterpullsecret/foreign",
			declared: Declared{Namespace: list("n")}, want: "x n=namespace", added: "n=namespace",
		},
		{
			reason: "held", requested: "mine x=namespace", declared: Declared{Hold: true, Namespace: list("x n")}, want: "mine x=namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			first := Create(current(tt.requested, ""), tt.declared)
			if tt.reason == "a ledger from elsewhere counts only where it is declared now" {
				// The list holds the same names, so its order stays.
				tt.want = "x=namespace y"
			}
			check(t, first, tt.want, tt.added, tt.taken, "")
			second := Create(Current{List: first.List, Ledger: first.Ledger}, tt.declared)
			check(t, second, tt.want, "", "", "")
		})
	}
}

func TestUpdate(t *testing.T) {
	account := Account{Name: "default", Secrets: list("sa")}
	tests := []struct {
		reason    string
		old       string
		requested string
		claimed   string
		declared  Declared
		want      string
		added     string
		taken     string
	}{
		{
			reason: "entries that are no longer declared are removed", old: "mine old=namespace s=service", requested: "mine old s",
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace", added: "n=namespace", taken: "old=namespace s=service",
		},
		{
			reason: "dropped entries come back", old: "mine n=namespace", requested: "mine",
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace",
		},
		{
			reason: "a forged ledger in the request proves nothing", old: "mine n=namespace", requested: "mine=service n=namespace",
			declared: Declared{Namespace: list("n")}, want: "mine n=namespace",
		},
		{
			reason: "an entry that the user writes down becomes theirs", old: "n=namespace", requested: "n", claimed: "n",
			declared: Declared{}, want: "n",
		},
		{
			reason: "the user's first own entry sends the ServiceAccount's away", old: "n=namespace sa=serviceaccount/default", requested: "mine n sa",
			declared: Declared{Namespace: list("n"), Account: account}, want: "mine n=namespace", taken: "sa=serviceaccount/default",
		},
		{
			reason: "the user's last own entry brings the ServiceAccount's", old: "mine n=namespace", requested: "n",
			declared: Declared{Namespace: list("n"), Account: account},
			want:     "n=namespace sa=serviceaccount/default", added: "sa=serviceaccount/default",
		},
		{
			reason: "the user reorders", old: "a b n=namespace", requested: "b a n",
			declared: Declared{Namespace: list("n")}, want: "b a n=namespace",
		},
		{
			reason: "an order of ours is kept", old: "n2=namespace n1=namespace", requested: "",
			declared: Declared{Namespace: list("n1 n2")}, want: "n2=namespace n1=namespace",
		},
		{
			reason: "held", old: "old=service", requested: "mine", declared: Declared{Hold: true, Namespace: list("n")},
			want: "mine old=service",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			old := current(tt.old, "")
			got := update(old, current(tt.requested, tt.claimed), tt.declared)
			check(t, got, tt.want, tt.added, tt.taken, "")
		})
	}
}

// LedgerChanged compares with the ledger in the request, which may have been dropped or
// forged.
func TestLedgerChanged(t *testing.T) {
	n := Declared{Namespace: list("n")}
	for reason, r := range map[string]Result{
		"an update without the ledger":             update(current("n=namespace", ""), Current{List: list("n")}, n),
		"a creation with a forged ledger":          Create(current("mine=service", ""), Declared{}),
		"a held creation with a forged ledger":     Create(current("mine=service", ""), Declared{Hold: true}),
		"a ServiceAccount without the ledger":      AdmitServiceAccount(current("n=namespace", ""), Current{List: list("n")}, list("n"), nil),
		"a ServiceAccount with a ledger that lies": AdmitServiceAccount(Current{}, current("mine=namespace", ""), nil, nil),
		"a ServiceAccount with a claimed entry":    ForServiceAccount(current("n=namespace", "n"), list("n"), nil),
	} {
		if !r.LedgerChanged || r.ListChanged {
			t.Errorf("%s: %+v, want the ledger to change, and the list not to", reason, r)
		}
	}
}

func TestForServiceAccount(t *testing.T) {
	tests := []struct {
		reason    string
		current   string
		claimed   string
		namespace string
		always    []Grant
		want      string
		added     string
		taken     string
		nothing   bool
	}{
		{reason: "nothing", current: "default-dockercfg-abc", want: "default-dockercfg-abc", nothing: true},
		{
			reason: "appended", current: "default-dockercfg-abc", namespace: "n", always: grants,
			want:  "default-dockercfg-abc n=namespace z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
			added: "n=namespace z-copy=clusterpullsecret/alpha a-copy=clusterpullsecret/zeta",
		},
		{
			reason: "everybody else's entries keep their place", current: "n1=namespace theirs n2=namespace", namespace: "n2 n3",
			want: "theirs n2=namespace n3=namespace", added: "n3=namespace", taken: "n1=namespace",
		},
		{
			reason: "an entry that is there already is not ours", current: "n", namespace: "n", want: "n", nothing: true,
		},
		{
			reason: "a claimed entry stays, and leaves the ledger at once", current: "n=namespace", claimed: "n", want: "n",
		},
		{
			reason: "converged", current: "theirs n=namespace", namespace: "n", want: "theirs n=namespace", nothing: true,
		},
		{
			reason: "retracted", current: "n=namespace", want: "", taken: "n=namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := ForServiceAccount(current(tt.current, tt.claimed), list(tt.namespace), tt.always)
			check(t, got, tt.want, tt.added, tt.taken, "")
			if got.Changed() == tt.nothing {
				t.Errorf("Changed() = %v, want %v", got.Changed(), !tt.nothing)
			}
		})
	}
}

// managed marks names of a list as ours by managedFields, and free marks them as owned by
// no other manager.
func managed(c Current, names ...string) Current {
	c.Managed = sets.New(names...)
	return free(c, names...)
}

func free(c Current, names ...string) Current {
	c.Free = sets.New(names...)
	return c
}

// An entry that the controller alone owns is ours whatever the ledger says: its item is
// written again with the origin that declares it now, and the next change removes it if it
// is not declared.
func TestLedgerIsRebuilt(t *testing.T) {
	lost := managed(current("mine x", ""), "x")
	n := Declared{Always: []Grant{{"c", "x"}}}
	for reason, test := range map[string]struct {
		got  Result
		want string
	}{
		"reconciled: declared":                    {Reconcile(lost, n, true), "mine x=clusterpullsecret/c"},
		"reconciled: not declared":                {Reconcile(lost, Declared{}, true), "mine x=namespace"},
		"reconciled: claimed":                     {Reconcile(current("mine x=namespace", "x"), Declared{}, true), "mine x"},
		"changed: declared":                       {update(lost, lost, n), "mine x=clusterpullsecret/c"},
		"changed: not declared":                   {update(lost, lost, Declared{}), "mine"},
		"withdrawn by its owner: not declared":    {update(current("mine x", "x"), lost, Declared{}), "mine"},
		"withdrawn by its owner: declared":        {update(current("mine x", "x"), lost, n), "mine x=clusterpullsecret/c"},
		"withdrawn, and nothing can be found out": {update(current("mine x", "x"), lost, Declared{Hold: true}), "mine x=namespace"},
		"a ServiceAccount's, withdrawn":           {AdmitServiceAccount(current("own x", "own x"), managed(current("own x", ""), "own", "x"), list("x"), nil), "own x=namespace"},
	} {
		if got := render(test.got); got != test.want {
			t.Errorf("%s: %q, want %q", reason, got, test.want)
		}
	}
	if got := Restored(lost, n); got["x"] != FromClusterPullSecret("c") {
		t.Errorf("The list is restored with the ledger %v, which lacks what is managed", got)
	}
}

// The second call of a request may have an older or newer cache than the first.
func TestSecondCallKnowsLess(t *testing.T) {
	both := Declared{Namespace: list("x"), Always: []Grant{{"c", "y"}}}
	stale := Declared{Namespace: list("x")}
	carries := Declared{Namespace: list("x"), Account: Account{Name: "default", Secrets: list("sa")}}
	for _, test := range []struct {
		reason         string
		old, requested string
		first, second  Declared
		want           string
	}{
		{"it knows as much", "", "mine", both, both, "mine x=namespace y=clusterpullsecret/c"},
		{"it knows a part", "", "mine", both, stale, "mine x=namespace y=clusterpullsecret/c"},
		{"it finds nothing declared", "", "mine", both, Declared{}, "mine x=namespace y=clusterpullsecret/c"},
		{"it can find out nothing", "", "mine", both, Declared{Hold: true}, "mine x=namespace y=clusterpullsecret/c"},
		{"it knows more", "", "mine", stale, both, "mine x=namespace y=clusterpullsecret/c"},
		{"it alone can find out anything", "", "mine", Declared{Hold: true}, both, "mine x=namespace y=clusterpullsecret/c"},
		{"it knows another origin", "", "mine", Declared{Always: []Grant{{"c", "x"}}}, stale, "mine x=namespace"},
		{"it does not know the ServiceAccount's", "", "", carries, Declared{}, "x=namespace sa=serviceaccount/default"},
		{"what the first removed stays away", "mine old=namespace", "mine old", both, stale, "mine x=namespace y=clusterpullsecret/c"},
		{"what the first removed and it declares comes back as ours", "mine old=namespace", "mine old", Declared{}, Declared{Namespace: list("old")}, "mine old=namespace"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			// What the request holds before the first call is its writer's.
			claimed := sets.New(list(test.requested)...)
			old := current(test.old, "")
			for name := range old.Ledger {
				claimed.Delete(name)
			}
			second := func(r Result) Current {
				added := sets.New(r.List...).Difference(claimed)
				return Current{List: r.List, Ledger: r.Ledger, Claimed: claimed, Free: added}
			}
			requested := Current{List: list(test.requested), Claimed: claimed}
			if got := render(update(old, second(update(old, requested, test.first)), test.second)); got != test.want {
				t.Errorf("update: %q, want %q", got, test.want)
			}
			if test.old != "" || test.first.Hold || test.second.Hold {
				return // A creation is left alone where nothing can be found out.
			}
			if got := render(Create(second(Create(requested, test.first)), test.second)); got != test.want {
				t.Errorf("create: %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseLedger(t *testing.T) {
	tests := []struct {
		reason string
		text   string
		want   Ledger
		err    string
	}{
		{reason: "none", text: ""},
		{
			reason: "every origin",
			text:   `{"a":"service","b":"namespace","c":"clusterpullsecret/x","d":"serviceaccount/default"}`,
			want:   Ledger{"a": FromService, "b": FromNamespace, "c": FromClusterPullSecret("x"), "d": fromServiceAccount("default")},
		},
		{reason: "not JSON", text: `a=service`, err: "expected a JSON object that maps Secret names to origins"},
		{reason: "another shape", text: `["a"]`, err: "expected a JSON object that maps Secret names to origins"},
		{reason: "another shape within", text: `{"a":{"b":"c"}}`, err: "expected a JSON object that maps Secret names to origins"},
		{
			reason: "bad items are left out", text: `{"a":"service","B":"service","c":"clusterpullsecret/","d":"user","e":"serviceaccount/X"}`,
			want: Ledger{"a": FromService},
			err:  "4 items do not map a valid Secret name to service, namespace, clusterpullsecret/NAME or serviceaccount/NAME",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := ParseLedger(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			var msg string
			if err != nil {
				msg = err.Error()
			}
			if msg != tt.err {
				t.Errorf("error = %q, want %q", msg, tt.err)
			}
			if err == nil && got.String() != tt.text {
				t.Errorf("String() = %q, want %q", got.String(), tt.text)
			}
		})
	}
}

// A ServiceAccount enforces its list exactly if the admission of Pods says so.
func TestEnforced(t *testing.T) {
	for value, want := range map[string]bool{
		"true": true, "True": true, "TRUE": true, "1": true, "t": true, "T": true,
		"": false, "false": false, "0": false, "tRuE": false, "yes": false, " true": false,
	} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{EnforceMountableSecrets: value}}}
		if got := AccountOf("default", account).Enforced; got != want {
			t.Errorf("%q enforces: %t, want %t", value, got, want)
		}
	}
}
