// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// RBAC allows the controller to write Secrets, ServiceAccounts and Services. The policies
// ensure that even a compromised controller can change no Secret of a user and only the
// pull secrets of other objects. All attempts are dry runs as the controller, so that one
// that succeeds does no harm.
func TestPoliciesLimitTheController(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted(), optedIn(p.name))
	p.grant()
	n.apply("secrets.yaml")
	n.apply("by-digest.yaml")
	n.waitForCopy(p.name, "one")
	controller, err := n.AsServiceAccount(t.Context(), pullsecrets.SystemNamespace, "controller")
	if err != nil {
		t.Fatal(err)
	}
	a := attempts{tenant: n, as: controller}
	// The API server applies policies a moment after they are created.
	eventually(t, func(context.Context) error {
		return a.rejected(a.patch("secrets", "good", types.MergePatchType, `{"data":{"x":"eA=="}}`))
	})
	a.secrets(p.name)
	a.services()
	a.serviceAccounts()
	a.clusterPullSecrets(p.name)
	n.waitForReady("app")
	a.checkRejected("deleting a Revision that is Ready", a.deleteRevision("app-00001"))
}

// attempts are requests as another user than the tenant.
type attempts struct {
	*tenant
	as *env.Env
}

func (a attempts) resource(name string) dynamic.ResourceInterface {
	switch name {
	case "services":
		return a.as.Dynamic.Resource(services).Namespace(a.ns)
	case "clusterpullsecrets":
		return a.as.Dynamic.Resource(schema.GroupVersionResource{Group: pullsecrets.GroupName, Version: "v1alpha1", Resource: name})
	}
	return a.as.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: name}).Namespace(a.ns)
}

func (a attempts) patch(resource, name string, kind types.PatchType, patch string) error {
	_, err := a.resource(resource).Patch(a.t.Context(), name, kind, []byte(patch), metav1.PatchOptions{DryRun: dryRun})
	return err
}

func (a attempts) create(secret *corev1.Secret) error {
	_, err := a.as.Kube.CoreV1().Secrets(a.ns).Create(a.t.Context(), secret, metav1.CreateOptions{DryRun: dryRun})
	return err
}

func (a attempts) delete(secret string) error {
	return a.as.Kube.CoreV1().Secrets(a.ns).Delete(a.t.Context(), secret, metav1.DeleteOptions{DryRun: dryRun})
}

func (a attempts) deleteRevision(name string) error {
	return a.as.Serving.ServingV1().Revisions(a.ns).Delete(a.t.Context(), name, metav1.DeleteOptions{DryRun: dryRun})
}

// rejected returns an error unless the response is a rejection by our policy.
func (a attempts) rejected(err error) error {
	if err == nil {
		return fmt.Errorf("it was accepted")
	}
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") || !strings.Contains(err.Error(), "the controller of pullsecrets") {
		return fmt.Errorf("it was rejected by something else: %w", err)
	}
	return nil
}

func (a attempts) checkRejected(what string, err error) {
	a.t.Helper()
	if wrong := a.rejected(err); wrong != nil {
		a.t.Errorf("As the controller, %s: %v; want it rejected by the policy", what, wrong)
	}
}

// rejectedBecause is rejected by a validation whose message has this text.
func (a attempts) rejectedBecause(text string, err error) error {
	if wrong := a.rejected(err); wrong != nil {
		return wrong
	}
	if !strings.Contains(err.Error(), text) {
		return fmt.Errorf("it was rejected by another validation: %w", err)
	}
	return nil
}

func (a attempts) checkRejectedBecause(text, what string, err error) {
	a.t.Helper()
	if wrong := a.rejectedBecause(text, err); wrong != nil {
		a.t.Errorf("As the controller, %s: %v; want a rejection that says %q", what, wrong, text)
	}
}

func (a attempts) checkAllowed(what string, err error) {
	a.t.Helper()
	if err != nil {
		a.t.Errorf("As the controller, %s: %v; want it accepted", what, err)
	}
}

func (a attempts) secrets(copied string) {
	labelled := func(name string, edits ...func(*corev1.Secret)) *corev1.Secret {
		secret := pullSecret(name, "registry.example.com", "x")
		secret.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: copied}
		for _, edit := range edits {
			edit(secret)
		}
		return secret
	}
	a.checkAllowed("creating a copy", a.create(labelled("another")))
	a.checkAllowed("deleting a copy", a.delete(copied))
	unlabel := fmt.Sprintf(`{"metadata":{"labels":{%q:null,%q:null},"annotations":{"x":null}}%%s}`, pullsecrets.ManagedByLabel, pullsecrets.ClusterPullSecretLabel)
	a.checkAllowed("releasing a copy", a.patch("secrets", copied, types.MergePatchType, fmt.Sprintf(unlabel, "")))
	a.checkAllowed("removing the finalizers of a copy", a.patch("secrets", copied, types.MergePatchType, `{"metadata":{"finalizers":null}}`))

	a.checkRejected("changing the data of a Secret while removing its labels", a.patch("secrets", copied, types.MergePatchType, fmt.Sprintf(unlabel, `,"data":{".dockerconfigjson":"e30="}`)))
	a.checkRejected("adding to the data of a copy", a.patch("secrets", copied, types.MergePatchType, `{"data":{"x":"eA=="}}`))
	a.checkRejected("deleting a user's Secret", a.delete("good"))
	a.checkRejected("adopting a user's Secret", a.patch("secrets", "good", types.MergePatchType,
		fmt.Sprintf(`{"metadata":{"labels":{%q:%q,%q:%q}}}`, pullsecrets.ManagedByLabel, pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel, copied)))
	a.checkRejected("labelling a user's Secret", a.patch("secrets", "good", types.MergePatchType, `{"metadata":{"labels":{"x":"y"}}}`))
	for what, spoil := range map[string]func(*corev1.Secret){
		"no labels":                func(s *corev1.Secret) { s.Labels = nil },
		"no label managed-by":      func(s *corev1.Secret) { delete(s.Labels, pullsecrets.ManagedByLabel) },
		"another manager":          func(s *corev1.Secret) { s.Labels[pullsecrets.ManagedByLabel] = "helm" },
		"no ClusterPullSecret":     func(s *corev1.Secret) { s.Labels[pullsecrets.ClusterPullSecretLabel] = "" },
		"type Opaque":              func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"one more key":             func(s *corev1.Secret) { s.Data["x"] = []byte("x") },
		"one more key in a string": func(s *corev1.Secret) { s.StringData = map[string]string{"x": "x"} },
		"a token's type": func(s *corev1.Secret) {
			s.Type, s.Data = corev1.SecretTypeServiceAccountToken, nil
			s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
		},
	} {
		a.checkRejected("creating a Secret with "+what, a.create(labelled("another", spoil)))
	}
}

func (a attempts) services() {
	const list = `{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"x\":\"namespace\"}"}},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"x"}]}}}}`
	a.checkAllowed("patching list and ledger", a.patch("services", "app", types.MergePatchType, list))
	// What Knative's webhook makes of such a request if the Service was last written
	// before these defaults were configured.
	const container = "/spec/template/spec/containers/0/"
	a.checkAllowed("having defaults filled in", a.patch("services", "app", types.JSONPatchType, `[
		{"op":"add","path":"/spec/template/spec/idleTimeoutSeconds","value":10},
		{"op":"add","path":"`+container+`resources","value":{"requests":{"cpu":"1m"}}},
		{"op":"add","path":"`+container+`securityContext","value":{"runAsNonRoot":true,"allowPrivilegeEscalation":false}}]`))
	for what, patch := range map[string]string{
		"a label":              `{"metadata":{"labels":{"x":"y"}}}`,
		"another annotation":   `{"metadata":{"annotations":{"pullsecrets.dev/secrets":"x"}}}`,
		"a finalizer":          `{"metadata":{"finalizers":["e2e.test/x"]}}`,
		"an owner":             `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"x"}]}}`,
		"the traffic":          `{"spec":{"traffic":[{"percent":100,"latestRevision":true,"tag":"x"}]}}`,
		"the template's name":  `{"spec":{"template":{"metadata":{"name":"app-x"}}}}`,
		"the template's scale": `{"spec":{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":"1"}}}}}`,
		"the ServiceAccount":   `{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}`,
		"the concurrency":      `{"spec":{"template":{"spec":{"containerConcurrency":7}}}}`,
		"the timeout":          `{"spec":{"template":{"spec":{"timeoutSeconds":7}}}}`,
		"a volume":             `{"spec":{"template":{"spec":{"volumes":[{"name":"x","secret":{"secretName":"good"}}]}}}}`,
		"all containers":       `{"spec":{"template":{"spec":{"containers":[{"image":"example.com/other"}]}}}}`,
	} {
		a.checkRejected("changing "+what, a.patch("services", "app", types.MergePatchType, patch))
	}
	for what, operation := range map[string]string{
		"an image":            `"replace","path":"` + container + `image","value":"example.com/other@sha256:` + strings.Repeat("0", 64) + `"`,
		"the environment":     `"add","path":"` + container + `env","value":[{"name":"X","value":"y"}]`,
		"the command":         `"add","path":"` + container + `command","value":["x"]`,
		"a probe":             `"replace","path":"` + container + `readinessProbe","value":{"exec":{"command":["x"]}}`,
		"a probe's threshold": `"replace","path":"` + container + `readinessProbe/successThreshold","value":2`,
		"the user":            `"add","path":"` + container + `securityContext","value":{"runAsUser":1}`,
		"one container more":  `"add","path":"/spec/template/spec/containers/-","value":{"name":"more","image":"example.com/more"}`,
	} {
		a.checkRejected("changing "+what, a.patch("services", "app", types.JSONPatchType, `[{"op":`+operation+`}]`))
	}
}

func (a attempts) serviceAccounts() {
	a.checkAllowed("patching list and ledger", a.patch("serviceaccounts", "default", types.MergePatchType,
		`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"x\":\"namespace\"}"}},"imagePullSecrets":[{"name":"x"}]}`))
	for what, patch := range map[string]string{
		"a label":              `{"metadata":{"labels":{"x":"y"}}}`,
		"another annotation":   `{"metadata":{"annotations":{"iam.gke.io/gcp-service-account":"x"}}}`,
		"a finalizer":          `{"metadata":{"finalizers":["e2e.test/x"]}}`,
		"its mountable secret": `{"secrets":[{"name":"good"}]}`,
		"its token's mounting": `{"automountServiceAccountToken":false}`,
	} {
		a.checkRejected("changing "+what+" of a ServiceAccount", a.patch("serviceaccounts", "default", types.MergePatchType, patch))
	}
}

func (a attempts) clusterPullSecrets(name string) {
	a.checkAllowed("patching the finalizers", a.patch("clusterpullsecrets", name, types.MergePatchType, `{"metadata":{"finalizers":["e2e.test/x"]}}`))
	for what, patch := range map[string]string{
		"the selector":   `{"spec":{"namespaceSelector":{"matchLabels":null}}}`,
		"the source":     `{"spec":{"secretRef":{"name":"other"}}}`,
		"always":         `{"spec":{"always":{"services":true}}}`,
		"a label":        `{"metadata":{"labels":{"x":"y"}}}`,
		"an annotation":  `{"metadata":{"annotations":{"x":"y"}}}`,
		"deletionPolicy": `{"spec":{"deletionPolicy":"Retain"}}`,
		"copyMetadata":   `{"spec":{"copyMetadata":{"labels":{"x":"y"}}}}`,
	} {
		a.checkRejected("changing "+what+" of a ClusterPullSecret", a.patch("clusterpullsecrets", name, types.MergePatchType, patch))
	}
}

// The API server type-checks the expressions of a policy and reports mistakes only in the
// policy's status.
func TestPoliciesAreWellTyped(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	policies := e.Kube.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	for _, kind := range []string{
		"secrets.controller", "serviceaccounts.controller", "services.controller", "clusterpullsecrets.controller",
		"revisions.controller", "retries.controller", "leases", "webhooks.webhook",
	} {
		name := kind + "." + pullsecrets.GroupName
		eventually(t, func(ctx context.Context) error {
			policy, err := policies.Get(ctx, name, metav1.GetOptions{})
			if err == nil && (policy.Status.TypeChecking == nil || policy.Status.ObservedGeneration != policy.Generation) {
				err = fmt.Errorf("ValidatingAdmissionPolicy %s is not type-checked yet", name)
			}
			if err == nil && len(policy.Status.TypeChecking.ExpressionWarnings) > 0 {
				t.Errorf("ValidatingAdmissionPolicy %s: %v", name, policy.Status.TypeChecking.ExpressionWarnings)
			}
			return err
		})
	}
}
