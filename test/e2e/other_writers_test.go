// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// rounds is how often a writer sends the same Service again. A writer and the
// product that undo each other's work make a Revision or two in each.
const rounds = 20

// A writer is a program, or a way to use it, that writes Services and knows
// nothing of the product.
type writer struct {
	name string
	// own are the pull secrets that its manifest has.
	own []string
	// create makes the Service app of this version; write, which is create
	// where it is nil, sends it again.
	create, write func(p *person, version string)
	// stamps is set where the writer itself changes the template each time it
	// writes, so that each time it wants a Revision.
	stamps bool
}

// The versions of the Service app: what is written again and again, and a change.
const first, second = "one", "two"

var writers = []writer{{
	name:   "kubectl apply",
	create: kubectlApply(nil),
}, {
	name:   "kubectl apply with a list",
	own:    []string{"own"},
	create: kubectlApply([]string{"own"}),
}, {
	name:   "kubectl apply --server-side, as Argo CD does",
	create: kubectlApply(nil, "--server-side", "--field-manager=argocd-controller", "--force-conflicts"),
}, {
	name:   "kubectl apply --server-side with a list",
	own:    []string{"own"},
	create: kubectlApply([]string{"own"}, "--server-side", "--field-manager=argocd-controller", "--force-conflicts"),
}, {
	name:   "kubectl replace",
	own:    []string{"own"},
	create: kubectlApply([]string{"own"}),
	write:  kubectlReplace,
}, {
	name:   "kubectl patch that nulls the list",
	create: kubectlApply(nil),
	write: func(p *person, version string) {
		p.run(nil, "kubectl", "patch", "kservice", "app", "--type=merge", "-p", string(encode(templateSpec(map[string]any{
			"imagePullSecrets": nil,
			"containers":       []any{container(p, version)},
		}))))
	},
}, {
	name:   "kn service update",
	create: kn("create"),
	write: func(p *person, version string) {
		args := []string{"service", "update", "app", "--traffic=@latest=100", "--no-wait"}
		if version != first {
			args = append(args, "--env=VERSION="+version)
		}
		p.run(nil, "kn", args...)
	},
}, {
	name:   "kn service apply",
	create: kn("apply"),
}, {
	name:   "kn service create --force",
	create: kn("create", "--force"),
	stamps: true,
}, {
	name: "Flux",
	create: func(p *person, version string) {
		p.run(manifest(p, nil, version), "flux-apply", "-kubeconfig", p.kubeconfig)
	},
}, {
	name:   "an owner that writes its spec back, as KServe does",
	create: kubectlApply(nil),
	write:  ownerWritesBack,
}}

// Whoever writes a Service without the pull secrets that the product has added,
// for not knowing of them, makes no Revision by it, is never refused and does
// not become the Service's last modifier. A real change is one, with the full
// list, and is the writer's.
func TestOtherWriters(t *testing.T) {
	t.Parallel()
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			if w.write == nil {
				w.write = w.create
			}
			n := newTenant(t, optedIn("ghcr"))
			s := story{tenant: n, writer: w, people: [2]*person{n.person("alice"), n.person("bob")}, want: append(slices.Clone(w.own), "ghcr")}
			w.create(s.people[0], first)
			s.generation = n.get("app").GetGeneration()
			s.check("after it was made")
			n.checkUsers("alice")
			s.writeAgain()
			if !w.stamps {
				n.checkUsers("alice")
			}

			// The Namespace declares more, which the controller sees to. Then all
			// goes on as before.
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
			s.want, s.generation = append(s.want, "quay"), s.generation+1
			n.waitForList("app", s.want...)
			s.writeAgain()

			w.write(s.people[1], second)
			s.generation++
			s.check("after a real change")
			n.checkUsers("bob")
			n.waitForReady("app")
			n.checkRevisions("app", int(s.generation))
		})
	}
}

// A story is what happens to the Service app of one writer.
type story struct {
	*tenant
	writer
	people [2]*person
	// want is the list, and generation the generation, that the Service has.
	want       []string
	generation int64
}

// writeAgain has both people write the same Service again and again.
func (s *story) writeAgain() {
	s.t.Helper()
	for round := range rounds {
		s.write(s.people[round%2], first)
		if got := s.get("app").GetGeneration(); s.stamps && got == s.generation+1 {
			s.generation = got
		}
		s.check("after the same was written again")
	}
}

func (s *story) check(when string) {
	s.t.Helper()
	s.checkList("app", s.want...)
	if got := s.get("app").GetGeneration(); got != s.generation || s.t.Failed() {
		s.t.Fatalf("%s, Service app has generation %d, want %d", when, got, s.generation)
	}
}

// checkUsers checks whom Knative notes as the one who made the Service app, which
// is always alice, and as the one who changed it last.
func (n *tenant) checkUsers(lastModifier string) {
	n.t.Helper()
	annotations := n.get("app").GetAnnotations()
	for key, want := range map[string]string{"serving.knative.dev/creator": "alice", "serving.knative.dev/lastModifier": lastModifier} {
		if got := annotations[key]; got != want {
			n.t.Errorf("Service app has %s %q, want %q", key, got, want)
		}
	}
}

// container is the one container of the Service app.
func container(p *person, version string) map[string]any {
	return map[string]any{
		"image": image(p.t, p.Env, "IMAGE_BY_DIGEST"),
		"env":   []any{map[string]any{"name": "VERSION", "value": version}},
	}
}

// manifest is the Service app in YAML, as it lies in Git.
func manifest(p *person, own []string, version string) []byte {
	p.t.Helper()
	spec := map[string]any{"containers": []any{container(p, version)}}
	if len(own) > 0 {
		spec["imagePullSecrets"] = refs(own)
	}
	object := templateSpec(spec)
	object["apiVersion"], object["kind"] = "serving.knative.dev/v1", "Service"
	object["metadata"] = map[string]any{"name": "app", "namespace": p.ns}
	text, err := yaml.Marshal(object)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func refs(names []string) []any {
	var list []any
	for _, name := range names {
		list = append(list, map[string]any{"name": name})
	}
	return list
}

func kubectlApply(own []string, flags ...string) func(*person, string) {
	return func(p *person, version string) {
		p.run(manifest(p, own, version), "kubectl", append([]string{"apply", "-f", "-"}, flags...)...)
	}
}

// kubectlReplace replaces the Service by what "kubectl get" once gave, before the
// product added to it.
func kubectlReplace(p *person, version string) {
	p.t.Helper()
	object := p.get("app")
	object.SetResourceVersion("")
	annotations := object.GetAnnotations()
	delete(annotations, pullsecrets.AddedAnnotation)
	object.SetAnnotations(annotations)
	for path, value := range map[string]any{"imagePullSecrets": refs([]string{"own"}), "containers": []any{container(p, version)}} {
		if err := unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", path); err != nil {
			p.t.Fatal(err)
		}
	}
	p.insist(encode(object.Object), "kubectl", "replace", "-f", "-")
}

// insist runs a program until nobody else writes while it does: some give up then, and
// Knative's controller writes the status of a new Service again and again.
func (p *person) insist(input []byte, tool string, args ...string) {
	p.t.Helper()
	eventually(p.t, func(context.Context) error {
		output, err := p.try(input, tool, args...)
		if err != nil && !strings.Contains(output, "the object has been modified") {
			p.t.Fatalf("%s: %s %q: %v\n%s", p.name, tool, args, err, output)
		}
		return err
	})
}

func kn(verb string, flags ...string) func(*person, string) {
	return func(p *person, version string) {
		args := []string{"service", verb, "app", "--image=" + image(p.t, p.Env, "IMAGE_BY_DIGEST"), "--env=VERSION=" + version, "--no-wait"}
		p.insist(nil, "kn", append(args, flags...)...)
	}
}

// ownerWritesBack is what controllers do that own a Service: have their idea of
// it defaulted by a dry run, and write it if it is not what is there. As some do,
// this one writes its spec back even where there is no difference.
func ownerWritesBack(p *person, version string) {
	p.t.Helper()
	client := p.client().Serving.ServingV1().Services(p.ns)
	var desired servingv1.Service
	if err := yaml.Unmarshal(manifest(p, nil, version), &desired); err != nil {
		p.t.Fatal(err)
	}
	// Knative defaults it when the Service is made and never again, so that an
	// owner who does not say it takes it away.
	desired.Spec.Template.Spec.EnableServiceLinks = new(false)
	err := retryOnConflict(func() error {
		existing, err := client.Get(p.t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		dry := existing.DeepCopy()
		dry.Spec.ConfigurationSpec = *desired.Spec.ConfigurationSpec.DeepCopy()
		dry, err = client.Update(p.t.Context(), dry, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		same := equality.Semantic.DeepEqual(dry.Spec.ConfigurationSpec, existing.Spec.ConfigurationSpec)
		if unchanged := strings.Contains(existing.Spec.Template.Spec.Containers[0].Env[0].Value, version); same != unchanged {
			p.t.Errorf("A dry run says that the spec stays the same: %t, want %t: %+v, %+v", same, unchanged,
				dry.Spec.ConfigurationSpec, existing.Spec.ConfigurationSpec)
		}
		existing.Spec.ConfigurationSpec = *desired.Spec.ConfigurationSpec.DeepCopy()
		_, err = client.Update(p.t.Context(), existing, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}
