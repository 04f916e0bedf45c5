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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// imageHere is the image of testdata by digest; imageElsewhere is one in another
// registry.
func imageHere(t *testing.T) string {
	t.Helper()
	return image(t, env.Get(t), "IMAGE_BY_DIGEST")
}

func imageElsewhere(t *testing.T) string {
	t.Helper()
	e := env.Get(t)
	if e.Kind == env.Local || e.Registries == nil {
		return "elsewhere.example.net/acme/helper@sha256:" + strings.Repeat("1", 64)
	}
	_, byDigest, err := e.Registries.Other.PublicImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return byDigest
}

// covering returns platforms, one for each image, that grant a credential for its
// registry to the Namespaces of the first, sorted by name.
func covering(t *testing.T, images ...string) []*platform {
	t.Helper()
	var all []*platform
	for range images {
		all = append(all, barePlatform(t))
	}
	slices.SortFunc(all, func(a, b *platform) int { return strings.Compare(a.name, b.name) })
	for i, p := range all {
		p.covers(images[i])
		p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
			spec.NamespaceSelector.MatchLabels = map[string]string{teamLabel: all[0].name}
		})
		p.waitForStatus("its registry", func(c *v1alpha1.ClusterPullSecret) bool { return slices.Equal(c.Status.Registries, []string{p.host}) })
	}
	return all
}

// running is an edit that sets the images of the serving container, a sidecar and an init
// container. An empty image is skipped.
func running(serving, sidecar, initial string) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		containers := []any{map[string]any{"name": "serving", "image": serving, "ports": []any{map[string]any{"containerPort": int64(8080)}}}}
		if sidecar != "" {
			containers = append(containers, map[string]any{"name": "sidecar", "image": sidecar})
		}
		spec := map[string]any{"containers": containers}
		if initial != "" {
			// With an argument, the image of the cluster's registries exits immediately.
			spec["initContainers"] = []any{map[string]any{"name": "initial", "image": initial, "args": []any{"end"}}}
		}
		if err := unstructured.SetNestedMap(object.Object, spec, "spec", "template", "spec"); err != nil {
			panic(err)
		}
	}
}

// allowFeature enables a Pod field in Knative until the test ends.
func allowFeature(t *testing.T, e *env.Env, feature string) {
	t.Helper()
	set := func(ctx context.Context, value any) {
		_, err := e.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-features", "application/merge-patch+json",
			encode(map[string]any{"data": map[string]any{feature: value}}), metav1.PatchOptions{FieldManager: user})
		if err != nil {
			t.Error("update Knative's settings: ", err)
		}
	}
	set(t.Context(), "enabled")
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), nil) })
}

// With inject: auto the images of all containers count, including sidecars and init
// containers. When an image changes, its credential is added in the same request, so that
// there is one new Revision and not two.
func TestAutoCoversEveryContainer(t *testing.T) {
	t.Parallel()
	imageHere, imageElsewhere := imageHere(t), imageElsewhere(t)
	platforms := covering(t, imageHere, imageElsewhere)
	here, elsewhere := platforms[0].name, platforms[1].name
	n := newTenant(t, platforms[0].granted(), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	allowFeature(t, n.Env, "kubernetes.podspec-init-containers")
	n.waitForCopy(here, "one")
	n.waitForCopy(elsewhere, "one")
	eventually(t, func(context.Context) error { // Both webhooks have their own watches.
		a := n.askToCreate("by-digest.yaml", dryRun, running(imageHere, "", imageElsewhere))
		if a.err == nil && len(pullSecretsOf(a.object)) != 2 {
			return fmt.Errorf("a new Service gets %q", pullSecretsOf(a.object))
		}
		return a.err
	})
	for what, images := range map[string][3][2]string{
		"sidecar":        {{imageHere, imageHere}, {imageHere, imageElsewhere}},
		"init container": {{imageHere, imageHere}, {}, {imageHere, imageElsewhere}},
		"first sidecar":  {{imageHere, imageHere}, {"", imageElsewhere}},
	} {
		t.Run(what, func(t *testing.T) {
			name := strings.ReplaceAll(what, " ", "-")
			turn := func(i int) func(*unstructured.Unstructured) { return running(images[0][i], images[1][i], images[2][i]) }
			n.applyAs("by-digest.yaml", name, turn(0))
			n.checkList(name, here)
			n.waitForReady(name)
			n.applyAs("by-digest.yaml", name, turn(1))
			n.checkList(name, here, elsewhere)
			n.checkLedger(name, map[string]string{here: "clusterpullsecret/" + here, elsewhere: "clusterpullsecret/" + elsewhere})
			n.waitForReady(name)
			n.applyAs("by-digest.yaml", name, turn(0))
			n.checkList(name, here)
			n.waitForReady(name)
			n.checkRevisions(name, 3)
		})
	}

	// The controller covers them too, if admission did not.
	for name, images := range map[string][2]string{"unseen-sidecar": {imageElsewhere, ""}, "unseen-init": {"", imageElsewhere}} {
		n.applyAs("by-digest.yaml", name, unadmitted, annotated(pullsecrets.InjectAnnotation, "auto"), running(imageHere, images[0], images[1]))
		n.waitForList(name, here, elsewhere)
	}
}

// Two credentials for one registry are both injected, sorted by name, and Knative tries
// the first one first. Later changes do not reverse the order.
func TestTwoCredentialsForOneRegistryKeepTheirOrder(t *testing.T) {
	t.Parallel()
	platforms := covering(t, imageHere(t), imageHere(t))
	first, second := platforms[0], platforms[1]
	n := newTenant(t, first.granted(), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	n.waitForCopy(first.name, "one")
	n.waitForCopy(second.name, "one")
	n.waitUntilDeclared(first.name, second.name)
	n.apply("by-digest.yaml")
	n.checkList("app", first.name, second.name)
	n.waitForReady("app")

	second.rotate("two")
	n.waitForCopy(first.name, "one")
	n.waitForCopy(second.name, "two")
	second.patchGrant(map[string]any{"always": map[string]any{"services": true}}) // This layer precedes auto.
	n.waitUntilDeclared(second.name, first.name)
	n.patch("app", labelled("changed"))
	n.checkList("app", first.name, second.name)
	n.settle(second.name, first.name)
	n.checkList("app", first.name, second.name)
	n.checkRevisions("app", 1)
	n.patch("app", released())
	if got := n.list("app"); !slices.Contains(got, first.name) || !slices.Contains(got, second.name) || len(got) != 2 {
		t.Errorf("Service app has imagePullSecrets %q, want both", got)
	}
	n.waitForReady("app")
	n.checkRevisions("app", 2)
}
