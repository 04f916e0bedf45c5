// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// The webhook receives every Service of the cluster, so it has minimal rights: a
// compromised webhook could read its own certificate but no credential, and could write
// no user's object.
func TestWebhookHasMinimalRights(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.apply("secrets.yaml")
	n.apply("by-digest.yaml")
	webhook, err := n.As(webhookUser, "system:serviceaccounts", "system:serviceaccounts:"+pullsecrets.SystemNamespace, "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	const certificate = "pullsecrets-webhook-certs"
	ctx, secrets := t.Context(), webhook.Kube.CoreV1().Secrets
	only := metav1.ListOptions{FieldSelector: "metadata.name=" + certificate}
	if _, err := secrets(pullsecrets.SystemNamespace).Get(ctx, certificate, metav1.GetOptions{}); err != nil {
		t.Errorf("read its own certificate: %v", err)
	}
	if _, err := secrets(pullsecrets.SystemNamespace).List(ctx, only); err != nil {
		t.Errorf("list its own certificate: %v", err)
	}
	forbidden := func(what string, err error) {
		t.Helper()
		if !apierrors.IsForbidden(err) {
			t.Errorf("As the webhook, %s: %v; want it forbidden", what, err)
		}
	}
	for _, namespace := range []string{n.ns, pullsecrets.SourcesNamespace, pullsecrets.SystemNamespace, "knative-serving", "kube-system", metav1.NamespaceAll} {
		if namespace != metav1.NamespaceAll {
			_, err := secrets(namespace).Get(ctx, "ghcr", metav1.GetOptions{})
			forbidden("reading a Secret in "+namespace, err)
		}
		_, err := secrets(namespace).List(ctx, metav1.ListOptions{})
		forbidden("listing Secrets in "+namespace, err)
		_, err = secrets(namespace).Watch(ctx, metav1.ListOptions{})
		forbidden("watching Secrets in "+namespace, err)
		if namespace != pullsecrets.SystemNamespace {
			_, err = secrets(namespace).List(ctx, only)
			forbidden("listing Secrets of that name in "+namespace, err)
		}
	}
	n.checkWritesForbidden(webhook, forbidden)
}

// checkWritesForbidden tries to write objects of others. All attempts are dry runs, so
// that one that succeeds does no harm.
func (n *tenant) checkWritesForbidden(webhook *env.Env, forbidden func(string, error)) {
	n.t.Helper()
	patch := metav1.PatchOptions{DryRun: dryRun}
	for _, object := range []struct {
		group, version, resource, namespace, name string
	}{
		{"serving.knative.dev", "v1", "services", n.ns, "app"},
		{"serving.knative.dev", "v1", "revisions", n.ns, "app-00001"},
		{"", "v1", "namespaces", "", n.ns},
		{"", "v1", "namespaces", "", pullsecrets.SystemNamespace},
		{"", "v1", "serviceaccounts", n.ns, "default"},
		{"", "v1", "serviceaccounts", pullsecrets.SystemNamespace, "controller"},
		{"", "v1", "secrets", n.ns, "ghcr"},
		{"", "v1", "secrets", pullsecrets.SystemNamespace, "another"},
		{"", "v1", "configmaps", pullsecrets.SystemNamespace, settingsName},
		{"admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "", "webhook.serving.knative.dev"},
		{"admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "", "validation.webhook.serving.knative.dev"},
		{"rbac.authorization.k8s.io", "v1", "clusterroles", "", "pullsecrets-webhook"},
		{"rbac.authorization.k8s.io", "v1", "roles", pullsecrets.SystemNamespace, "webhook"},
		{pullsecrets.GroupName, "v1alpha1", "clusterpullsecrets", "", "any"},
	} {
		gvr := schema.GroupVersionResource{Group: object.group, Version: object.version, Resource: object.resource}
		var client dynamic.ResourceInterface = webhook.Dynamic.Resource(gvr)
		if object.namespace != "" {
			client = webhook.Dynamic.Resource(gvr).Namespace(object.namespace)
		}
		what := fmt.Sprintf("%s %s/%s", object.resource, object.namespace, object.name)
		whole := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": object.name}}}
		whole.SetGroupVersionKind(gvr.GroupVersion().WithKind("Any"))
		_, err := client.Create(n.t.Context(), whole, metav1.CreateOptions{DryRun: dryRun})
		forbidden("creating "+what, err)
		_, err = client.Update(n.t.Context(), whole, metav1.UpdateOptions{DryRun: dryRun})
		forbidden("updating "+what, err)
		_, err = client.Patch(n.t.Context(), object.name, types.MergePatchType, encode(labelled("x")), patch)
		forbidden("patching "+what, err)
		forbidden("deleting "+what, client.Delete(n.t.Context(), object.name, metav1.DeleteOptions{DryRun: dryRun}))
	}
	_, err := webhook.Kube.CoreV1().ServiceAccounts(pullsecrets.SystemNamespace).
		Patch(n.t.Context(), "webhook", types.MergePatchType, encode(labelled("x")), patch, "token")
	forbidden("making a token of its own", err)
	// It may write only the CA bundle of its own configurations.
	own := webhook.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	patchOwn := func(fields string) error {
		_, err := own.Patch(n.t.Context(), injectWebhook, types.StrategicMergePatchType,
			[]byte(`{"webhooks":[{"name":"inject.pullsecrets.dev",`+fields+`}]}`), patch)
		return err
	}
	if err := patchOwn(`"clientConfig":{"caBundle":null}`); err != nil {
		n.t.Errorf("write the bundle of its own configuration: %v", err)
	}
	for _, fields := range []string{
		`"clientConfig":{"service":{"name":"another"}}`,
		`"rules":[{"apiGroups":["*"],"apiVersions":["*"],"resources":["*"],"operations":["*"]}]`,
		`"failurePolicy":"Fail"`, `"namespaceSelector":{"matchLabels":{"x":"y"}}`, `"matchConditions":[{"name":"x","expression":"false"}]`,
	} {
		forbidden("writing "+fields+" into its own configuration", patchOwn(fields))
	}
	for name, resource := range map[string]string{
		injectWebhook: "mutatingwebhookconfigurations", bindWebhook: "mutatingwebhookconfigurations",
		"defaulting.pullsecrets.dev": "mutatingwebhookconfigurations",
		"validation.pullsecrets.dev": "validatingwebhookconfigurations", "config.pullsecrets.dev": "validatingwebhookconfigurations",
	} {
		client := webhook.Dynamic.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource})
		_, err := client.Patch(n.t.Context(), name, types.JSONPatchType, []byte(`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":7}]`), patch)
		forbidden("changing the timeout of "+name, err)
	}
	leases := webhook.Kube.CoordinationV1().Leases(pullsecrets.SystemNamespace)
	for name, allowed := range map[string]bool{"controller.x": false, "x": false, "pullsecrets-webhook.x": true} {
		_, err := leases.Create(n.t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: dryRun})
		if allowed && err != nil {
			n.t.Errorf("create a lease of its own: %v", err)
		}
		if !allowed {
			forbidden("creating the lease "+name, err)
		}
	}
	forbidden("deleting its own configuration", own.Delete(n.t.Context(), injectWebhook, metav1.DeleteOptions{DryRun: dryRun}))
}
