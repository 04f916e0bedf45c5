// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A Secret that does not exist or has the wrong type is reported, and its name is still
// injected: Kubernetes ignores it, and creating or correcting the Secret must not cause a
// Revision.
func TestMissingAndWrongSecretsAreReported(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("secrets.yaml")
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "good, absent, opaque")

	n.waitForList("app", "good", "absent", "opaque")
	n.waitForEvent(service("app"), "SecretMissing", "absent", n.ns)
	n.waitForEvent(service("app"), "SecretWrongType", "opaque", "Opaque", "kubernetes.io/dockerconfigjson")
	declared := []string{"good", "absent", "opaque"}
	declared = append(declared, n.settle(declared...))
	n.checkEvents(service("app"), "SecretMissing", 1)
	n.checkEvents(service("app"), "SecretWrongType", 1)
	if requests, known := counting.requests(); known {
		secrets := requests.Of("secrets")
		others := slices.DeleteFunc(slices.Clone(secrets), func(r env.Request) bool {
			return r.Namespace == n.ns && (r.Verb == "list" || r.Verb == "get" && slices.Contains(declared, r.Name))
		})
		if len(secrets.Verbs("list")) == 0 || len(others) > 0 {
			t.Errorf("controller sent these requests for Secrets:\n%s\nwant only tables of this namespace and reads of what is declared", secrets)
		}
	}
}

// The controller manages copies of credentials, so it has wide rights to Secrets. It has
// no right with which it could widen its rights or run workloads.
func TestControllerCannotWidenItsRights(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	for _, right := range []authorizationv1.ResourceAttributes{
		{Verb: "deletecollection", Resource: "secrets"},
		{Verb: "create", Resource: "pods"},
		{Verb: "create", Resource: "pods", Subresource: "exec"},
		{Verb: "patch", Resource: "pods"},
		{Verb: "update", Resource: "pods"},
		{Verb: "patch", Group: "serving.knative.dev", Resource: "revisions"},
		{Verb: "update", Group: "serving.knative.dev", Resource: "revisions"},
		{Verb: "create", Resource: "serviceaccounts"},
		{Verb: "update", Resource: "serviceaccounts"},
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token"},
		{Verb: "impersonate", Resource: "users"},
		{Verb: "update", Resource: "namespaces"},
		{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "rolebindings"},
		{Verb: "create", Group: "serving.knative.dev", Resource: "services"},
		{Verb: "update", Group: "serving.knative.dev", Resource: "services"},
		{Verb: "delete", Group: "serving.knative.dev", Resource: "services"},
		{Verb: "create", Group: pullsecrets.GroupName, Resource: "clusterpullsecrets"},
		{Verb: "delete", Group: pullsecrets.GroupName, Resource: "clusterpullsecrets"},
	} {
		right.Namespace = metav1.NamespaceDefault
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               pullsecrets.ControllerUser,
			Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + pullsecrets.SystemNamespace, "system:authenticated"},
			ResourceAttributes: &right,
		}}
		answer, err := e.Kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status.Allowed {
			t.Errorf("controller may %s %s/%s (%s)", right.Verb, right.Resource, right.Subresource, answer.Status.Reason)
		}
	}
}
