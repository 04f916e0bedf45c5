// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// The controller manages copies of credentials, so it has wide rights to Secrets. It has
// no right with which it could widen its rights or run workloads: of all that the API server
// serves, it may write only this.
func TestControllerCannotWidenItsRights(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	controller, err := e.AsServiceAccount(t.Context(), pullsecrets.SystemNamespace, "controller")
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(ofEverybody, ofLeaders, []string{
		"patch clusterpullsecrets.pullsecrets.dev",
		"update clusterpullsecrets/status.pullsecrets.dev",
	})
	for _, namespace := range askedNamespaces {
		for _, right := range []string{
			"create events", "patch events",
			"create secrets", "delete secrets", "patch secrets", "update secrets",
			"patch serviceaccounts",
			"delete revisions.serving.knative.dev",
			"patch services.serving.knative.dev",
		} {
			want = append(want, right+" in "+namespace)
		}
	}
	checkRights(t, controller, writesOf(t, controller), want)
	checkLeases(t, controller, "controller.x", "pullsecrets-webhook.x", "x")
}

// askedNamespaces are a namespace of users, that of Kubernetes, and those in which the programs have
// rights of their own, or could read credentials.
var askedNamespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, pullsecrets.SystemNamespace, pullsecrets.SourcesNamespace, "knative-serving"}

var (
	// ofEverybody are rights of each user, to ask about themselves (system:basic-user).
	ofEverybody = []string{
		"create selfsubjectreviews.authentication.k8s.io",
		"create selfsubjectaccessreviews.authorization.k8s.io", "create selfsubjectrulesreviews.authorization.k8s.io",
	}
	// ofLeaders are rights for leader election. A policy limits the names of the leases.
	ofLeaders = []string{
		"create leases.coordination.k8s.io in " + pullsecrets.SystemNamespace, "update leases.coordination.k8s.io in " + pullsecrets.SystemNamespace,
	}
	writeVerbs = []string{"create", "update", "patch", "delete", "deletecollection"}
	// connections are subresources that act, also by a get.
	connections = []string{"attach", "exec", "portforward", "proxy"}
)

// writesOf returns a question for each right to write what the API server serves, for those
// that it checks without serving them, and for each name in a rule for the user.
func writesOf(t *testing.T, as *env.Env) (all []authorizationv1.ResourceAttributes) {
	t.Helper()
	asked, ofNamespaces := map[string]bool{}, map[schema.GroupResource]bool{}
	ask := func(group, name string, namespaced bool, verbs ...string) {
		namespaces := []string{metav1.NamespaceNone}
		if namespaced {
			namespaces = askedNamespaces
		}
		resource, subresource, _ := strings.Cut(name, "/")
		for _, verb := range verbs {
			for _, namespace := range namespaces {
				right := authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: namespace}
				asked[inWords(right)] = true
				all = append(all, right)
			}
		}
	}
	_, lists, err := as.Kube.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, served := range list.APIResources {
			_, subresource, _ := strings.Cut(served.Name, "/")
			ofNamespaces[schema.GroupResource{Group: version.Group, Resource: served.Name}] = served.Namespaced
			for _, verb := range served.Verbs {
				if slices.Contains(writeVerbs, verb) || slices.Contains(connections, subresource) {
					ask(version.Group, served.Name, served.Namespaced, verb)
				}
			}
		}
	}
	for _, known := range []string{
		"create pods/exec in default", "create serviceaccounts/token in default", "patch revisions.serving.knative.dev in default", "delete namespaces",
	} {
		if !asked[known] {
			t.Errorf("the API server does not serve %q: the discovery was not understood", known)
		}
	}
	ask("rbac.authorization.k8s.io", "roles", true, "bind", "escalate")
	ask("rbac.authorization.k8s.io", "clusterroles", false, "bind", "escalate")
	ask("", "serviceaccounts", true, "impersonate")
	ask("", "users", false, "impersonate")
	ask("", "groups", false, "impersonate")
	ask("authentication.k8s.io", "uids", false, "impersonate")
	ask("authentication.k8s.io", "userextras/scopes", false, "impersonate")
	ask("certificates.k8s.io", "signers", false, "approve", "attest", "sign")
	for _, namespace := range askedNamespaces {
		all = append(all, namedIn(t, as, namespace, ofNamespaces)...)
	}
	return all
}

// namedIn returns a question for each name in a rule for the user. A right to one name is not found
// without the name.
func namedIn(t *testing.T, as *env.Env, namespace string, ofNamespaces map[schema.GroupResource]bool) (all []authorizationv1.ResourceAttributes) {
	t.Helper()
	review, err := as.Kube.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				right := authorizationv1.ResourceAttributes{Group: group}
				if ofNamespaces[schema.GroupResource{Group: group, Resource: resource}] {
					right.Namespace = namespace
				}
				right.Resource, right.Subresource, _ = strings.Cut(resource, "/")
				for _, right.Name = range rule.ResourceNames {
					for _, right.Verb = range writeVerbs {
						all = append(all, right)
					}
				}
			}
		}
	}
	return all
}

// inWords returns a right as in "patch services.serving.knative.dev in default".
func inWords(right authorizationv1.ResourceAttributes) string {
	resource := right.Resource
	if right.Subresource != "" {
		resource += "/" + right.Subresource
	}
	text := right.Verb + " " + schema.GroupResource{Group: right.Group, Resource: resource}.String()
	if right.Name != "" {
		text += " " + right.Name
	}
	if right.Namespace != "" {
		text += " in " + right.Namespace
	}
	return text
}

// checkRights asks the API server for rights as a user, and compares those that the user has.
func checkRights(t *testing.T, as *env.Env, asked []authorizationv1.ResourceAttributes, want []string) {
	t.Helper()
	var (
		mu        sync.Mutex
		got       []string
		running   sync.WaitGroup
		questions = make(chan authorizationv1.ResourceAttributes)
	)
	ask := func(ctx context.Context, right authorizationv1.ResourceAttributes) error {
		answer, err := as.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err == nil && answer.Status.EvaluationError != "" {
			err = fmt.Errorf("evaluation: %s", answer.Status.EvaluationError)
		}
		if err == nil && answer.Status.Allowed {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, inWords(right))
		}
		return err
	}
	for range 8 {
		running.Go(func() {
			for right := range questions {
				if err := ask(t.Context(), right); err != nil {
					t.Errorf("ask for %s: %v", inWords(right), err)
				}
			}
		})
	}
	sent := map[string]bool{}
	for _, right := range asked {
		if text := inWords(right); !sent[text] {
			sent[text] = true
			questions <- right
		}
	}
	close(questions)
	running.Wait()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of %d rights asked for, the user has (-want, +got):\n%s", len(sent), diff)
	}
}
