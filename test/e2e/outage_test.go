// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// outageRounds is how often each writer sends its Service while the webhook is down.
const outageRounds = 2

// engines are further writers for the test of an outage, which compare first and then
// apply only what differs.
var engines = []writer{{
	name:   "Argo CD",
	own:    []string{"own"},
	create: argoCDSync("-sync"),
}, {
	name:   "Argo CD with server-side apply",
	create: argoCDSync("-sync", "-server-side"),
}, {
	name: "Flux with a list",
	own:  []string{"own"},
	create: func(p *person, version string) {
		p.run(manifest(p, []string{"own"}, version), "flux-apply", "-kubeconfig", p.kubeconfig)
	},
}, {
	name:   "kubectl edit",
	create: kubectlApply(nil),
	write:  edited,
}}

func argoCDSync(flags ...string) func(*person, string) {
	return func(p *person, version string) {
		var own []string
		if len(flags) == 1 {
			own = []string{"own"}
		}
		p.argoCD(manifest(p, own, version), flags...)
	}
}

// edited is a patch of what somebody typed into an editor, who deleted the list.
func edited(p *person, version string) {
	change := templateSpec(map[string]any{"imagePullSecrets": nil, "containers": []any{container(p, version)}})
	change["metadata"] = map[string]any{"annotations": map[string]any{pullsecrets.AddedAnnotation: nil}}
	_, err := p.client().Dynamic.Resource(services).Namespace(p.ns).Patch(p.t.Context(), "app", types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		p.t.Fatal(err)
	}
}

// While the webhook is down, a writer that sends a Service without the added pull secrets
// removes none: the list and the ledger stay, there is no Revision, nothing is rejected,
// and the last modifier stays, also for another user. A real change is one Revision with
// the same pull secrets. When the webhook is back, nothing changes.
func TestOutageStripsNothing(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl, env.OutagePolicies)
	all := slices.Concat(writers, engines)
	stories := make([]*story, len(all))
	for i, w := range all {
		if w.write == nil {
			w.write = w.create
		}
		n := newTenant(t, optedIn("ghcr"))
		s := &story{tenant: n, writer: w, people: [2]*person{n.person("alice"), n.person("bob")}, want: append(slices.Clone(w.own), "ghcr"), generation: 1}
		stories[i] = s
		w.create(s.people[0], first)
		s.generation = n.get("app").GetGeneration()
		s.check("after the creation by " + w.name)
	}
	for _, s := range stories {
		s.waitForReady("app")
	}
	n := stories[0]
	t.Cleanup(func() { n.start("webhook") })
	if err := n.Processes.Kill(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	t.Run("down", func(t *testing.T) {
		for _, s := range stories {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				suffering := s.in(t)
				suffering.sufferOutage()
				s.generation = suffering.generation
			})
		}
	})
	n.start("webhook")
	t.Run("up again", func(t *testing.T) {
		for _, s := range stories {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s := s.in(t)
				version := second
				if s.name == "kn service update" {
					version = first // Without --env it writes no timestamp, and keeps the environment.
				}
				s.send(s.people[0], version)
				s.followStamp()
				s.check("after the outage")
				s.waitForReady("app")
				s.checkRevisions("app", int(s.generation))
			})
		}
	})
}

// in returns the story for a subtest.
func (s *story) in(t *testing.T) *story {
	n := &tenant{Env: s.Env, t: t, ns: s.ns}
	other := *s
	other.tenant = n
	for i, p := range s.people {
		other.people[i] = &person{tenant: n, name: p.name, kubeconfig: p.kubeconfig}
	}
	return &other
}

// sufferOutage sends the same Service repeatedly and then a change. The Service keeps its
// ledger.
func (s *story) sufferOutage() {
	s.t.Helper()
	ledger := s.get("app").GetAnnotations()[pullsecrets.AddedAnnotation]
	if ledger != addedGHCR {
		s.t.Errorf("Service app has the ledger %q before the outage, want %q", ledger, addedGHCR)
	}
	for round := range outageRounds {
		s.send(s.people[round%2], first)
		s.followStamp()
		s.check("after unchanged writes while the webhook is down")
		s.checkLedger("app", map[string]string{"ghcr": "namespace"})
	}
	if !s.stamps {
		s.checkUsers("alice", "alice")
	}
	s.send(s.people[1], second)
	s.generation++
	s.check("after a real change while the webhook is down")
	s.checkLedger("app", map[string]string{"ghcr": "namespace"})
	s.checkUsers("alice", "bob")
	s.waitForReady("app")
	s.checkRevisions("app", int(s.generation))
}

// accountWriter writes the ServiceAccount robot, whose manifest lists own.
type accountWriter struct {
	name  string
	write func(p *person)
}

var accountWriters = []accountWriter{
	{"kubectl apply", func(p *person) { p.run(accountManifest("own"), "kubectl", "apply", "-f", "-") }},
	{"kubectl apply --server-side", func(p *person) {
		p.run(accountManifest("own"), "kubectl", "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
	}},
	{"kubectl replace", func(p *person) { p.run(accountManifest("own"), "kubectl", "replace", "-f", "-") }},
	{"kubectl patch", func(p *person) {
		p.run(nil, "kubectl", "patch", "serviceaccount", "robot", "--type=merge", "-p", `{"imagePullSecrets":[{"name":"own"}]}`)
	}},
	{"a patch of the documentation of Kubernetes, which replaces the list", func(p *person) {
		p.run(nil, "kubectl", "patch", "serviceaccount", "robot", "-p", `{"imagePullSecrets":[{"name":"own"}]}`)
	}},
	{"Flux", func(p *person) {
		p.run(inNamespace(p, accountManifest("own")), "flux-apply", "-kubeconfig", p.kubeconfig)
	}},
	{"Argo CD", func(p *person) { p.argoCD(inNamespace(p, accountManifest("own")), "-sync") }},
	{"Argo CD with server-side apply", func(p *person) {
		p.argoCD(inNamespace(p, accountManifest("own")), "-sync", "-server-side")
	}},
}

// inNamespace returns a manifest with the namespace of the person.
func inNamespace(p *person, manifest []byte) []byte {
	return []byte(strings.Replace(string(manifest), `"metadata":{`, fmt.Sprintf(`"metadata":{"namespace":%q,`, p.ns), 1))
}

// The same for bound ServiceAccounts. Names that a server-side apply lists belong to the
// applier, also if the webhook did not see the apply. All others stay the controller's.
func TestOutageStripsNothingFromServiceAccounts(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl, env.OutagePolicies)
	ours := map[string]string{"ghcr": "namespace", "quay": "namespace"}
	tenants := make([]*tenant, len(accountWriters))
	for i := range accountWriters {
		tenants[i] = newTenant(t, optedIn("ghcr, quay"), binds("robot"))
		tenants[i].makeAccount("robot", "own")
		tenants[i].waitForAccount("robot", ours, "own", "ghcr", "quay")
		accountWriters[i].write(tenants[i].person("alice"))
		tenants[i].waitForAccount("robot", ours, "own", "ghcr", "quay")
	}
	t.Cleanup(func() { tenants[0].start("webhook"); tenants[0].start("controller") })
	for _, program := range []string{"webhook", "controller"} { // The controller would add the entries again.
		if err := tenants[0].Processes.Kill(t.Context(), program); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("down", func(t *testing.T) {
		for i, w := range accountWriters {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				n := &tenant{Env: tenants[i].Env, t: t, ns: tenants[i].ns}
				for round := range outageRounds {
					w.write(n.person([]string{"alice", "bob"}[round%2]))
					n.checkAccount("robot", ours, "own", "ghcr", "quay")
				}
			})
		}
	})
	alice := tenants[0].person("alice")
	alice.run(accountManifest("own", "quay"), "kubectl", "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
	tenants[0].checkAccount("robot", map[string]string{"ghcr": "namespace"}, "own", "quay", "ghcr")

	tenants[0].start("webhook")
	tenants[0].start("controller")
	for i := range tenants[1:] {
		accountWriters[i+1].write(tenants[i+1].person("alice"))
		tenants[i+1].waitForAccount("robot", ours, "own", "ghcr", "quay")
		tenants[i+1].annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	}
	tenants[0].annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	tenants[0].waitForAccount("robot", nil, "own", "quay")
	for _, n := range tenants[1:] {
		n.waitForAccount("robot", nil, "own")
	}
}

// checkAccount checks the list and the ledger of a ServiceAccount.
func (n *tenant) checkAccount(name string, ledger map[string]string, want ...string) {
	n.t.Helper()
	list, got, err := n.accountList(n.t.Context(), name)
	if err != nil {
		n.t.Fatal(err)
	}
	if !slices.Equal(list, want) || fmt.Sprint(got) != fmt.Sprint(ledger) {
		n.t.Errorf("ServiceAccount %s has imagePullSecrets %q and the ledger %v, want %q and %v", name, list, got, want, ledger)
	}
}

// While the webhook is down, the policies add nothing to new objects, and apply neither in
// excluded namespaces nor to an entry that its owner takes over and drops.
func TestOutagePoliciesRestoreOnlyWhatWasAdded(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl, env.OutagePolicies)
	n, excluded, yes, no := newTenant(t, optedIn("ghcr")), newTenant(t, optedIn("ghcr")), newTenant(t, optedIn("ghcr")), newTenant(t, optedIn("ghcr"))
	alice := n.person("alice")
	tenants := []*tenant{n, excluded, yes, no}
	for _, n := range tenants {
		kubectlApply(nil)(n.person("alice"), first)
		n.checkList("app", "ghcr")
	}
	kubectlApply([]string{"ghcr"})(alice, second) // alice takes over the entry.
	n.checkLedger("app", nil)
	excluded.labelNamespace(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
	yes.labelNamespace(pullsecrets.ExcludeLabel, "yes")
	no.labelNamespace(pullsecrets.ExcludeLabel, pullsecrets.IncludeValue)
	t.Cleanup(func() { n.start("webhook"); n.start("controller") })
	for _, program := range []string{"webhook", "controller"} {
		if err := n.Processes.Kill(t.Context(), program); err != nil {
			t.Fatal(err)
		}
	}
	// The API server observes the labels with a delay.
	for _, n := range tenants[1:] {
		want := []string(nil)
		if n == no {
			want = []string{"ghcr"}
		}
		eventually(t, func(ctx context.Context) error {
			made, err := n.Dynamic.Resource(services).Namespace(n.ns).Patch(ctx, "app", types.MergePatchType,
				encode(templateSpec(map[string]any{"imagePullSecrets": nil})), metav1.PatchOptions{FieldManager: user, DryRun: dryRun})
			if err == nil && !slices.Equal(pullSecretsOf(made), want) {
				err = fmt.Errorf("in namespace %s a Service without its list gets %q, want %q", n.ns, pullSecretsOf(made), want)
			}
			return err
		})
	}
	kubectlApply([]string{})(alice, second) // She drops the entry.
	n.checkList("app")
	n.applyAs("by-digest.yaml", "new")
	n.checkList("new")
	if _, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.checkAccount("new", nil)
}

// followStamp follows a writer that changes the template itself, by a timestamp with seconds: two
// writes in the same second are one change.
func (s *story) followStamp() {
	s.t.Helper()
	if got := s.get("app").GetGeneration(); s.stamps && got == s.generation+1 {
		s.generation = got
	}
}
