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

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned/typed/serving/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

const (
	// rounds is how often a writer sends the same Service again. Each round would create
	// Revisions if the writer and the webhook reverted each other.
	rounds = 20
	// stampedRounds is the same for a writer that creates a Revision with each write anyway, which
	// takes a node some seconds.
	stampedRounds = 4
)

// writer is a program, or a way to use one, that writes Services and does not know of
// pull secrets that others add.
type writer struct {
	name string
	// own are the pull secrets in its manifest.
	own []string
	// create creates the Service app in this version; write, which defaults to create,
	// sends it again.
	create, write func(p *person, version string)
	// stamps is set if the writer itself changes the template with each write, so that
	// each one is a Revision.
	stamps bool
}

// The versions of the Service app: the one that is sent repeatedly, and a change.
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
		p.insist(nil, "kn", args...)
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
	name:   "Helm, which merges the old chart and the new",
	own:    []string{"own"},
	create: helmUpgrade,
}, {
	name:   "Terraform, whose kubernetes_manifest is a server-side apply",
	own:    []string{"own"},
	create: kubectlApply([]string{"own"}, "--server-side", "--field-manager=Terraform"),
}, {
	name:   "func deploy",
	create: func(p *person, version string) { p.funcDeploy(function{version: version}) },
	stamps: true,
}, {
	name:   "KServe's controller",
	create: kserveWrites,
}}

// A writer that sends a Service without the injected pull secrets creates no Revision, is
// never rejected, and does not become the last modifier. A real change is one Revision
// with the full list, made by the writer.
func TestOtherWritersCreateNoRevision(t *testing.T) {
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
			s.check("after the creation")
			n.checkUsers("alice", "alice")
			s.writeAgain()
			if !w.stamps {
				n.checkUsers("alice", "alice")
			}

			// The Namespace declares more, which the controller adds. Then all continues
			// as before.
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
			s.want, s.generation = append(s.want, "quay"), s.generation+1
			n.waitForList("app", s.want...)
			s.writeAgain()

			s.send(s.people[1], second)
			s.generation++
			s.check("after a real change")
			n.checkUsers("alice", "bob")
			n.waitForReady("app")
			n.checkRevisions("app", int(s.generation))
		})
	}
}

// story is the history of the Service app of one writer.
type story struct {
	*tenant
	writer
	people [2]*person
	// want and generation are the expected list and generation of the Service.
	want       []string
	generation int64
}

// writeAgain lets both people send the same Service repeatedly.
func (s *story) writeAgain() {
	s.t.Helper()
	again := rounds
	if s.stamps {
		again = stampedRounds
	}
	for round := range again {
		s.send(s.people[round%2], first)
		s.followStamp()
		s.check("after unchanged writes")
	}
}

// send writes the Service. If each write changes the template, Knative must have seen the
// one before: it creates no Revision of a generation that it did not get round to.
func (s *story) send(p *person, version string) {
	s.t.Helper()
	if s.stamps {
		s.waitForRevision()
	}
	s.write(p, version)
}

// waitForRevision waits until Knative has created the Revision of the latest generation.
func (s *story) waitForRevision() {
	s.t.Helper()
	serving := s.Serving.ServingV1()
	eventually(s.t, func(ctx context.Context) error {
		service, err := serving.Services(s.ns).Get(ctx, "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if service.Status.ObservedGeneration != service.Generation {
			return fmt.Errorf("generation %d of Service app is not observed", service.Generation)
		}
		configuration, err := serving.Configurations(s.ns).Get(ctx, "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		// Knative takes a generation for observed, too, if its update of the Configuration fails,
		// for example because of a conflict.
		if !equality.Semantic.DeepEqual(configuration.Spec.Template, service.Spec.Template) {
			return fmt.Errorf("Configuration app does not have the template of generation %d of the Service", service.Generation)
		}
		if configuration.Status.ObservedGeneration != configuration.Generation {
			return fmt.Errorf("generation %d of Configuration app is not observed", configuration.Generation)
		}
		return nil
	})
}

func (s *story) check(when string) {
	s.t.Helper()
	s.checkList("app", s.want...)
	if got := s.get("app").GetGeneration(); got != s.generation || s.t.Failed() {
		s.t.Fatalf("%s, Service app has generation %d, want %d", when, got, s.generation)
	}
}

// checkUsers checks the creator and the last modifier of Service app that Knative
// recorded.
func (n *tenant) checkUsers(creator, lastModifier string) {
	n.t.Helper()
	annotations := n.get("app").GetAnnotations()
	for key, want := range map[string]string{"serving.knative.dev/creator": creator, "serving.knative.dev/lastModifier": lastModifier} {
		if got := annotations[key]; got != want {
			n.t.Errorf("Service app has %s %q, want %q", key, got, want)
		}
	}
}

// container returns the container of the Service app.
func container(p *person, version string) map[string]any {
	return map[string]any{
		"image": image(p.t, p.Env, "IMAGE_BY_DIGEST"),
		"env":   []any{map[string]any{"name": "VERSION", "value": version}},
	}
}

// manifest returns the manifest of the Service app as kept in Git. It has a list unless
// own is nil.
func manifest(p *person, own []string, version string) []byte {
	p.t.Helper()
	spec := map[string]any{"containers": []any{container(p, version)}}
	if own != nil {
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
	list := []any{}
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

// kubectlReplace replaces the Service by the output of "kubectl get" from before the
// injection.
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

// insist retries a program on conflicts: some give up, and Knative's controller keeps
// updating the status of a new Service.
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

// helmUpgrade is what helm upgrade does with a custom resource: a merge patch of the
// difference between the old and the new chart, and no request if there is none.
func helmUpgrade(p *person, version string) {
	p.t.Helper()
	services := p.services()
	if _, err := services.Get(p.t.Context(), "app", metav1.GetOptions{}); apierrors.IsNotFound(err) {
		p.run(manifest(p, []string{"own"}, version), "kubectl", "create", "-f", "-")
		return
	}
	var charts [2][]byte
	for i, v := range []string{first, version} {
		var err error
		if charts[i], err = yaml.YAMLToJSON(manifest(p, []string{"own"}, v)); err != nil {
			p.t.Fatal(err)
		}
	}
	patch, err := jsonpatch.CreateMergePatch(charts[0], charts[1])
	if err == nil && string(patch) != "{}" {
		_, err = services.Patch(p.t.Context(), "app", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "helm"})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// services returns the person's client for Services of the namespace.
func (p *person) services() servingclient.ServiceInterface {
	p.t.Helper()
	return p.client().Serving.ServingV1().Services(p.ns)
}
