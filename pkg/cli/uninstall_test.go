// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// removed returns a cluster without an installation, and with a Service that has nothing of it.
func removed() *world {
	w := newWorld()
	w.kube = []runtime.Object{fixture.Namespace("team-a"), fixture.ServiceAccount("team-a", "default", nil), pullSecret("team-a", "own", "ghcr.io")}
	w.serving, w.ours = []runtime.Object{fixture.Service("team-a", "shop", fixture.WithPullSecrets("own"))}, nil
	w.apis = w.apis[:1]
	return w
}

// object returns the metadata of an object of the installation.
func object(apiVersion, kind, namespace, name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": "pullsecrets"}},
	}
}

// Nothing is left where nothing was found and everything was read.
func TestNothingIsLeft(t *testing.T) {
	if r := removed().run(t, "", "uninstall", "--verify"); r.code != 0 || r.out != "Nothing.\n\nNo findings.\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
	}
}

// What the caller may not read is no proof that nothing is left.
func TestUninstallWithoutRights(t *testing.T) {
	for resource, want := range map[string]string{
		"secrets":                   "copies of credentials: not checked (cannot list secrets)",
		"services":                  "ledgers of Services: not checked (cannot list services.serving.knative.dev)",
		"serviceaccounts":           "ledgers of ServiceAccounts: not checked (cannot list serviceaccounts)",
		"clusterpullsecrets":        "ClusterPullSecrets: not checked (cannot list clusterpullsecrets.pullsecrets.dev)",
		"roles":                     "Role objects of the installation: not checked (cannot list roles.rbac.authorization.k8s.io)",
		"rolebindings":              "cannot list rolebindings.rbac.authorization.k8s.io",
		"namespaces":                "Namespace objects of the installation: not checked (cannot get namespaces)",
		"mutatingadmissionpolicies": "cannot list mutatingadmissionpolicies.admissionregistration.k8s.io",
	} {
		w := removed()
		w.forbid(resource)
		r := w.run(t, "", "uninstall", "--verify")
		if r.code != exitFindings || strings.Count(r.out, want) != 2 || strings.Count(r.out, "warning NotProven: installation\n") != 1 {
			t.Errorf("without %s: exit code %d:\n%s%s", resource, r.code, r.out, r.err)
		}
		if strings.HasPrefix(r.out, "Nothing.") {
			t.Errorf("without %s, it says that there is nothing", resource)
		}
	}
}

// Objects that lie outside the namespaces of the installation are found, each with its namespace.
func TestObjectsOfTheInstallation(t *testing.T) {
	const admission, rbac = "admissionregistration.k8s.io/v1", "rbac.authorization.k8s.io/v1"
	w := removed()
	w.others = []runtime.Object{
		object(rbac, "Role", "knative-serving", "pullsecrets-controller"), object(rbac, "RoleBinding", "knative-serving", "pullsecrets-webhook"),
		object(rbac, "Role", "team-a", "elsewhere"), object(rbac, "Role", "other-knative", "pullsecrets-webhook"),
		object(rbac, "Role", "pullsecrets-system", "pullsecrets-controller"), object(admission, "MutatingAdmissionPolicy", "", "services.outage.pullsecrets.dev"),
		object(admission, "MutatingAdmissionPolicyBinding", "", "services.outage.pullsecrets.dev"), object("v1", "Namespace", "", "pullsecrets-system"),
		object("v1", "Namespace", "", "labelled-by-a-tenant"),
	}
	w.kube = append(w.kube, fixture.Namespace("pullsecrets-sources")) // Helm creates a Namespace without labels.
	r := w.run(t, "", "uninstall", "--verify")
	for _, want := range []string{
		"warning Leftover: Role knative-serving/pullsecrets-controller", "warning Leftover: RoleBinding knative-serving/pullsecrets-webhook",
		"warning Leftover: MutatingAdmissionPolicy services.outage.pullsecrets.dev", "warning Leftover: MutatingAdmissionPolicyBinding services.outage.pullsecrets.dev",
		"warning Leftover: Namespace pullsecrets-system", "warning Leftover: Namespace pullsecrets-sources", "warning Leftover: Role other-knative/pullsecrets-webhook",
	} {
		if !strings.Contains(r.out, want+"\n") {
			t.Errorf("lacks %q:\n%s%s", want, r.out, r.err)
		}
	}
	if strings.Contains(r.out, "elsewhere") || strings.Contains(r.out, "tenant") || strings.Contains(r.out, "Role pullsecrets-system/") {
		t.Errorf("reports what is not of the installation:\n%s", r.out)
	}
}

// No content of a Secret is requested, and no setting.
func TestUninstallReadsMetadata(t *testing.T) {
	w := newWorld()
	w.run(t, "", "uninstall", "--verify")
	for _, action := range w.fakeKube.Actions() {
		if slices.Contains([]string{"secrets", "configmaps"}, action.GetResource().Resource) {
			t.Errorf("it sends %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}
