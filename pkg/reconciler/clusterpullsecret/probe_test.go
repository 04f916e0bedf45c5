// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

var secrets = corev1.Resource("secrets")

// TestProbe lists the answers of the API server and what they mean.
func TestProbe(t *testing.T) {
	quota := apierrors.NewForbidden(secrets, "ghcr", errors.New("exceeded quota: small, requested: secrets=1, used: secrets=5, limited: secrets=5"))
	long := errors.New(strings.Repeat("é", 2*maxText))
	rights := apierrors.NewForbidden(secrets, "", errors.New(`User "system:serviceaccount:pullsecrets-system:controller" cannot create resource "secrets" in API group "" in the namespace "team"`))
	policy := apierrors.NewForbidden(secrets, "ghcr", errors.New("ValidatingAdmissionPolicy 'secrets.controller.pullsecrets.dev' with binding 'x' denied request: no"))
	for _, test := range []struct {
		reason string
		answer error
		want   failure
	}{
		{
			"the name is taken", apierrors.NewAlreadyExists(secrets, "ghcr"),
			failure{failureOf(v1alpha1.ReasonNameConflict, "Secret ghcr is not a copy and is left unchanged; rename it, or label it to be adopted"), true, true, false},
		},
		{"a quota is full", quota, failure{failureOf("Forbidden", quota.Error()), false, true, false}},
		{"permissions are missing", rights, failure{failureOf("Forbidden", rights.Error()), false, false, false}},
		{"the controller's own policy rejects", policy, failure{failureOf("Forbidden", policy.Error()), false, false, false}},
		{
			"an admission webhook rejects", apierrors.NewBadRequest("no Secrets here"),
			failure{failureOf("BadRequest", "no Secrets here"), false, true, false},
		},
		{
			"the API server fails", apierrors.NewInternalError(errors.New("ill")),
			failure{failureOf("InternalError", "Internal error occurred: ill"), false, false, false},
		},
		{
			"the API server is unreachable", errors.New("connection refused"),
			failure{failureOf(v1alpha1.ReasonDistributionFailed, "connection refused"), false, false, false},
		},
		{
			"the message is long", long,
			failure{failureOf(v1alpha1.ReasonDistributionFailed, strings.Repeat("é", maxText-1)+"…"), false, false, false},
		},
		{"nothing blocks it", nil, failure{failureOf("", ""), false, false, true}},
		{"the Namespace was deleted", apierrors.NewNotFound(secrets, "ghcr"), failure{failureOf("", ""), false, false, true}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			client := fake.NewClientset()
			answer := func(dryRun []string) (bool, runtime.Object, error) {
				if len(dryRun) != 1 || dryRun[0] != metav1.DryRunAll {
					t.Errorf("the write is no dry run: %+v", dryRun)
				}
				return true, &corev1.Secret{}, test.answer
			}
			client.PrependReactor("create", "secrets", func(action clientgotesting.Action) (bool, runtime.Object, error) {
				return answer(action.(clientgotesting.CreateActionImpl).CreateOptions.DryRun)
			})
			client.PrependReactor("patch", "secrets", func(action clientgotesting.Action) (bool, runtime.Object, error) {
				return answer(action.(clientgotesting.PatchActionImpl).PatchOptions.DryRun)
			})
			cps := ClusterPullSecret("robot", func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretName = "ghcr" })
			got := probeBy(client)(t.Context(), "team", cps, false)
			if outdated := probeBy(client)(t.Context(), "team", cps, true); outdated != got {
				t.Errorf("probe of an outdated copy = %+v, want the same", outdated)
			}
			if actions := client.Actions(); len(actions) != 2 || !actions[0].Matches("create", "secrets") || !actions[1].Matches("patch", "secrets") {
				t.Errorf("actions = %v, want a create for a missing copy and a patch for an outdated one", actions)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(failure{})); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			if utf8.RuneCountInString(got.Message) > maxText {
				t.Errorf("the message has %d characters", utf8.RuneCountInString(got.Message))
			}
		})
	}
}

func failureOf(reason, message string) v1alpha1.NamespaceFailure {
	return v1alpha1.NamespaceFailure{Namespace: "team", Reason: reason, Message: message}
}
