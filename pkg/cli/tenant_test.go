// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// tenant returns a cluster as an ordinary tenant sees it: what ClusterPullSecrets grant is not
// known, and one of their copies is still on its way.
func tenant() *world {
	w := newWorld()
	w.forbid("clusterpullsecrets")
	namespace := w.kube[0].(*corev1.Namespace)
	namespace.Annotations = map[string]string{pullsecrets.InjectAnnotation: "auto"}
	shop := w.serving[0].(*servingv1.Service)
	shop.Annotations[pullsecrets.AddedAnnotation] = `{"ghcr":"clusterpullsecret/ghcr"}`
	web := w.serving[1].(*servingv1.Service)
	delete(web.Annotations, pullsecrets.SecretsAnnotation)
	web.Annotations[pullsecrets.AddedAnnotation] = `{"quay":"clusterpullsecret/quay"}`
	return w
}

// Who may not read ClusterPullSecrets or the ServiceAccount is told so, and gets no command that
// keeps a copy away, no removal and no claim that nothing is declared.
func TestTenant(t *testing.T) {
	none := func(w *world) *world {
		w.kube[0].(*corev1.Namespace).Annotations = nil
		web := w.serving[1].(*servingv1.Service)
		delete(web.Annotations, pullsecrets.AddedAnnotation)
		web.Spec.Template.Spec.ImagePullSecrets = nil
		return w
	}
	account := newWorld()
	account.forbid("serviceaccounts")
	account.kube = append(account.kube, pullSecret("team-a", "own", "quay.io"))
	account.serving[0].(*servingv1.Service).Annotations[pullsecrets.AddedAnnotation] = `{"ghcr":"namespace","own":"serviceaccount/default"}`
	account.serving[0].(*servingv1.Service).Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "ghcr"}, {Name: "own"}}
	hidden := tenant()
	hidden.forbidden = []string{"namespaces"}
	for _, test := range []struct {
		name string
		w    *world
		args []string
	}{
		{"tenant-shop", tenant(), []string{"explain", "shop", "-n", "team-a"}},
		{"tenant-web", tenant(), []string{"explain", "web", "-n", "team-a"}},
		{"tenant-none", none(tenant()), []string{"explain", "web", "-n", "team-a"}},
		{"tenant-plan", tenant(), []string{"plan", "-n", "team-a"}},
		{"tenant-account", account, []string{"explain", "shop", "-n", "team-a"}},
		{"tenant-namespace", hidden, []string{"explain", "web", "-n", "team-a"}},
	} {
		r := test.w.run(t, "", append(test.args, "--fail-on", "never")...)
		golden(t, test.name, r.out)
		for _, guess := range []string{"To be removed", "create secret", "NotOptedIn", "no ClusterPullSecret declares", "No Revision is created"} {
			if strings.Contains(r.out, guess) {
				t.Errorf("%s guesses %q:\n%s", test.name, guess, r.out)
			}
		}
		if !strings.Contains(r.out, "not checked (cannot ") {
			t.Errorf("%s does not say what was not checked:\n%s", test.name, r.out)
		}
	}
}
