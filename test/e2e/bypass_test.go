// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// Services with this label, and Services in namespaces with it, bypass the webhook and the
// policies of config/outage. Only the controller handles them.
const (
	bypassLabel = "e2e.test/admission"
	bypassValue = "away"

	// injectWebhook and bindWebhook are the MutatingWebhookConfigurations for Services
	// and ServiceAccounts.
	injectWebhook = "inject.pullsecrets.dev"
	bindWebhook   = "bind.pullsecrets.dev"
)

// withoutAdmission is a Namespace that only the controller handles.
var withoutAdmission = env.Labelled(bypassLabel, bypassValue)

// outagePolicies are the policies that restore entries while the webhook is down, by the
// resource that they apply to.
var outagePolicies = map[string]string{"services": "services.outage.pullsecrets.dev", "serviceaccounts": "serviceaccounts.outage.pullsecrets.dev"}

var policies = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicies"}

// unadmitted is an edit that makes the object bypass the webhook.
func unadmitted(object *unstructured.Unstructured) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[bypassLabel] = bypassValue
	object.SetLabels(labels)
}

var bypass whileNeeded

// openBypass enables the bypassLabel for as long as any test needs it.
func openBypass(t *testing.T, e *env.Env) {
	t.Helper()
	bypass.want(t, func() func(context.Context, *testing.T) {
		expression := metav1.LabelSelectorRequirement{Key: bypassLabel, Operator: metav1.LabelSelectorOpNotIn, Values: []string{bypassValue}}
		changeWebhooks(t.Context(), t, e, func(wh *admissionregistrationv1.MutatingWebhook) {
			for _, selector := range []*metav1.LabelSelector{wh.NamespaceSelector, wh.ObjectSelector} {
				selector.MatchExpressions = append(without(selector.MatchExpressions), expression)
			}
		})
		changePolicies(t.Context(), t, e, func(expressions []any) []any {
			return append(withoutBypass(expressions), map[string]any{"key": bypassLabel, "operator": "NotIn", "values": []any{bypassValue}})
		})
		waitForBypass(t, e)
		return func(ctx context.Context, t *testing.T) {
			changePolicies(ctx, t, e, withoutBypass)
			changeWebhooks(ctx, t, e, func(wh *admissionregistrationv1.MutatingWebhook) {
				for _, selector := range []*metav1.LabelSelector{wh.NamespaceSelector, wh.ObjectSelector} {
					selector.MatchExpressions = without(selector.MatchExpressions)
				}
			})
		}
	})
}

// without returns the expressions without the bypass, which a killed test may have left.
func without(expressions []metav1.LabelSelectorRequirement) []metav1.LabelSelectorRequirement {
	var others []metav1.LabelSelectorRequirement
	for _, e := range expressions {
		if e.Key != bypassLabel {
			others = append(others, e)
		}
	}
	return others
}

// changeWebhooks changes the webhook configurations for Services and ServiceAccounts.
func changeWebhooks(ctx context.Context, t *testing.T, e *env.Env, change func(*admissionregistrationv1.MutatingWebhook)) {
	t.Helper()
	client := e.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, name := range []string{injectWebhook, bindWebhook} {
		err := retryOnConflict(func() error {
			configuration, err := client.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			change(&configuration.Webhooks[0])
			_, err = client.Update(ctx, configuration, metav1.UpdateOptions{FieldManager: user})
			return err
		})
		if err != nil {
			t.Fatalf("update the webhook configuration %s: %v", name, err)
		}
	}
}

// withoutBypass is without for the policies.
func withoutBypass(expressions []any) []any {
	return slices.DeleteFunc(slices.Clone(expressions), func(e any) bool { return e.(map[string]any)["key"] == bypassLabel })
}

// changePolicies changes the selectors of the policies in config/outage, if the cluster
// has them.
func changePolicies(ctx context.Context, t *testing.T, e *env.Env, change func(expressions []any) []any) {
	t.Helper()
	for _, name := range outagePolicies {
		err := retryOnConflict(func() error {
			policy, err := e.Dynamic.Resource(policies).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, selector := range []string{"namespaceSelector", "objectSelector"} {
				path := []string{"spec", "matchConstraints", selector, "matchExpressions"}
				expressions, _, err := unstructured.NestedSlice(policy.Object, path...)
				if err != nil {
					return err
				}
				if err := unstructured.SetNestedSlice(policy.Object, change(expressions), path...); err != nil {
					return err
				}
			}
			_, err = e.Dynamic.Resource(policies).Update(ctx, policy, metav1.UpdateOptions{FieldManager: user})
			return err
		})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatalf("update the policy %s: %v", name, err)
		}
	}
}

// waitForBypass waits until the API server calls the webhook and applies the policies for
// objects without the label only: its watches deliver the changes asynchronously.
func waitForBypass(t *testing.T, e *env.Env) {
	t.Helper()
	ask := func(ctx context.Context, edits ...func(*unstructured.Unstructured)) ([]string, error) {
		object := manifests(t, e, "by-digest.yaml")[0]
		object.SetName("bypass")
		annotated(pullsecrets.SecretsAnnotation, "ghcr")(object)
		for _, edit := range edits {
			edit(object)
		}
		made, err := e.Dynamic.Resource(services).Namespace(metav1.NamespaceDefault).
			Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return nil, err
		}
		return pullSecretsOf(made), nil
	}
	eventually(t, func(ctx context.Context) error {
		bypassed, err := ask(ctx, unadmitted)
		admitted, err2 := ask(ctx)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if len(bypassed) != 0 || len(admitted) != 1 {
			return fmt.Errorf("a Service with the label %s gets %q and one without it %q, want nothing and ghcr", bypassLabel, bypassed, admitted)
		}
		// The API server has one watch for all webhook configurations.
		return nil
	})
	waitForPolicies(t, e)
}

// waitForPolicies waits until no policy applies to objects with the bypass label. The API
// server has one watch for all policies. Where the kind is missing, there is nothing to
// wait for.
func waitForPolicies(t *testing.T, e *env.Env) {
	t.Helper()
	if served, err := env.ServesMutatingPolicies(e.Kube.Discovery()); err != nil || !served {
		return
	}
	// The controller leaves alone what is declared.
	accounts := e.Kube.CoreV1().ServiceAccounts(e.Namespace(t, withoutAdmission, optedIn("probe"), binds("*")))
	account, err := accounts.Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{
			Name: "probe", Labels: map[string]string{bypassLabel: bypassValue},
			Annotations: map[string]string{pullsecrets.AddedAnnotation: `{"probe":"namespace"}`},
		},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "probe"}},
	}, metav1.CreateOptions{FieldManager: user})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		changed, err := accounts.Patch(ctx, account.Name, types.MergePatchType, []byte(`{"imagePullSecrets":null}`),
			metav1.PatchOptions{FieldManager: user, DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(changed.ImagePullSecrets) > 0 {
			err = fmt.Errorf("a ServiceAccount with the label %s gets %v restored", bypassLabel, changed.ImagePullSecrets)
		}
		return err
	})
}
