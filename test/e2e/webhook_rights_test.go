// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// The webhook receives every Service of the cluster, so it has minimal rights: a
// compromised webhook could read its own certificate but no credential, and of all that the
// API server serves could write only this certificate, leases and its own configurations.
func TestWebhookHasMinimalRights(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.apply("secrets.yaml")
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
	n.checkLimitsOfWrites(webhook, forbidden)

	asked, want := writesOf(t, webhook), slices.Concat(ofEverybody, ofLeaders)
	for _, named := range []struct {
		group, resource, namespace string
		allowed, others            []string
	}{
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", "",
			[]string{injectWebhook, bindWebhook, "defaulting.pullsecrets.dev"}, []string{"webhook.serving.knative.dev"}},
		{"admissionregistration.k8s.io", "validatingwebhookconfigurations", "",
			[]string{"validation.pullsecrets.dev", "config.pullsecrets.dev"}, []string{"validation.webhook.serving.knative.dev"}},
		{"", "secrets", pullsecrets.SystemNamespace, []string{certificate}, []string{"another"}},
		{"", "secrets", pullsecrets.SourcesNamespace, nil, []string{certificate, "another"}},
		{"", "secrets", n.ns, nil, []string{certificate, "ghcr"}},
	} {
		for _, name := range slices.Concat(named.allowed, named.others) {
			for _, verb := range writeVerbs {
				right := authorizationv1.ResourceAttributes{
					Verb: verb, Group: named.group, Resource: named.resource, Namespace: named.namespace, Name: name,
				}
				asked = append(asked, right)
				if verb == "patch" && slices.Contains(named.allowed, name) {
					want = append(want, inWords(right))
				}
			}
		}
	}
	checkRights(t, webhook, asked, want)
}

// checkLimitsOfWrites tries what the rights allow and a policy rejects. All attempts are dry runs, so
// that one that succeeds does no harm.
func (n *tenant) checkLimitsOfWrites(webhook *env.Env, forbidden func(string, error)) {
	n.t.Helper()
	patch := metav1.PatchOptions{DryRun: dryRun}
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
	checkLeases(n.t, webhook, "pullsecrets-webhook.x", "controller.x", "x")
}

// checkLeases checks that a program can create a lease of its own, and none of these others.
func checkLeases(t *testing.T, program *env.Env, own string, others ...string) {
	t.Helper()
	create := func(name string) error {
		_, err := program.Kube.CoordinationV1().Leases(pullsecrets.SystemNamespace).
			Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
	if err := create(own); err != nil {
		t.Errorf("create a lease of its own: %v", err)
	}
	for _, name := range others {
		if err := create(name); !apierrors.IsForbidden(err) {
			t.Errorf("create the lease %s: %v; want it forbidden", name, err)
		}
	}
}
