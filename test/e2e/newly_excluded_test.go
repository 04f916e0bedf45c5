// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// A Namespace that is excluded by label loses its copies and nothing else: lists stay as
// they are and no ServiceAccount is bound. Everything resumes when the label is removed.
func TestNewlyExcludedNamespaceLosesOnlyCopies(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("quay"), binds("*"))
	checkExclusion(n, func() {
		n.labelNamespace(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
	}, func() {
		n.labelNamespace(pullsecrets.ExcludeLabel, nil)
	})
}

// The same for exclusion by name, without a restart.
func TestNamespaceNewlyExcludedByNameLosesOnlyCopies(t *testing.T) {
	o := newOperator(t)
	defer o.restore()
	n := newTenant(t, optedIn("quay"), binds("*"))
	checkExclusion(n, func() { o.set(map[string]string{excludedNamespaces: n.ns}) }, func() { o.set(nil) })
}

// checkExclusion excludes a Namespace that declares quay for all ServiceAccounts and
// includes it again.
func checkExclusion(n *tenant, exclude, include func()) {
	t := n.t
	t.Helper()
	p := newPlatform(t)
	n.labelNamespace(teamLabel, p.name)
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Always = &v1alpha1.Always{Services: true, ServiceAccounts: []string{"*"}}
	})
	n.waitForCopy(p.name, "one")
	lists, ledger := []string{"quay", p.name}, map[string]string{"quay": "namespace", p.name: "clusterpullsecret/" + p.name}
	n.waitUntilDeclared(lists...)
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	n.waitForAccount("default", ledger, lists...)
	p.waitForStatus("1/1", selects(1))

	exclude()
	n.waitForNoCopy(p.name)
	p.waitForStatus("0/0", selects(0))
	n.waitUntilBound() // The webhook binds no more.
	n.makeAccount("late")
	n.applyAs("by-digest.yaml", "late")
	newTenant(t, optedIn("ghcr")).settle("ghcr")
	n.waitForAccount("default", ledger, lists...)
	n.waitForAccount("late", nil)
	n.checkList("late")
	n.checkList("app", lists...)
	n.checkLedger("app", ledger)

	n.waitForReady("late")
	include()
	n.waitForCopy(p.name, "one")
	n.waitForAccount("late", ledger, lists...)
	n.waitForList("late", lists...)
	p.waitForStatus("1/1", selects(1))
	n.waitForReady("app")
	n.checkRevisions("app", 1)
}

// waitUntilBound waits until a new ServiceAccount gets these at admission.
func (n *tenant) waitUntilBound(want ...string) {
	n.t.Helper()
	eventually(n.t, func(ctx context.Context) error {
		made, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "probe-bound"}},
			metav1.CreateOptions{FieldManager: user, DryRun: dryRun})
		if err == nil && len(made.ImagePullSecrets) != len(want) {
			err = fmt.Errorf("a new ServiceAccount gets %v at admission, want %q", made.ImagePullSecrets, want)
		}
		return err
	})
}
