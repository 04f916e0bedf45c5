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

// TestProbe lists what the API server's answers mean.
func TestProbe(t *testing.T) {
	quota := apierrors.NewForbidden(secrets, "ghcr", errors.New("exceeded quota: small, requested: secrets=1, used: secrets=5, limited: secrets=5"))
	long := errors.New(strings.Repeat("é", 2*maxText))
	for _, test := range []struct {
		reason string
		answer error
		want   failure
	}{
		{
			"there is one", apierrors.NewAlreadyExists(secrets, "ghcr"),
			failure{failureOf(v1alpha1.ReasonNameConflict, "Secret ghcr is not ours, or its update fails; it is left alone"), true, true},
		},
		{"a quota is full", quota, failure{failureOf("Forbidden", quota.Error()), false, true}},
		{
			"an admission webhook refuses", apierrors.NewBadRequest("no Secrets here"),
			failure{failureOf("BadRequest", "no Secrets here"), false, true},
		},
		{
			"the API server is ill", apierrors.NewInternalError(errors.New("ill")),
			failure{failureOf("InternalError", "Internal error occurred: ill"), false, false},
		},
		{
			"it is not there", errors.New("connection refused"),
			failure{failureOf(v1alpha1.ReasonDistributionFailed, "connection refused"), false, false},
		},
		{
			"somebody has much to say", long,
			failure{failureOf(v1alpha1.ReasonDistributionFailed, strings.Repeat("é", maxText-1)+"…"), false, false},
		},
		{"nothing is in the way", nil, failure{failureOf(v1alpha1.ReasonDistributing, "The copy is still to come"), false, false}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "secrets", func(action clientgotesting.Action) (bool, runtime.Object, error) {
				if options := action.(clientgotesting.CreateActionImpl).CreateOptions; len(options.DryRun) != 1 || options.DryRun[0] != metav1.DryRunAll {
					t.Errorf("a Secret is made in earnest: %+v", options)
				}
				return true, action.(clientgotesting.CreateAction).GetObject(), test.answer
			})
			got := probeBy(client)(t.Context(), "team", ClusterPullSecret("robot", func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretName = "ghcr" }))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(failure{})); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			if utf8.RuneCountInString(got.Message) > maxText {
				t.Errorf("%d characters are passed on", utf8.RuneCountInString(got.Message))
			}
		})
	}
}

func failureOf(reason, message string) v1alpha1.NamespaceFailure {
	return v1alpha1.NamespaceFailure{Namespace: "team", Reason: reason, Message: message}
}
