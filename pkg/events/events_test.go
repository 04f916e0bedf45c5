// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
)

func manyEntries(n int) []merge.Entry {
	var all []merge.Entry
	for i := range n {
		all = append(all, merge.Entry{Name: fmt.Sprintf("%s-%d", strings.Repeat("s", 60), i), Origin: merge.FromNamespace})
	}
	return all
}

// However long the list is, the reason and the remedy precede it.
func TestNamedRevisionKeepsTheRemedy(t *testing.T) {
	changes := Changes(merge.Result{Added: manyEntries(maxListed), Taken: manyEntries(maxListed)})
	e := NamedRevision("app-1", changes)
	for _, part := range []string{"Revision app-1", "until the template has another name"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("%q lacks %q", e.Message, part)
		}
	}
}

// TestMessagesAreBounded creates every Event from the largest possible input. A message is
// one line of at most 1024 characters.
func TestMessagesAreBounded(t *testing.T) {
	problem := annotation.ForService(map[string]string{"pullsecrets.dev/secrets": strings.Repeat("\n\x1bX", 1000)}).Problems[0]
	changes := Changes(merge.Result{Added: manyEntries(32)})
	for _, e := range []Event{
		secretsAdded(manyEntries(100)),
		secretsRetracted(manyEntries(100)),
		InvalidAnnotation(problem),
		InvalidLedger(errors.New("damaged")),
		NotMountable("default", manyEntries(8)),
		SecretMissing(strings.Repeat("n", 63), slices.Repeat([]string{strings.Repeat("s", 63)}, 32)),
		SecretWrongType(strings.Repeat("n", 63), slices.Repeat([]string{WithType("s", corev1.SecretType(strings.Repeat("T\n", 300)))}, 8)),
		NotGranted(strings.Repeat("n", 63), slices.Repeat([]string{strings.Repeat("s", 63)}, 32)),
		CopyMissing(strings.Repeat("n", 63), slices.Repeat([]string{WithClusterPullSecret("s", strings.Repeat("c", 253))}, 32)),
		NamedRevision("app-1", changes),
		BackfillDeferred(changes, "why"),
		BackfillPaused(strings.Repeat("n", 63), strings.Repeat("s", 63)),
		InjectionContested(manyEntries(8)),
		CredentialExpires(source{}, time.Now()),
		CredentialExpired(source{}, time.Now()),
		SourceExpired(strings.Repeat("m", 2000)),
		CredentialRejected(source{}, strings.Repeat("registry.example.com: 401 Unauthorized; ", 16), true),
		CredentialRejected(source{}, strings.Repeat("registry.example.com: 401 Unauthorized; ", 16), false),
	} {
		if len([]rune(e.Message)) > 1024 || e.Message == "" {
			t.Errorf("%s: the message has %d characters: %s", e.Reason, len(e.Message), e.Message)
		}
		if strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: the message is not one printable line: %q", e.Reason, e.Message)
		}
		if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
			t.Errorf("%s: type %q", e.Reason, e.Type)
		}
	}
	for _, denied := range []func(string, error) Event{BackfillDenied, BindingDenied} {
		if e := denied("adding x", errors.New(strings.Repeat("é", 5000))); len([]rune(e.Message)) > 600 {
			t.Errorf("%s passes on %d characters", e.Reason, len([]rune(e.Message)))
		}
	}
}

// source is the longest name of a source.
type source struct{}

func (source) String() string { return strings.Repeat("n", 63) + "/" + strings.Repeat("s", 253) }

func TestChanges(t *testing.T) {
	added, taken := []merge.Entry{{Name: "a", Origin: merge.FromService}}, []merge.Entry{{Name: "b", Origin: merge.FromNamespace}}
	for want, r := range map[string]merge.Result{
		"adding pull secrets a (service)":                                         {Added: added},
		"removing pull secrets b (namespace)":                                     {Taken: taken},
		"adding pull secrets a (service) and removing pull secrets b (namespace)": {Added: added, Taken: taken},
		"a change of pull secrets":                                                {},
	} {
		if got := Changes(r); got != want {
			t.Errorf("Changes() = %q, want %q", got, want)
		}
	}
}

func TestReporter(t *testing.T) {
	r := NewReporter(&memory.Memory{}, nil)
	recorder := record.NewFakeRecorder(20)
	object := func(uid string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x", UID: types.UID(uid)}}
	}
	a, b := SecretMissing("ns", []string{"a"}), SecretMissing("ns", []string{"b"})
	steps := []struct {
		reason string
		uid    string
		topic  string
		events []Event
		want   int
	}{
		{"a new Event", "1", "t", []Event{a}, 1},
		{"nothing new", "1", "t", []Event{a}, 0},
		{"one more", "1", "t", []Event{a, b}, 1},
		{"one less", "1", "t", []Event{b}, 0},
		{"once more", "1", "t", []Event{a, b}, 1},
		{"another topic", "1", "u", []Event{a}, 1},
		{"no Event", "1", "t", nil, 0},
		{"no longer", "1", "t", []Event{a}, 1},
		{"another object of that name", "2", "t", []Event{a}, 1},
	}
	for _, step := range steps {
		r.Report(recorder, object(step.uid), step.topic, step.events)
		if got := len(recorder.Events); got != step.want {
			t.Errorf("%s: %d events, want %d", step.reason, got, step.want)
		}
		for len(recorder.Events) > 0 {
			<-recorder.Events
		}
	}
	r.budget = fair.NewBudget(fair.Rate{}, fair.Rate{}, time.Now)
	if recorded, all := r.Report(recorder, object("3"), "t", []Event{a}); len(recorded) > 0 || all {
		t.Errorf("recorded %v beyond the budget", recorded)
	}
	r.budget = fair.NewBudget(forAll, forEach, time.Now)
	if recorded, all := r.Report(recorder, object("3"), "t", []Event{a}); len(recorded) != 1 || !all {
		t.Errorf("recorded %v, want what had to wait", recorded)
	}
	r.ForgetObject(types.NamespacedName{Namespace: "ns", Name: "x"}, "t", "u")
	r.reported.Each(func(_ types.NamespacedName, recorded *map[topicKey]topicState) {
		t.Errorf("remembers %v of an object that is gone", *recorded)
	})
}

// All ServiceAccounts of a Namespace share one Event for each reason.
func TestBound(t *testing.T) {
	ghcr := []merge.Entry{{Name: "ghcr", Origin: merge.FromNamespace}}
	quay := []merge.Entry{{Name: "quay", Origin: merge.FromClusterPullSecret("quay")}}
	many := []Binding{{"gone", merge.Result{Taken: quay}}}
	for i := range 12 {
		many = append(many, Binding{fmt.Sprintf("sa-%02d", i), merge.Result{Added: ghcr}})
	}
	for _, test := range []struct {
		name string
		all  []Binding
		want []string
	}{
		{"nothing was written", nil, nil},
		{"one", []Binding{{"default", merge.Result{Added: ghcr}}}, []string{"Added pull secrets: ghcr (namespace) in ServiceAccount default"}},
		{"grouped by entries, in sorted order", []Binding{
			{"robot", merge.Result{Added: ghcr}}, {"default", merge.Result{Added: ghcr}}, {"builder", merge.Result{Added: quay}},
		}, []string{"Added pull secrets: ghcr (namespace) in ServiceAccounts default, robot; quay (clusterpullsecret/quay) in ServiceAccount builder"}},
		{"many, and one that was removed", many, []string{
			"Added pull secrets: ghcr (namespace) in ServiceAccounts sa-00, sa-01, sa-02, sa-03, sa-04, sa-05, sa-06, sa-07 and 4 more",
			"Removed pull secrets that are no longer declared: quay (clusterpullsecret/quay) in ServiceAccount gone",
		}},
	} {
		var got []string
		for _, e := range Bound(test.all) {
			got = append(got, e.Message)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestInItsOwn(t *testing.T) {
	got := InItsOwn(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", UID: "1"}})
	if got.Namespace != "team" || got.Name != "team" || got.UID != "1" || got.Kind != "Namespace" {
		t.Errorf("InItsOwn() = %+v", got)
	}
}

// Recorded Events of an object are forgotten with the object that is reconciled.
func TestReporterForgetsByOwner(t *testing.T) {
	var m memory.Memory
	r := NewReporter(&m, func(object types.NamespacedName) types.NamespacedName {
		return types.NamespacedName{Name: object.Namespace}
	})
	recorder := record.NewFakeRecorder(20)
	report := func(namespace string) (recorded []Event) {
		object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x"}}
		recorded, _ = r.Report(recorder, object, "t", []Event{SecretMissing(namespace, []string{"x"})})
		return recorded
	}
	report("kept")
	report("gone")
	m.Forget(types.NamespacedName{Name: "gone"})
	if recorded := report("kept"); len(recorded) != 0 {
		t.Errorf("recorded %v twice", recorded)
	}
	if recorded := report("gone"); len(recorded) != 1 {
		t.Errorf("recorded %v, want what was forgotten", recorded)
	}
}

// Objects that flap use up the share of their own namespace, and the Warning of another
// namespace is recorded at once.
func TestFlappingObjectsDoNotSilenceOtherNamespaces(t *testing.T) {
	r, recorder := NewReporter(&memory.Memory{}, nil), &record.FakeRecorder{}
	clock := time.Unix(1e9, 0)
	r.budget = fair.NewBudget(forAll, forEach, func() time.Time { return clock })
	flap := func(namespace, name string) {
		object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		r.Report(recorder, object, "t", []Event{SecretMissing(namespace, []string{name})})
		r.Report(recorder, object, "t", nil)
	}
	for range 100 {
		for i := range 3 * 30 {
			flap("flapping", fmt.Sprint(i))
		}
		clock = clock.Add(time.Second)
	}
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "app"}}
	if recorded, all := r.Report(recorder, other, "t", []Event{SecretMissing("other", []string{"a"})}); len(recorded) != 1 || !all {
		t.Errorf("recorded %v of another tenant, want its Warning", recorded)
	}
}

// BenchmarkReport shows that the cost of an Event does not depend on the number of other
// objects that flap.
func BenchmarkReport(b *testing.B) {
	for _, others := range []int{10, 100} {
		b.Run(fmt.Sprintf("%d flapping objects of others", others), func(b *testing.B) {
			r, recorder := NewReporter(&memory.Memory{}, nil), &record.FakeRecorder{}
			object := func(namespace, name string) *corev1.Secret {
				return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
			}
			for i := range others {
				r.Report(recorder, object(fmt.Sprint(i), "app"), "t", []Event{SecretMissing("n", []string{"a"})})
			}
			own, events := object("own", "app"), []Event{SecretMissing("own", []string{"a"})}
			for b.Loop() {
				r.Report(recorder, own, "t", events)
				r.Report(recorder, own, "t", nil)
			}
		})
	}
}
