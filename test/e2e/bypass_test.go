// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// Services with this label, and Services in namespaces with it, bypass the webhook. For
// them it is as if the webhook were down: only the controller handles them.
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
		waitForBypass(t, e)
		return func(ctx context.Context, t *testing.T) {
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

// waitForBypass waits until the API server calls the webhook for objects without the
// label only: its watch delivers the change asynchronously.
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
}
