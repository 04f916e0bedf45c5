// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

var policiesSeed = flag.Uint64("policies.seed", 20261130, "seed of the first group of TestPoliciesChangeNoAnswer")

const (
	// histories is the default number of histories, which the variable HISTORIES overrides.
	histories    = 120
	historySteps = 8
)

// declarations are what the Namespaces declare, one after the other: entries that go, come
// and change their order.
var declarations = []string{"decl-a, decl-b", "decl-b, decl-a", "decl-a, decl-b, decl-c", "decl-c", "decl-c, decl-b, decl-a", ""}

// TestPoliciesChangeNoAnswer sends the same requests of the same users to two namespaces,
// one with the policies of config/outage and one without. While the webhook is up, all
// answers are equal: errors, warnings, and the objects with their owners and generations.
// It tests only admission, so neither our controller nor Knative's runs meanwhile.
func TestPoliciesChangeNoAnswer(t *testing.T) {
	e := env.Get(t)
	e.Need(t, env.ProcessControl, env.OutagePolicies)
	if err := (machinery{Env: e}).restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"controller", "knative-controller"} {
		if err := e.Processes.Stop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Processes.Start(context.WithoutCancel(t.Context()), name, nil); err != nil {
				t.Error(err)
			}
		})
	}
	count := histories
	if text := os.Getenv("HISTORIES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	exemptFromPolicies(t, e)
	outcomes := &tally{counts: map[string]int{}}
	for seed, played := *policiesSeed, 0; played < count && !t.Failed(); seed, played = seed+1, played+groupSize {
		playHistories(t, e, seed, outcomes)
	}
	t.Logf("%d histories of %d requests: %v", count, historySteps, outcomes.counts)
	if outcomes.counts["restored by a policy"] == 0 {
		t.Error("no request lacked an entry that a policy restores, so this test shows nothing")
	}
}

// tally counts outcomes.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// playHistories plays a group of histories concurrently, and changes the declarations
// between their requests.
func playHistories(t *testing.T, e *env.Env, seed uint64, outcomes *tally) {
	t.Helper()
	m := newMirrors(t, e)
	defer m.remove()
	random := rand.New(rand.NewPCG(seed, 1))
	players := make([]*history, groupSize)
	for i := range players {
		players[i] = &history{mirrors: m, name: fmt.Sprintf("h-%d", i), resource: services, random: rand.New(rand.NewPCG(seed, uint64(i+2))), outcomes: outcomes}
		if i%3 == 0 {
			players[i].resource = serviceAccounts
		}
	}
	for step := range historySteps {
		if step%2 == 0 {
			next := declarations[0]
			if step > 0 {
				next = declarations[random.IntN(len(declarations))]
			}
			m.declare(next)
		}
		var wg sync.WaitGroup
		turns := make(chan struct{}, 6)
		for _, p := range players {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if failure := p.play(step); failure != "" {
					t.Errorf("-policies.seed=%d, %s %s, request %d:\n%s", seed, p.resource.Resource, p.name, step, failure)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// history is a random history of one object on both sides.
type history struct {
	*mirrors
	name     string
	resource schema.GroupVersionResource
	random   *rand.Rand
	outcomes *tally
	log      []string
}

var address = regexp.MustCompile(`0x[0-9a-f]{6,}`)

// answer is what the client of a request gets.
type answer struct {
	object   *unstructured.Unstructured
	err      error
	warnings []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (a *answer) HandleWarningHeader(_ int, _ string, text string) {
	a.warnings = append(a.warnings, text)
}

// play sends one random request to both sides and compares the answers.
func (p *history) play(step int) (failure string) {
	writer := []string{"csa", "ssa", "put", "patch", "csa", "put"}[p.random.IntN(6)]
	user := []string{"alice", "bob"}[p.random.IntN(2)]
	var dryRun []string
	if step > 0 && p.random.IntN(8) == 0 {
		dryRun = []string{metav1.DryRunAll}
	}
	manifest := p.manifest()
	p.log = append(p.log, fmt.Sprintf("%s by %s (dry run: %t): %s", writer, user, dryRun != nil, encode(manifest)))
	var before *unstructured.Unstructured
	var answers [2]answer
	for side := range answers {
		a := &answers[side]
		config := rest.CopyConfig(p.Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
		config.WarningHandler = a
		dynamicClient, err := dynamic.NewForConfig(config)
		if err != nil {
			return err.Error()
		}
		client := dynamicClient.Resource(p.resource).Namespace(p.ns[side])
		if side == 0 {
			before, _ = client.Get(p.t.Context(), p.name, metav1.GetOptions{})
		}
		object := &unstructured.Unstructured{Object: manifest}
		a.object, a.err = byWriter[writer](p.t.Context(), client, object.DeepCopy(), dryRun)
	}
	p.count(before, manifest, answers[0])
	here, there := p.render(answers[0]), p.render(answers[1])
	if here != there {
		return fmt.Sprintf("with the policies:\n%s\nwithout:\n%s\nafter\n%s", here, there, strings.Join(p.log, "\n"))
	}
	return ""
}

// count records what kind of request it was.
func (p *history) count(before *unstructured.Unstructured, manifest map[string]any, a answer) {
	switch {
	case a.err != nil:
		p.outcomes.add("rejected")
	case before == nil:
		p.outcomes.add("created")
	default:
		p.outcomes.add("accepted")
		ledger := before.GetAnnotations()[pullsecrets.AddedAnnotation]
		for _, name := range namesIn(a.object) {
			if strings.Contains(ledger, fmt.Sprintf("%q:", name)) && !slices.Contains(namesIn(&unstructured.Unstructured{Object: manifest}), name) {
				p.outcomes.add("restored by a policy")
				break
			}
		}
	}
	if len(a.warnings) > 0 {
		p.outcomes.add("warned")
	}
}

// namesIn returns the names in the list of a Service or a ServiceAccount.
func namesIn(object *unstructured.Unstructured) []string {
	if object == nil || object.GetKind() == "Service" {
		return listOf(object)
	}
	refs, _, _ := unstructured.NestedSlice(object.Object, "imagePullSecrets")
	var names []string
	for _, ref := range refs {
		name, _, _ := unstructured.NestedString(ref.(map[string]any), "name")
		names = append(names, name)
	}
	return names
}

// render returns an answer as text without what differs between any two objects.
func (p *history) render(a answer) string {
	text := ""
	if a.object != nil {
		o := a.object.DeepCopy()
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		managed := o.GetManagedFields()
		for i := range managed {
			managed[i].Time = nil
		}
		slices.SortFunc(managed, func(a, b metav1.ManagedFieldsEntry) int { return strings.Compare(string(encode(a)), string(encode(b))) })
		o.SetManagedFields(managed)
		text = string(encode(o.Object))
	}
	text = fmt.Sprintf("%s\nerror: %v\nwarnings: %q", text, a.err, a.warnings)
	// Knative prints some values as their addresses.
	return address.ReplaceAllString(strings.NewReplacer(p.ns[0], "NAMESPACE", p.ns[1], "NAMESPACE").Replace(text), "ADDRESS")
}

// manifest returns a random manifest of the object.
func (p *history) manifest() map[string]any {
	annotations := map[string]any{}
	if ledger := pick(p.random, "", "", "", "", "", `{"decl-a":"namespace"}`, `{"decl-a":"namespace","decl-b":"namespace"}`, `{"own-a":"service"}`, `{"svc-a":"service"}`, "junk", "{}"); ledger != "" {
		annotations[pullsecrets.AddedAnnotation] = ledger
	}
	metadata := map[string]any{"name": p.name, "annotations": annotations}
	if p.resource == serviceAccounts {
		manifest := map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
		p.setList(manifest)
		return manifest
	}
	if secrets := pick(p.random, "", "", "", "svc-a", "svc-a, decl-b", "Not-A-Name"); secrets != "" {
		annotations[pullsecrets.SecretsAnnotation] = secrets
	}
	if inject := pick(p.random, "", "", "", "", "disabled", "declared", "odd"); inject != "" {
		annotations[pullsecrets.InjectAnnotation] = inject
	}
	spec := map[string]any{"containers": []any{map[string]any{
		"image": byDigest, "env": []any{map[string]any{"name": "VERSION", "value": pick(p.random, "one", "one", "two")}},
	}}}
	p.setList(spec)
	template := map[string]any{"spec": spec}
	if name := pick(p.random, "", "", "", "-one", "-two"); name != "" {
		template["metadata"] = map[string]any{"name": p.name + name}
	}
	return map[string]any{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata, "spec": map[string]any{"template": template}}
}

// setList sets a random list, or none.
func (p *history) setList(in map[string]any) {
	switch p.random.IntN(8) {
	case 0, 1, 2: // none
	case 3:
		in["imagePullSecrets"] = []any{}
	default:
		names := []string{"own-a", "own-b", "decl-a", "decl-b", "svc-a"}
		p.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:1+p.random.IntN(3)]
		if p.random.IntN(12) == 0 {
			names = append(names, pick(p.random, names[0], ""))
		}
		in["imagePullSecrets"] = refs(names)
	}
}

func pick(random *rand.Rand, from ...string) string { return from[random.IntN(len(from))] }
