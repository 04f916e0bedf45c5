// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// programsOfProfile are what a profile is set for.
var programsOfProfile = []string{"webhook", "controller"}

// With the profile inject-only, Services and ServiceAccounts get declared names as ever, and
// the controller neither may read a Secret nor tries to. The test is not parallel, because it
// installs the profile for the whole cluster.
func TestInjectOnlyNeedsNoSecrets(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl, env.RequestCounts)
	p := newPlatform(t)
	n := newTenant(t, p.granted())
	n.applyAs("by-digest.yaml", "existing", annotated(pullsecrets.InjectAnnotation, "declared"))
	n.applyAs("by-digest.yaml", "left")
	n.waitForReady("existing", "left")
	mark := n.installInjectOnly(func() { n.leave(p) })

	// Nobody can read what the ClusterPullSecret declares, so what was added for it stays.
	left := map[string]string{p.name: "clusterpullsecret/" + p.name}
	n.patch("left", templateSpec(map[string]any{"timeoutSeconds": 60}))
	n.waitForList("left", p.name)
	n.checkLedger("left", left)

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	// What the ServiceAccount has is carried into a list that starts.
	n.waitForList("existing", "ghcr", p.name)
	n.waitUntilDeclared("ghcr", p.name)
	n.applyAs("by-tag.yaml", "new")
	n.checkList("new", "ghcr", p.name)
	n.checkLedger("new", map[string]string{"ghcr": "namespace", p.name: "serviceaccount/default"})
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "default")
	n.waitForAccount("default", map[string]string{p.name: left[p.name], "ghcr": "namespace"}, p.name, "ghcr")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	n.waitForAccount("default", left, p.name)
	n.annotate("new", pullsecrets.InjectAnnotation, "auto")
	n.waitForEvent(service("new"), "InvalidAnnotation", "auto", "inject-only")
	n.checkEvents(service("existing"), "SecretMissing", 0)

	n.checkNoClusterPullSecret()
	n.checkNoRightOnSecrets()
	// A watch appears in the log when it ends.
	n.stopPrograms()
	requests, err := n.Audit.Since(mark)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests.By(pullsecrets.ControllerUser)) == 0 {
		t.Error("the log has no requests of the controller")
	}
	if sent := requests.By(pullsecrets.ControllerUser).Of("secrets", "revisions.serving.knative.dev", "clusterpullsecrets.pullsecrets.dev"); len(sent) > 0 {
		t.Errorf("controller sent:\n%s", sent)
	}
	for _, sent := range requests.By(webhookUser).Of("secrets", "clusterpullsecrets.pullsecrets.dev") {
		if sent.Namespace != pullsecrets.SystemNamespace {
			t.Errorf("webhook sent %+v, want requests for its own certificate alone", sent)
		}
	}
	// What SECURITY.md says about the profile, as the controller and therefore at the end.
	claims := pages.Blocks(section(t, "../SECURITY.md", "Check it yourself"), "sh")
	checkOutput(t, claims[0], "no")
	checkOutput(t, claims[1], "forbidden")
}

// leave creates a ClusterPullSecret after all others were deleted, so that the profile finds it,
// with its copy, and with its entries in ServiceAccount default and in Service left.
func (n *tenant) leave(p *platform) {
	n.t.Helper()
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Always = &v1alpha1.Always{Services: true, ServiceAccounts: []string{"default"}}
	})
	ledger := map[string]string{p.name: "clusterpullsecret/" + p.name}
	n.waitForCopy(p.name, "one")
	n.waitForList("left", p.name)
	n.checkLedger("left", ledger)
	n.waitForAccount("default", ledger, p.name)
}

// installInjectOnly switches to the profile as documented, and back at the end of the test.
// Before the profile is applied, it calls a function. It returns a mark from before the first
// request of the programs with the profile.
func (n *tenant) installInjectOnly(before func()) env.Mark {
	n.t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		n.t.Fatal(err)
	}
	r := n.reader()
	overlay := filepath.Join(r.folder, "kustomize", "inject-only")
	if err := os.MkdirAll(overlay, 0o700); err != nil {
		n.t.Fatal(err)
	}
	documented := pages.Blocks(section(n.t, "profiles.md", "Inject-only"), "yaml")
	if len(documented) != 1 {
		n.t.Fatalf("Section Inject-only has %d overlays, want 1", len(documented))
	}
	text := strings.NewReplacer(
		"../base", relative(n.t, overlay, filepath.Join(root, "kustomize", "base")),
		"../components", relative(n.t, overlay, filepath.Join(root, "kustomize", "components")),
	).Replace(documented[0])
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	for _, commands := range pages.Blocks(section(n.t, "profiles.md", "From full to inject-only"), "sh") {
		if strings.Contains(commands, "kubectl apply") {
			before()
			n.t.Cleanup(func() { n.restoreFull(filepath.Join(root, "kustomize", "base")) })
		}
		r.follow(commands)
	}
	n.stopPrograms()
	mark, err := n.Audit.Mark()
	if err != nil {
		n.t.Fatal(err)
	}
	// Processes stand in for the Deployments, and do not follow a change of their Pods.
	for _, program := range programsOfProfile {
		if err := n.Processes.Start(n.t.Context(), program, map[string]string{"PULLSECRETS_PROFILE": "inject-only"}); err != nil {
			n.t.Fatal(err)
		}
	}
	return mark
}

func (n *tenant) stopPrograms() {
	n.t.Helper()
	for _, program := range programsOfProfile {
		if err := n.Processes.Stop(n.t.Context(), program); err != nil {
			n.t.Fatal(err)
		}
	}
}

// restoreFull installs everything again, for the tests that follow on the same cluster.
func (n *tenant) restoreFull(base string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	defer cancel()
	admission := n.Kube.AdmissionregistrationV1()
	const policy = "inject-only.pullsecrets.dev"
	for what, err := range map[string]error{
		"remove the binding": admission.ValidatingAdmissionPolicyBindings().Delete(ctx, policy, metav1.DeleteOptions{}),
		"remove the policy":  admission.ValidatingAdmissionPolicies().Delete(ctx, policy, metav1.DeleteOptions{}),
	} {
		if err != nil {
			n.t.Errorf("%s: %v", what, err)
		}
	}
	// The context of the test has ended, so kubectl is called directly.
	kubectl := exec.CommandContext(ctx, env.Tool(n.t, "kubectl"), "--kubeconfig", n.Kubeconfig, "apply", "-k", base)
	if output, err := kubectl.CombinedOutput(); err != nil {
		n.t.Errorf("apply the base: %v\n%s", err, output)
	}
	// There are no Pods to scale.
	if err := n.Kube.AutoscalingV2().HorizontalPodAutoscalers(pullsecrets.SystemNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		n.t.Error(err)
	}
	for _, program := range programsOfProfile {
		if err := n.Processes.Restart(ctx, program, nil); err != nil {
			n.t.Error(err)
		}
	}
	if err := n.Processes.InstallProject(ctx); err != nil {
		n.t.Error(err)
	}
}

// checkNoClusterPullSecret checks that a ClusterPullSecret is rejected with a reason.
func (n *tenant) checkNoClusterPullSecret() {
	n.t.Helper()
	client, err := versioned.NewForConfig(n.Config)
	if err != nil {
		n.t.Fatal(err)
	}
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: n.ns}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "any"}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{}
	eventually(n.t, func(ctx context.Context) error {
		_, err := client.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{DryRun: dryRun})
		if err == nil || !strings.Contains(err.Error(), "profile inject-only") {
			return errors.Join(errors.New("a ClusterPullSecret is not rejected because of the profile"), err)
		}
		return nil
	})
}

// checkNoRightOnSecrets asks the API server what the controller may do.
func (n *tenant) checkNoRightOnSecrets() {
	n.t.Helper()
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + pullsecrets.SystemNamespace, "system:authenticated"}
	allowed := func(ctx context.Context, attributes authorizationv1.ResourceAttributes) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: pullsecrets.ControllerUser, Groups: groups, ResourceAttributes: &attributes,
		}}
		answer, err := n.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, err
	}
	for _, namespace := range []string{metav1.NamespaceAll, n.ns, pullsecrets.SourcesNamespace, pullsecrets.SystemNamespace, "knative-serving"} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			if may, err := allowed(n.t.Context(), authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: "secrets"}); may || err != nil {
				n.t.Errorf("controller may %s Secrets in namespace %q (%v)", verb, namespace, err)
			}
		}
	}
	// The question is asked rightly: it may do what it needs.
	if may, err := allowed(n.t.Context(), authorizationv1.ResourceAttributes{Verb: "patch", Group: "serving.knative.dev", Resource: "services"}); !may {
		n.t.Errorf("controller may not patch Services (%v)", err)
	}
}
