// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/explain"
)

// right is a right to be checked, in all namespaces. The resource may have a subresource.
type right struct{ verb, group, resource string }

func (r right) String() string {
	resource, subresource, has := strings.Cut(r.resource, "/")
	if r.group != "" {
		resource += "." + r.group
	}
	if has {
		resource += "/" + subresource
	}
	return r.verb + " " + resource
}

func (r right) attributes() *authorizationv1.ResourceAttributes {
	resource, subresource, _ := strings.Cut(r.resource, "/")
	return &authorizationv1.ResourceAttributes{Verb: r.verb, Group: r.group, Resource: resource, Subresource: subresource}
}

// toInstall are the rights that applying the release needs, apart from those in the namespaces
// that it creates.
var toInstall = []right{
	{"create", "", "namespaces"},
	{"create", "apiextensions.k8s.io", "customresourcedefinitions"},
	{"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
	{"create", "admissionregistration.k8s.io", "validatingwebhookconfigurations"},
	{"create", "admissionregistration.k8s.io", "validatingadmissionpolicies"},
	{"create", "admissionregistration.k8s.io", "validatingadmissionpolicybindings"},
	{"create", "rbac.authorization.k8s.io", "clusterroles"},
	{"create", "rbac.authorization.k8s.io", "clusterrolebindings"},
	{"create", "apps", "deployments"},
}

// ofController are the rights of the controller's ClusterRole (config/200-clusterrole.yaml).
// Without any one, a part of it does not work: a watch that is denied never syncs.
var ofController = slices.Concat(
	each("", "namespaces", "get", "list", "watch"),
	each("serving.knative.dev", "services", "get", "list", "watch", "patch"),
	each("", "serviceaccounts", "get", "list", "watch", "patch"),
	each("", "secrets", "get", "list", "watch", "create", "update", "patch", "delete"),
	each("serving.knative.dev", "revisions", "get", "list", "watch", "delete"),
	each(pullsecrets.GroupName, "clusterpullsecrets", "get", "list", "watch", "patch"),
	each(pullsecrets.GroupName, "clusterpullsecrets/status", "update"),
	each("", "events", "create", "patch"),
)

// ofInjectOnly are those of the profile inject-only (kustomize/components/inject-only).
var ofInjectOnly = slices.Concat(
	each("", "namespaces", "get", "list", "watch"),
	each("serving.knative.dev", "services", "get", "list", "watch", "patch"),
	each("", "serviceaccounts", "get", "list", "watch", "patch"),
	each("", "events", "create", "patch"),
)

// rightsOf returns the rights that the controller needs. Of an unknown profile, they are those that
// every profile needs, which are those of inject-only.
func rightsOf(profile config.Profile) []right {
	if profile == config.Full {
		return ofController
	}
	return ofInjectOnly
}

// each returns a right for each verb.
func each(group, resource string, verbs ...string) (rights []right) {
	for _, verb := range verbs {
		rights = append(rights, right{verb, group, resource})
	}
	return rights
}

// ownRights checks whether the caller may install the release.
func (r *reader) ownRights(ctx context.Context, in *explain.Installation) error {
	for _, right := range toInstall {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: right.attributes()}}
		answer, err := r.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		in.Rights = true
		if !answer.Status.Allowed {
			in.Denied = append(in.Denied, right.String())
		}
	}
	return nil
}

// controllerRights checks the rights of the controller, if the caller may ask for them.
func (r *reader) controllerRights(ctx context.Context, in *explain.Installation) error {
	for _, right := range rightsOf(in.InstalledProfile()) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: pullsecrets.ControllerUser, ResourceAttributes: right.attributes(),
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + pullsecrets.SystemNamespace, "system:authenticated"},
		}}
		answer, err := r.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		readable, err := r.readable(err, "rights of the controller", "create", "subjectaccessreviews")
		if err != nil || !readable {
			return err
		}
		in.Rights = true
		if !answer.Status.Allowed {
			in.Denied = append(in.Denied, right.String())
		}
	}
	return nil
}
