// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// Each alert fires for its real cause, and ends with it. Then every query of the dashboard is
// asked about a cluster on which something has happened. With DASHBOARD=FILE, the dashboard
// is drawn to that file (make dashboard-picture).
//
// The steps share one Prometheus, because each depends on time that has passed.
func TestAlertsFireAndClear(t *testing.T) {
	m := newMonitored(t)
	p, former := newPlatform(t), newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	other := newTenant(t)
	left := newTenant(t, optedIn(former.name), former.granted())
	former.grant()
	left.waitForCopy(former.name, "one")
	m.checkQuiet(t)

	// This alert needs more than a minute, in which the other ones fire.
	allow := left.forbidDeletion()
	if err := former.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(t.Context(), former.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.rejectCopy(m, p)
	n.loseSource(m, p)
	p.letExpire(m)
	rejectCredential(t, m)
	n.stopWebhook(m)
	other.lackSecret(m)
	n.loseLeader(m)

	deleted := map[string]string{"cluster_pull_secret": former.name}
	m.waitForAlert(t, "PullSecretsRevocationDelayed", deleted)
	m.waitForAlert(t, "PullSecretsRevocationDelayed", map[string]string{"cluster_pull_secret": ""})
	allow()
	left.touch()
	former.waitForDeletion()
	m.waitForEnd(t, "PullSecretsRevocationDelayed", nil)

	d := m.checkDashboard(t)
	m.draw(t, d, strings.NewReplacer(p.name, "ghcr", former.name, "former", n.ns, "team-a", left.ns, "team-b", other.ns, "team-c"))
}

// rejectCopy has a quota reject the copy of a ClusterPullSecret.
func (n *tenant) rejectCopy(m *monitored, p *platform) {
	ghcr := map[string]string{"cluster_pull_secret": p.name}
	remove := n.forbidSecrets()
	p.grant()
	m.waitForAlert(n.t, "PullSecretsNotDistributed", ghcr)
	remove()
	n.touch()
	m.waitForEnd(n.t, "PullSecretsNotDistributed", ghcr)
	n.waitForCopy(p.name, "one")
}

// loseSource deletes a source, and creates it again.
func (n *tenant) loseSource(m *monitored, p *platform) {
	ghcr := map[string]string{"cluster_pull_secret": p.name}
	if err := m.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(n.t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		n.t.Fatal(err)
	}
	m.waitForAlert(n.t, "PullSecretsSourceInvalid", ghcr)
	p.rotate("two")
	m.waitForEnd(n.t, "PullSecretsSourceInvalid", ghcr)
	n.waitForCopy(p.name, "two")
}

// letExpire has the credential expire, and renews it. The last quarter of its life is long enough
// for Prometheus to see it.
func (p *platform) letExpire(m *monitored) {
	ghcr := map[string]string{"cluster_pull_secret": p.name}
	p.annotateSource(time.Now().Add(2 * time.Minute))
	m.waitForAlert(p.t, "PullSecretsCredentialExpires", ghcr)
	m.waitForAlert(p.t, "PullSecretsCredentialExpired", ghcr)
	m.waitForEnd(p.t, "PullSecretsCredentialExpires", ghcr)
	p.annotateSource(time.Now().Add(24 * time.Hour))
	m.waitForEnd(p.t, "PullSecretsCredentialExpired", ghcr)
}

// annotateSource says when the credential of the source expires.
func (p *platform) annotateSource(expires time.Time) {
	p.t.Helper()
	_, err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Patch(p.t.Context(), p.name, types.MergePatchType,
		encode(annotations(pullsecrets.ExpiresAnnotation, expires.UTC().Format(time.RFC3339))), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		p.t.Fatal("annotate the source: ", err)
	}
}

// rejectCredential has a registry reject a rotated credential, and accept the next one.
func rejectCredential(t *testing.T, m *monitored) {
	registry, p := newLoopbackRegistry(t), barePlatform(t)
	rejected := map[string]string{"cluster_pull_secret": p.name}
	registry.setPassword(p.name, "one")
	p.keepSource(pullSecret(p.name, registry.host, "one"))
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Verify = &v1alpha1.Verify{Images: []string{registry.host + "/" + p.name + "/app:v1"}}
	})
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	p.keepSource(pullSecret(p.name, registry.host, "two"))
	m.waitForAlert(t, "PullSecretsCredentialRejected", rejected)
	registry.setPassword(p.name, "three")
	p.keepSource(pullSecret(p.name, registry.host, "three"))
	m.waitForEnd(t, "PullSecretsCredentialRejected", rejected)
}

// lackSecret has a Service declare a Secret before it exists.
func (n *tenant) lackSecret(m *monitored) {
	team := map[string]string{"namespace": n.ns}
	n.applyAs("by-digest.yaml", "early", annotated(pullsecrets.SecretsAnnotation, "own"))
	m.waitForAlert(n.t, "PullSecretsImagesNotCovered", team)
	if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(n.t.Context(), pullSecret("own", "registry.example.com", "x"), metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
	m.waitForEnd(n.t, "PullSecretsImagesNotCovered", team)
}

// stopWebhook creates a Service while the webhook does not run.
func (n *tenant) stopWebhook(m *monitored) {
	n.t.Cleanup(func() { n.start("webhook") })
	inject := map[string]string{"name": "inject.pullsecrets.dev"}
	n.applyAs("by-digest.yaml", "admitted")
	if err := m.Processes.Stop(n.t.Context(), "webhook"); err != nil {
		n.t.Fatal(err)
	}
	n.applyAs("by-digest.yaml", "missed")
	m.waitForAlert(n.t, "PullSecretsWebhookFailsOpen", inject)
	m.waitForAlert(n.t, "PullSecretsAdmissionMissed", nil)
	m.waitForAlert(n.t, "PullSecretsWebhookDown", nil)
	n.start("webhook")
	m.waitForEnd(n.t, "PullSecretsWebhookDown", nil)
	m.waitForEnd(n.t, "PullSecretsAdmissionMissed", nil)
	m.waitForEnd(n.t, "PullSecretsWebhookFailsOpen", inject)
}

// loseLeader stops the controller, and lets another process hold one of its leases before it
// starts again.
func (n *tenant) loseLeader(m *monitored) {
	n.t.Cleanup(func() { n.start("controller") })
	controller := map[string]string{"container": "controller"}
	if err := m.Processes.Stop(n.t.Context(), "controller"); err != nil {
		n.t.Fatal(err)
	}
	m.waitForAlert(n.t, "PullSecretsControllerDown", nil)
	release := takeLease(n.t, n.Env)
	n.start("controller")
	m.waitForAlert(n.t, "PullSecretsWithoutLeader", controller)
	m.waitForEnd(n.t, "PullSecretsControllerDown", nil)
	release()
	m.waitForEnd(n.t, "PullSecretsWithoutLeader", controller)
}

// takeLease takes a lease of the controller, which does not run, until release is called or
// the test ends.
func takeLease(t *testing.T, e *env.Env) (release func()) {
	t.Helper()
	leases := e.Kube.CoordinationV1().Leases(pullsecrets.SystemNamespace)
	all, err := leases.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, lease := range all.Items {
		if strings.HasPrefix(lease.Name, "controller.") {
			name = lease.Name
		}
	}
	hold := func(holder string, seconds int32) error {
		ctx := context.WithoutCancel(t.Context())
		return retryOnConflict(func() error {
			lease, err := leases.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: new(metav1.NowMicro()), RenewTime: new(metav1.NowMicro())}
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{FieldManager: user})
			return err
		})
	}
	if err := hold("somebody-else", 3600); err != nil {
		t.Fatal("take a lease: ", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			if err := hold("", 1); err != nil {
				t.Error("release the lease: ", err)
			}
		}
	}
	t.Cleanup(release)
	return release
}

// touch changes the Namespace, so that the controller reconciles it now instead of after its
// backoff.
func (n *tenant) touch() {
	n.t.Helper()
	n.annotateNamespace("e2e.test/touched", "true")
	n.annotateNamespace("e2e.test/touched", nil)
}

// forbidSecrets sets a quota that allows no further Secret, until remove is called.
func (n *tenant) forbidSecrets() (remove func()) {
	n.t.Helper()
	quotas := n.Kube.CoreV1().ResourceQuotas(n.ns)
	const name = "no-secrets"
	_, err := quotas.Create(n.t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": apiresource.MustParse("0")}},
	}, metav1.CreateOptions{FieldManager: user})
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, func(ctx context.Context) error {
		quota, err := quotas.Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(quota.Status.Hard) == 0 {
			err = fmt.Errorf("quota %s is not in force yet", name)
		}
		return err
	})
	return func() {
		if err := quotas.Delete(n.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// forbidDeletion sets a policy of the cluster that rejects the deletion of the tenant's
// Secrets, until allow is called or the test ends.
func (n *tenant) forbidDeletion() (allow func()) {
	n.t.Helper()
	policies := n.Kube.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	bindings := n.Kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	name, fails := n.ns+".e2e.test", admissionregistrationv1.Fail
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.FailurePolicy = &fails
	policy.Spec.MatchConstraints = &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: n.ns}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
		}}},
	}
	policy.Spec.Validations = []admissionregistrationv1.Validation{{Expression: "false", Message: "Secrets of this namespace are archived"}}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding.Spec.PolicyName, binding.Spec.ValidationActions = name, []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
	allow = func() {
		ctx := context.WithoutCancel(n.t.Context())
		for _, err := range []error{bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{})} {
			if err != nil && !apierrors.IsNotFound(err) {
				n.t.Error("delete the policy: ", err)
			}
		}
	}
	n.t.Cleanup(allow)
	if _, err := policies.Create(n.t.Context(), policy, metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
	if _, err := bindings.Create(n.t.Context(), binding, metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
	secrets := n.Kube.CoreV1().Secrets(n.ns)
	if _, err := secrets.Create(n.t.Context(), pullSecret("probe", "registry.example.com", "x"), metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, func(ctx context.Context) error {
		err := secrets.Delete(ctx, "probe", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errors.New("the policy is not in force yet")
		}
		if !strings.Contains(err.Error(), "archived") {
			return err
		}
		return nil
	})
	return allow
}
