// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// On a cluster with MutatingAdmissionPolicies, check shows whether those for an outage are there.
func TestCheckOfOutagePolicies(t *testing.T) {
	served := func(others ...runtime.Object) *world {
		w := newWorld()
		w.apis = append(w.apis, &metav1.APIResourceList{GroupVersion: "admissionregistration.k8s.io/v1", APIResources: []metav1.APIResource{{Name: "mutatingadmissionpolicies"}}})
		w.others = others
		return w
	}
	const admission = "admissionregistration.k8s.io/v1"
	forbidden := served()
	forbidden.forbid("mutatingadmissionpolicybindings")
	for _, test := range []struct {
		reason string
		w      *world
		args   []string
		want   string
	}{
		{"absent", newWorld(), nil, "not possible: the cluster has no MutatingAdmissionPolicies"},
		{"none", served(), nil, "info OutagePolicies: policies for an outage\n"},
		{"one of them", served(object(admission, "MutatingAdmissionPolicy", "", "services.outage.pullsecrets.dev")), nil, "warning OutagePolicies: policies for an outage\n"},
		{"forbidden", forbidden, nil, "policies for an outage: not checked (cannot list mutatingadmissionpolicybindings.admissionregistration.k8s.io)\n"},
		{"before", served(), []string{"--pre"}, "possible; apply outage.yaml after release.yaml"},
		{"before, absent", newWorld(), []string{"--pre"}, "not possible: the cluster has no MutatingAdmissionPolicies"},
	} {
		if r := test.w.run(t, "", append([]string{"check"}, test.args...)...); !strings.Contains(r.out, test.want) {
			t.Errorf("%s: lacks %q:\n%s%s", test.reason, test.want, r.out, r.err)
		}
	}
}

// Only what the API server says about a call of our webhook shows that it is not reached.
func TestCheckOfTheWebhook(t *testing.T) {
	for answer, want := range map[string]string{
		"": "webhook answers                ok ",
		`failed calling webhook "validation.pullsecrets.dev": failed to call webhook: context deadline exceeded`: "error WebhookUnreachable: webhook\n",
		`failed calling webhook "policies.example.com": no route to host`:                                        "not checked (the dry run was rejected: ",
		`admission webhook "policies.example.com" denied the request: labels are required`:                       "not checked (the dry run was rejected: ",
	} {
		w := newWorld()
		w.answer = answer
		if r := w.run(t, "", "check"); !strings.Contains(r.out, want) || strings.Contains(want, "dry run") && strings.Contains(r.out, "WebhookUnreachable") {
			t.Errorf("%q: lacks %q:\n%s%s", answer, want, r.out, r.err)
		}
	}
	w := newWorld()
	w.forbid("configmaps")
	if r := w.run(t, "", "check"); !strings.Contains(r.out, "ConfigMap config-pullsecrets   not checked") {
		t.Errorf("without ConfigMaps:\n%s%s", r.out, r.err)
	}
}

// A policy that rejects the dry run is no lack of rights of the caller, and one that another profile
// left is named.
func TestCheckAfterAChangeOfTheProfile(t *testing.T) {
	const policy = "inject-only.pullsecrets.dev"
	for action, severity := range map[admissionv1.ValidationAction]string{admissionv1.Deny: "error", admissionv1.Audit: "warning"} {
		w := newWorld()
		w.denied = "ValidatingAdmissionPolicy '" + policy + "' with binding '" + policy + "' denied request: there are no ClusterPullSecrets in the profile inject-only of Pull Secrets for Knative"
		w.kube = append(w.kube,
			&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: policy}},
			&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: policy}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: policy, ValidationActions: []admissionv1.ValidationAction{action},
			}})
		r := w.run(t, "", "check")
		for _, want := range []string{
			"not checked (the dry run was rejected: ", severity + " Leftover: ValidatingAdmissionPolicy " + policy + "\n",
			"kubectl delete --ignore-not-found validatingadmissionpolicybindings,validatingadmissionpolicies " + policy + "\n",
		} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: lacks %q:\n%s%s", action, want, r.out, r.err)
			}
		}
	}
	w := newWorld()
	w.forbid("clusterpullsecrets")
	if r := w.run(t, "", "check"); !strings.Contains(r.out, "not checked (cannot create clusterpullsecrets.pullsecrets.dev)") {
		t.Errorf("without rights:\n%s%s", r.out, r.err)
	}
}

// Without the controller, a policy shows the profile inject-only. Otherwise the profile is unknown, and
// check neither asks for more than every profile needs nor names a command that installs one.
func TestCheckOfAnUnknownProfile(t *testing.T) {
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "inject-only.pullsecrets.dev"}}
	for _, test := range []struct {
		reason, forbidden string
		policies          []runtime.Object
		want              string
	}{
		{"missing", "", nil, "Fix: Apply the manifests that it was installed from again\n"},
		{"not readable", "deployments", nil, "Fix: Apply the manifests that it was installed from again\n"},
		{"missing, with the policy", "", []runtime.Object{policy}, "Fix: Apply your overlay with the component inject-only again\n"},
		{"not readable, with the policy", "deployments", []runtime.Object{policy}, "Fix: Apply your overlay with the component inject-only again\n"},
	} {
		w := newWorld()
		w.kube = append(slices.DeleteFunc(w.kube, func(o runtime.Object) bool {
			d, is := o.(*appsv1.Deployment)
			return is && d.Name == "controller"
		}), test.policies...)
		w.forbid(test.forbidden)
		r := w.run(t, "", "check")
		if !strings.Contains(r.out, test.want) || strings.Contains(r.out, "release.yaml") || strings.Contains(r.out, "validation.pullsecrets.dev") {
			t.Errorf("%s: lacks %q, or names the profile full:\n%s%s", test.reason, test.want, r.out, r.err)
		}
		for _, a := range w.fakeKube.Actions() {
			if create, is := a.(clienttesting.CreateAction); is && a.GetResource().Resource == "subjectaccessreviews" {
				if of := create.GetObject().(*authorizationv1.SubjectAccessReview).Spec.ResourceAttributes; of.Resource == "secrets" {
					t.Errorf("%s: asks whether the controller may %s secrets", test.reason, of.Verb)
				}
			}
		}
	}
}

// A webhook configuration is known by its webhook: of a renamed one, check says that it is called too
// late, and not that it is missing.
func TestCheckOfARenamedConfiguration(t *testing.T) {
	configuration := func(name, webhook string) runtime.Object {
		return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.MutatingWebhook{{Name: webhook}}}
	}
	w := newWorld()
	w.kube = append(w.kube, configuration("zz-inject", "inject.pullsecrets.dev"), configuration("webhook.serving.knative.dev", "webhook.serving.knative.dev"))
	r := w.run(t, "", "check")
	if !strings.Contains(r.out, "error WebhookOrder: MutatingWebhookConfiguration zz-inject\n") ||
		!strings.Contains(r.out, "kubectl apply -f release.yaml && kubectl delete mutatingwebhookconfigurations zz-inject\n") ||
		strings.Contains(r.out, "MissingObject: MutatingWebhookConfiguration inject.pullsecrets.dev") {
		t.Errorf("lacks WebhookOrder, or calls it missing:\n%s%s", r.out, r.err)
	}
}
