// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// hostile is a tenant that writes what costs other tenants most. It has only the rights
// of a tenant in its own namespace.
type hostile struct {
	*env.Env
	serving   servingclient.Interface
	namespace string
	turn      int
}

// repeat calls act at a fixed rate until ctx ends. Requests that the API server rejects
// are part of the attack.
func (h *hostile) repeat(ctx context.Context, every time.Duration, act func(context.Context, *hostile) error) error {
	err := wait.PollUntilContextCancel(ctx, every, true, func(ctx context.Context) (bool, error) {
		h.turn++
		var rejected apierrors.APIStatus
		if err := act(ctx, h); err != nil && ctx.Err() == nil && !errors.As(err, &rejected) {
			return false, err
		}
		return false, nil
	})
	if errors.Is(err, context.Canceled) {
		return nil // The attack was stopped.
	}
	return err
}

// hostilities are the attacks. Each runs in its own namespace.
var hostilities = []struct {
	name    string
	every   time.Duration
	prepare func(context.Context, *hostile) error
	act     func(context.Context, *hostile) error
}{
	{
		// Annotations near the API server's size limit, changed all the time.
		name: "long", every: 500 * time.Millisecond,
		prepare: services(20, func(_ int, svc *servingv1.Service) {
			svc.Annotations = map[string]string{pullsecrets.SecretsAnnotation: longList()}
		}),
		act: func(ctx context.Context, h *hostile) error {
			return h.patchService(ctx, h.turn%20, fmt.Sprintf(`{"metadata":{"labels":{"turn":"%d"},"annotations":{%q:"x%d,%s"}}}`,
				h.turn, pullsecrets.SecretsAnnotation, h.turn, longList()))
		},
	},
	{
		// Services that were never Ready and keep requesting another name.
		name: "flapping", every: 50 * time.Millisecond,
		prepare: services(70, nil),
		act: func(ctx context.Context, h *hostile) error {
			return h.patchNamespace(ctx, fmt.Sprintf(`{"metadata":{"annotations":{%q:"flap-%d"}}}`, pullsecrets.SecretsAnnotation, h.turn))
		},
	},
	{
		// Names of Secrets that do not exist, which the controller has to look up.
		name: "missing", every: 200 * time.Millisecond,
		prepare: services(60, func(_ int, svc *servingv1.Service) {
			svc.Annotations = map[string]string{pullsecrets.SecretsAnnotation: manyNames("missing", pullsecrets.MaxSecrets)}
		}),
		act: func(ctx context.Context, h *hostile) error {
			return h.patchNamespace(ctx, fmt.Sprintf(`{"metadata":{"annotations":{%q:"*","%s":"turn-%d"}}}`,
				pullsecrets.ServiceAccountsAnnotation, pullsecrets.SecretsAnnotation, h.turn%2))
		},
	},
	{
		// Mistakes that each cause an Event.
		name: "mistakes", every: 50 * time.Millisecond,
		prepare: services(10, nil),
		act: func(ctx context.Context, h *hostile) error {
			return h.patchService(ctx, h.turn%10, fmt.Sprintf(`{"metadata":{"annotations":{%q:"Wrong_%d"}}}`, pullsecrets.SecretsAnnotation, h.turn))
		},
	},
	{
		// ServiceAccounts that do not exist, which admission has to look up.
		name: "accounts", every: 50 * time.Millisecond,
		prepare: func(ctx context.Context, h *hostile) error {
			return h.patchNamespace(ctx, fmt.Sprintf(`{"metadata":{"annotations":{%q:"ghcr"}}}`, pullsecrets.SecretsAnnotation))
		},
		act: func(ctx context.Context, h *hostile) error {
			svc := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "account"}}
			svc.Spec.Template.Spec.ServiceAccountName = fmt.Sprintf("nobody-%d", h.turn)
			svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: fleet.Image}}
			_, err := h.serving.ServingV1().Services(h.namespace).Create(ctx, svc, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		},
	},
	{
		// Secrets with the labels of copies that nothing grants.
		name: "labels", every: 200 * time.Millisecond,
		prepare: services(0, nil),
		act: func(ctx context.Context, h *hostile) error {
			_, err := h.Kube.CoreV1().Secrets(h.namespace).Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "forged", Labels: map[string]string{
					pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "forged",
				}},
				Type: corev1.SecretTypeDockerConfigJson, Data: credential("forged"),
			}, metav1.CreateOptions{})
			return err
		},
	},
}

// services creates Services that Knative has not reconciled, so they were never Ready.
func services(n int, shape func(int, *servingv1.Service)) func(context.Context, *hostile) error {
	return func(ctx context.Context, h *hostile) error {
		return fleet.Create(ctx, h.serving, h.namespace, 0, n, shape)
	}
}

func (h *hostile) patchService(ctx context.Context, i int, patch string) error {
	_, err := h.serving.ServingV1().Services(h.namespace).Patch(ctx, fleet.Name(i), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (h *hostile) patchNamespace(ctx context.Context, patch string) error {
	_, err := h.Kube.CoreV1().Namespaces().Patch(ctx, h.namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// manyNames returns an annotation value with n names.
func manyNames(prefix string, n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return strings.Join(names, ",")
}

// longList returns a value of about the maximum total size of annotations.
func longList() string { return manyNames("no-such-secret-of-anybody", 6000) }
