// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// installed returns the objects of config/ as this cluster has them: on a local cluster,
// processes replace Deployments and their Services, and webhooks are called at a port.
// The bypass of this suite counts as part of the manifest.
func installed(t *testing.T, e *env.Env) []*unstructured.Unstructured {
	t.Helper()
	manifests := manifestsIn(t, filepath.Join("..", "..", "config"))
	if served, err := env.ServesMutatingPolicies(e.Kube.Discovery()); err != nil {
		t.Fatal(err)
	} else if served {
		manifests = append(manifests, manifestsIn(t, filepath.Join("..", "..", "config", "outage"))...)
	}
	var all []*unstructured.Unstructured
	for _, object := range manifests {
		switch object.GetKind() {
		case "Deployment", "Service", "HorizontalPodAutoscaler":
			continue
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			adapt(t, e, object)
		case "MutatingAdmissionPolicy":
			adaptPolicy(t, e, object)
		}
		all = append(all, object)
	}
	return all
}

// adapt sets the port and the bypass of a webhook configuration as on the cluster.
func adapt(t *testing.T, e *env.Env, object *unstructured.Unstructured) {
	t.Helper()
	webhooks, _, _ := unstructured.NestedSlice(object.Object, "webhooks")
	live, err := liveWebhooks(t.Context(), e, object)
	if err != nil {
		t.Fatal(err)
	}
	selector := []string{"namespaceSelector", "matchExpressions"}
	for i := range webhooks {
		webhook, theirs := webhooks[i].(map[string]any), live[i].(map[string]any)
		if port, found, _ := unstructured.NestedInt64(theirs, "clientConfig", "service", "port"); found {
			err = errors.Join(err, unstructured.SetNestedField(webhook, port, "clientConfig", "service", "port"))
		}
		expressions, _, _ := unstructured.NestedSlice(webhook, selector...)
		present, _, _ := unstructured.NestedSlice(theirs, selector...)
		for _, e := range present {
			if e.(map[string]any)["key"] == bypassLabel {
				err = errors.Join(err, unstructured.SetNestedSlice(webhook, append(expressions, e), selector...))
			}
		}
	}
	if err := errors.Join(err, unstructured.SetNestedSlice(object.Object, webhooks, "webhooks")); err != nil {
		t.Fatal(err)
	}
}

// adaptPolicy sets the bypass of a policy as on the cluster.
func adaptPolicy(t *testing.T, e *env.Env, object *unstructured.Unstructured) {
	t.Helper()
	live, err := e.Dynamic.Resource(policies).Get(t.Context(), object.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, selector := range []string{"namespaceSelector", "objectSelector"} {
		path := []string{"spec", "matchConstraints", selector, "matchExpressions"}
		present, found, err := unstructured.NestedSlice(live.Object, path...)
		if err == nil && found {
			err = unstructured.SetNestedSlice(object.Object, present, path...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func liveWebhooks(ctx context.Context, e *env.Env, object *unstructured.Unstructured) ([]any, error) {
	client, err := resource(e, object)
	if err != nil {
		return nil, err
	}
	current, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	webhooks, _, err := unstructured.NestedSlice(current.Object, "webhooks")
	return webhooks, err
}

func toYAML(objects ...*unstructured.Unstructured) []byte {
	var text strings.Builder
	for _, object := range objects {
		fmt.Fprintf(&text, "---\n%s\n", encode(object.Object))
	}
	return []byte(text.String())
}

// The installed objects equal the manifests, however often and with whichever tool these
// are applied: a GitOps tool that owns them finds no difference.
func TestInstallationDoesNotDrift(t *testing.T) {
	n := newTenant(t)
	alice := n.person("alice")
	objects := installed(t, n.Env)
	manifest := toYAML(objects...)
	forced := []string{"--server-side", "--force-conflicts", "--field-manager=gitops"}
	generations := func() map[string]int64 {
		found := map[string]int64{}
		for _, object := range objects {
			client, err := resource(n.Env, object)
			if err != nil {
				t.Fatal(err)
			}
			current, err := client.Get(t.Context(), object.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			found[object.GetKind()+"/"+object.GetName()] = current.GetGeneration()
		}
		return found
	}
	before := generations()
	for range 2 {
		if diff, err := alice.try(manifest, "kubectl", "diff", "-f", "-"); err != nil {
			t.Fatalf("kubectl diff: %v\n%s", err, diff)
		}
		alice.run(manifest, "kubectl", "apply", "-f", "-")
		alice.run(manifest, "kubectl", append([]string{"apply", "-f", "-"}, forced...)...)
		if diff, err := alice.try(manifest, "kubectl", append([]string{"diff", "-f", "-"}, forced...)...); err != nil {
			t.Fatalf("kubectl diff --server-side: %v\n%s", err, diff)
		}
	}
	if after := generations(); !maps.Equal(before, after) {
		t.Errorf("generations after applying the same manifests four times: %v, want %v", after, before)
	}
}

// An operator's additions to a webhook configuration are kept, even when its CA bundle is
// lost and written again. A matchCondition is kept even when the manifest is applied
// again.
func TestOperatorsMatchConditionsAreKept(t *testing.T) {
	n := newTenant(t)
	alice := n.person("alice")
	for _, object := range installed(t, n.Env) {
		if object.GetName() != bindWebhook {
			continue
		}
		t.Cleanup(func() {
			if err := apply(context.WithoutCancel(t.Context()), n.Env, object); err != nil {
				t.Error(err)
			}
		})
		client, err := resource(n.Env, object)
		if err != nil {
			t.Fatal(err)
		}
		change := fmt.Sprintf(`{"webhooks":[{"name":%q,"matchConditions":[{"name":"theirs","expression":"true"}],"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":%q}}}]}`, bindWebhook, n.ns)
		patch := func(kind types.PatchType, text string) {
			t.Helper()
			_, err := n.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), bindWebhook, kind, []byte(text), metav1.PatchOptions{FieldManager: user})
			if err != nil {
				t.Fatal(err)
			}
		}
		healed := func(want func(webhook map[string]any) error) {
			t.Helper()
			eventually(t, func(ctx context.Context) error {
				current, err := client.Get(ctx, bindWebhook, metav1.GetOptions{})
				if err != nil {
					return err
				}
				webhooks, _, _ := unstructured.NestedSlice(current.Object, "webhooks")
				webhook := webhooks[0].(map[string]any)
				if bundle, _, _ := unstructured.NestedString(webhook, "clientConfig", "caBundle"); bundle == "" {
					return fmt.Errorf("%s has no bundle", bindWebhook)
				}
				return want(webhook)
			})
		}
		has := func(path ...string) func(map[string]any) error {
			return func(webhook map[string]any) error {
				if value, found, _ := unstructured.NestedFieldNoCopy(webhook, path...); !found || value == nil {
					return fmt.Errorf("%s has lost %q", bindWebhook, path)
				}
				return nil
			}
		}
		patch(types.StrategicMergePatchType, change)
		patch(types.JSONPatchType, `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
		healed(has("namespaceSelector", "matchLabels"))
		healed(has("matchConditions"))
		alice.run(toYAML(object), "kubectl", "apply", "-f", "-")
		healed(has("matchConditions"))
		alice.run(toYAML(object), "kubectl", "replace", "-f", "-")
		healed(has("namespaceSelector", "matchExpressions"))
	}
}

// The controller and the webhook start without their ConfigMap. It can then be created,
// and is validated, whether or not the webhook is running.
func TestProgramsStartWithoutSettings(t *testing.T) {
	e := env.Get(t)
	e.Need(t, env.ProgramControl)
	settings := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace)
	before, err := settings.Get(t.Context(), settingsName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	restore := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: before.Name, Labels: before.Labels, Annotations: before.Annotations}, Data: before.Data}
	if err := settings.Delete(t.Context(), settingsName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"webhook", "controller"} {
		if err := e.Processes.Restart(t.Context(), program, nil); err != nil {
			t.Errorf("%s does not start without %s: %v", program, settingsName, err)
		}
	}
	if err := e.Processes.Stop(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	if _, err := settings.Create(t.Context(), restore, metav1.CreateOptions{FieldManager: user}); err != nil {
		t.Errorf("write %s while the webhook is down: %v", settingsName, err)
	}
	if err := e.Processes.Start(t.Context(), "webhook", nil); err != nil {
		t.Fatal(err)
	}
}
