// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func inServices(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{Services: true} }

func elsewhere(cps *v1alpha1.ClusterPullSecret) {
	cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
}

func loseSource(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkSourceNotFound(cps.Spec.SecretRef) }

func holds(registries ...string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = registries }
}

// There are these Secrets in the namespace, whoever made them.
func there(names ...string) map[string]any {
	secrets := fakeSecrets{}
	for _, name := range names {
		secrets[ns+"/"+name] = corev1.SecretTypeDockerConfigJson
	}
	return map[string]any{"secrets": secrets}
}

// TestGrants is about what ClusterPullSecrets bring to Services.
func TestGrants(t *testing.T) {
	const key = ns + "/app"
	all, safe := with(config.BackfillAll, 0), with(config.BackfillSafe, 0)
	auto, failed := WithAnnotation("pullsecrets.dev/inject", "auto"), WithConfigurationsReady(corev1.ConditionFalse)
	wants := WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr")
	now := time.Now().Truncate(time.Second)
	written := func(ledger, list string) string {
		return `{"metadata":{"annotations":{"pullsecrets.dev/added":"` + ledger + `"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":` + list + `}}}}`
	}
	granted := patch(written(`{\"ghcr\":\"clusterpullsecret/ghcr\"}`, `[{"name":"ghcr"}]`))
	declared := patch(written(`{\"ghcr\":\"namespace\"}`, `[{"name":"ghcr"}]`))
	const addedGranted, addedDeclared = "Normal SecretsAdded Added pull secrets ghcr (clusterpullsecret/ghcr)", "Normal SecretsAdded Added pull secrets ghcr (namespace)"
	const notGranted = "Warning NotGranted No ClusterPullSecret grants namespace team the declared pull secrets ghcr; have the namespace selected, create Secrets with these names, or correct the annotation"

	knativetesting.TableTest{
		{
			Name: "always: the copy is there",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices)},
			OtherTestData: there("ghcr"), WantPatches: granted, WantEvents: []string{addedGranted},
		},
		{
			Name:    "always: the copy is not there yet, so nothing is written, and nothing told",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices)},
			OtherTestData: there(),
		},
		{
			Name:    "always: the copy cannot be made",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices, loseSource)},
			OtherTestData: there(),
			WantEvents:    []string{"Warning SecretMissing No copy in namespace team yet: ghcr (clusterpullsecret/ghcr); the copy is created when the source of its ClusterPullSecret is ready"},
		},
		{
			Name:    "always: other names wait with it, to come in one Revision",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n"), ClusterPullSecret("ghcr", inServices)},
			OtherTestData: there("n"),
		},
		{
			Name:    "always: a name whose copy cannot be made holds up no other",
			WantErr: true, // It is reconciled again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n"), ClusterPullSecret("ghcr", inServices, loseSource)},
			OtherTestData: there("n"),
			WantPatches:   patch(written(`{\"n\":\"namespace\"}`, `[{"name":"n"}]`)),
			WantEvents: []string{
				"Normal SecretsAdded Added pull secrets n (namespace)",
				"Warning SecretMissing No copy in namespace team yet: ghcr (clusterpullsecret/ghcr); the copy is created when the source of its ClusterPullSecret is ready",
			},
		},
		{
			Name:    "a carried entry has the name of a copy that is not there yet",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n"), ClusterPullSecret("ghcr"), ServiceAccount(ns, "default", nil, "ghcr")},
			OtherTestData: there("n"),
		},
		{
			Name: "always: whether the copy is there cannot be found out",
			Key:  key, Ctx: all, WantErr: true,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices)},
			OtherTestData: map[string]any{"secrets": fakeSecrets{ns + "/ghcr": ""}},
			WantEvents:    []string{"Warning InternalError failed to read the copies [ghcr] in namespace team: the API server is unavailable"},
		},
		{
			Name:    "always: a Service with a tag that is Ready waits as ever",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: safe,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices)},
			OtherTestData: there(),
			WantEvents: []string{
				"Normal BackfillDeferred Adding pull secrets ghcr (clusterpullsecret/ghcr) is deferred until the next change of the template: its images are given by tag, and a Revision now could run other code than was deployed; to get it now, annotate the Service itself with pullsecrets.dev/inject: auto, because declared excludes what ClusterPullSecrets declare",
			},
		},
		{
			Name: "always: what is declared for the list already would leave with declared",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("ghcr"), WithAnnotation(pullsecrets.AddedAnnotation, `{"ghcr":"clusterpullsecret/ghcr"}`)),
				declares("n"), ClusterPullSecret("ghcr", inServices),
			},
			OtherTestData: there("ghcr", "n"),
			WantEvents: []string{
				"Normal BackfillDeferred Adding pull secrets n (namespace) is deferred until the next change of the template: its images are given by tag, and a Revision now could run other code than was deployed; to get it now, annotate the Service itself with pullsecrets.dev/inject: auto, because declared excludes what ClusterPullSecrets declare",
			},
		},
		{
			Name: "always: the ServiceAccount's entries are carried",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices), ServiceAccount(ns, "default", nil, "sa")},
			OtherTestData: there("ghcr"),
			WantPatches:   patch(written(`{\"ghcr\":\"clusterpullsecret/ghcr\",\"sa\":\"serviceaccount/default\"}`, `[{"name":"ghcr"},{"name":"sa"}]`)),
			WantEvents:    []string{"Normal SecretsAdded Added pull secrets ghcr (clusterpullsecret/ghcr), sa (serviceaccount/default)"},
		},
		{
			Name: "always for copies alone is nothing for Services",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{} })},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "always where the namespace is not selected",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices, elsewhere)},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "always no more: the entry stays until the next change",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("ghcr"), WithAnnotation("pullsecrets.dev/added", `{"ghcr":"clusterpullsecret/ghcr"}`)),
				Namespace(ns), ClusterPullSecret("ghcr"),
			},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "auto: what covers an image, of an init container too",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{
				Service(ns, "app", auto, failed, func(svc *servingv1.Service) {
					svc.Spec.Template.Spec.InitContainers = []corev1.Container{{Image: "quay.io/acme/setup:v1"}}
				}),
				Namespace(ns), ClusterPullSecret("quay", holds("quay.io")), ClusterPullSecret("ghcr", holds("ghcr.io")), ClusterPullSecret("other", holds("gcr.io")),
			},
			OtherTestData: there("ghcr", "quay", "other"),
			WantPatches:   patch(written(`{\"ghcr\":\"clusterpullsecret/ghcr\",\"quay\":\"clusterpullsecret/quay\"}`, `[{"name":"ghcr"},{"name":"quay"}]`)),
			WantEvents:    []string{"Normal SecretsAdded Added pull secrets ghcr (clusterpullsecret/ghcr), quay (clusterpullsecret/quay)"},
		},
		{
			Name: "auto: what covers the queue-proxy's image",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{Service(ns, "app", auto, failed), Namespace(ns), ClusterPullSecret("ghcr", holds("ghcr.io")), ClusterPullSecret("quay", holds("quay.io"))},
			OtherTestData: map[string]any{
				"secrets": there("ghcr", "quay")["secrets"], "images": grant.ImageSettings{QueueProxy: "quay.io/mirror/queue"},
			},
			WantPatches: patch(written(`{\"ghcr\":\"clusterpullsecret/ghcr\",\"quay\":\"clusterpullsecret/quay\"}`, `[{"name":"ghcr"},{"name":"quay"}]`)),
			WantEvents:  []string{"Normal SecretsAdded Added pull secrets ghcr (clusterpullsecret/ghcr), quay (clusterpullsecret/quay)"},
		},
		{
			Name: "auto: another queue-proxy makes no Revision of a Service that is Ready",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", auto), Namespace(ns), ClusterPullSecret("quay", holds("quay.io"))},
			OtherTestData: map[string]any{
				"secrets": there("quay")["secrets"], "images": grant.ImageSettings{QueueProxy: "quay.io/mirror/queue"},
			},
		},
		{
			Name: "auto on the Namespace",
			Key:  key, Ctx: safe,
			Objects:       []runtime.Object{Service(ns, "app", failed), Namespace(ns, WithNamespaceAnnotation("pullsecrets.dev/inject", "auto")), ClusterPullSecret("ghcr", holds("ghcr.io"))},
			OtherTestData: there("ghcr"), WantPatches: granted, WantEvents: []string{addedGranted},
		},
		{
			Name:    "auto: the copy is not there yet",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: safe,
			Objects:       []runtime.Object{Service(ns, "app", auto, failed), Namespace(ns), ClusterPullSecret("ghcr", holds("ghcr.io"))},
			OtherTestData: there(),
		},
		{
			Name: "auto makes no Revision of a Service that is Ready",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app", auto), Namespace(ns), ClusterPullSecret("ghcr", holds("ghcr.io"))},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "declared on the Service: neither auto nor always",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithAnnotation("pullsecrets.dev/inject", "declared"), failed),
				Namespace(ns, WithNamespaceAnnotation("pullsecrets.dev/inject", "auto")), ClusterPullSecret("ghcr", inServices, holds("ghcr.io")),
			},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "disabled: neither",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", auto, failed), Namespace(ns, wants, WithNamespaceAnnotation("pullsecrets.dev/inject", "disabled")),
				ClusterPullSecret("ghcr", inServices, holds("ghcr.io")),
			},
			OtherTestData: there("ghcr"),
		},
		{
			Name: "an invalid value: neither",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", failed), Namespace(ns, WithNamespaceAnnotation("pullsecrets.dev/inject", "Auto")), ClusterPullSecret("ghcr", inServices, holds("ghcr.io")),
			},
			OtherTestData: there("ghcr"),
		},
		{
			Name:    "a declared name that is served: the copy is not there yet",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr")},
			OtherTestData: there(),
		},
		{
			Name: "a declared name that is served: the copy is there, or a Secret of the user's under its name",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr")},
			OtherTestData: there("ghcr"), WantPatches: declared, WantEvents: []string{addedDeclared},
		},
		{
			Name:    "a Secret of the user's of another type under its name",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr")},
			OtherTestData: map[string]any{"secrets": fakeSecrets{ns + "/ghcr": "Opaque"}}, WantPatches: declared,
			WantEvents: []string{
				addedDeclared,
				`Warning SecretWrongType Secrets in namespace team cannot be used as pull secrets: ghcr (type "Opaque"); the type must be kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg`,
			},
		},
		{
			Name:    "a declared name that is the source itself goes in whether it exists or not",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
				cps.Spec.SecretRef.Namespace = ns
			})},
			OtherTestData: there(), WantPatches: declared,
			WantEvents: []string{addedDeclared, "Warning SecretMissing Pull secrets not found in namespace team: ghcr; create them, or correct the annotation that declares them"},
		},
		{
			Name:    "a declared name that is not granted goes in, and that is told",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr", elsewhere)},
			OtherTestData: there(), WantPatches: declared, WantEvents: []string{addedDeclared, notGranted},
		},
		{
			Name: "a declared name that is not granted, and is the user's own",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns, wants), ClusterPullSecret("ghcr", elsewhere)},
			OtherTestData: there("ghcr"), WantPatches: declared, WantEvents: []string{addedDeclared},
		},
		{
			Name:    "a declared name that is no longer granted is reported on a Ready Service too",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("ghcr"), WithAnnotation("pullsecrets.dev/added", `{"ghcr":"namespace"}`)), Namespace(ns, wants), ClusterPullSecret("ghcr", elsewhere),
			},
			OtherTestData: there(), WantEvents: []string{notGranted},
		},
		{
			Name: "no longer paused: the ClusterPullSecret changed after that",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), Namespace(ns, WithNamespaceWrite(now)),
				ClusterPullSecret("ghcr", inServices, func(cps *v1alpha1.ClusterPullSecret) {
					cps.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: new(metav1.NewTime(now.Add(time.Second)))}}
				}),
				Service(ns, "victim", WithAnnotation(serving.UpdaterAnnotation, user), failed, WithWrite(now)),
			},
			OtherTestData: there("ghcr"), WantPatches: granted, WantEvents: []string{addedGranted},
		},
		{
			Name: "still paused: only its status changed after that",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), Namespace(ns, WithNamespaceWrite(now)),
				ClusterPullSecret("ghcr", inServices, func(cps *v1alpha1.ClusterPullSecret) {
					cps.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "controller", Subresource: "status", Time: new(metav1.NewTime(now.Add(time.Second)))}}
				}),
				Service(ns, "victim", WithAnnotation(serving.UpdaterAnnotation, user), failed, WithWrite(now)),
			},
			OtherTestData: there("ghcr"),
			WantEvents: []string{
				"Warning BackfillPaused The Revision that adds pull secrets to Service victim is not Ready; backfill in namespace team resumes when it is Ready or when the Namespace or its ClusterPullSecrets change",
			},
		},
	}.Test(t, factory())
}

// A Service that waits for a copy does not delay others. It continues when the copy exists,
// or a Secret of the user's under that name, which is no event.
func TestWaitingForACopy(t *testing.T) {
	secrets, other := fakeSecrets{}, types.NamespacedName{Namespace: ns, Name: "other"}
	var r *Reconciler
	row := knativetesting.TableRow{
		Key: ns + "/app", Ctx: with(config.BackfillAll, 1),
		Objects:       []runtime.Object{Service(ns, "app"), Namespace(ns), ClusterPullSecret("ghcr", inServices)},
		OtherTestData: map[string]any{"secrets": secrets, "prepare": func(made *Reconciler) { r = made }},
	}
	c, actions, _ := factory()(t, &row)
	reconcile := func(want int) {
		t.Helper()
		err := c.Reconcile(row.Ctx, row.Key)
		if again, after := controller.IsRequeueKey(err); again != (want == 0) || again && after != recheckAfter || !again && err != nil {
			t.Fatalf("Reconcile() = %v, requeued: %t after %s; want it after %s until the copy exists", err, again, after, recheckAfter)
		}
		all, err := actions.ActionsByVerb()
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Patches) != want {
			t.Fatalf("%d patches, want %d", len(all.Patches), want)
		}
	}
	reconcile(0)
	if !r.backfill.ask(other, false, 1) {
		t.Error("a Service that waits for a copy has taken the turn of another one")
	}
	r.backfill.done(other, false)
	secrets[ns+"/ghcr"] = corev1.SecretTypeDockerConfigJson
	reconcile(1)
}

func TestGrantsOtherwise(t *testing.T) {
	was := ClusterPullSecret("ghcr")
	for _, test := range []struct {
		reason string
		edit   func(*v1alpha1.ClusterPullSecret)
		want   bool
	}{
		{"nothing", func(*v1alpha1.ClusterPullSecret) {}, false},
		{"counts", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Namespaces = &v1alpha1.NamespaceCounts{Synced: 1} }, false},
		{"a new version of the source", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Source.ResourceVersion = "8" }, false},
		{"the selector", elsewhere, true},
		{"always", inServices, true},
		{"registries", holds("ghcr.io"), true},
		{"the source is lost", loseSource, true},
		{"deletion", func(cps *v1alpha1.ClusterPullSecret) { cps.DeletionTimestamp = new(metav1.Now()) }, true},
	} {
		is := was.DeepCopy()
		test.edit(is)
		if got := grantChanged(was, is); got != test.want {
			t.Errorf("%s: grantChanged() = %t, want %t", test.reason, got, test.want)
		}
	}
}

// One read of the Secrets of a namespace answers all that a Service asks in one look:
// one that waits for a copy is looked at as seldom as it asks for, and is told what is
// missing beside it.
func TestWaitingForACopyAsksOnce(t *testing.T) {
	var views *secretViews
	reads := 0
	row := knativetesting.TableRow{
		Key: ns + "/app", Ctx: with(config.BackfillAll, 1),
		Objects: []runtime.Object{Service(ns, "app"), declares("own"), ClusterPullSecret("ghcr", inServices)},
		OtherTestData: map[string]any{"prepare": func(r *Reconciler) {
			views = newSecretViews(&memory.Memory{}, func(context.Context, string) (map[string]corev1.SecretType, error) {
				reads++
				return map[string]corev1.SecretType{}, nil
			})
			r.secrets = views
		}},
	}
	c, _, _ := factory()(t, &row)
	for round := range 3 {
		reads = 0
		again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, row.Key))
		if !again || after != recheckAfter || reads != 1 {
			t.Errorf("round %d: requeued %v after %s with %d reads, want after %s with 1", round, again, after, reads, recheckAfter)
		}
		// The next read is due.
		views.views[ns].next = views.views[ns].began
	}
}
