// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources holds what the Service reconciler decides and makes, as
// functions without effects.
package resources

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/merge"
)

// enforceMountableSecrets is the annotation by which a ServiceAccount forbids
// its Pods to name pull secrets that it does not list itself
// (kubernetes/plugin/pkg/admission/serviceaccount).
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// AccountName is the ServiceAccount that the Pods of a Service run as.
func AccountName(svc *servingv1.Service) string {
	return cmp.Or(svc.Spec.Template.Spec.ServiceAccountName, "default")
}

// AccountOf is a ServiceAccount as far as pull secrets are concerned. The
// account may be nil, where it does not exist (yet).
func AccountOf(name string, account *corev1.ServiceAccount) merge.Account {
	a := merge.Account{Name: name}
	if account == nil {
		return a
	}
	a.Secrets = NamesOf(account.ImagePullSecrets)
	a.Enforced = strings.EqualFold(account.Annotations[enforceMountableSecrets], "true")
	return a
}

// Declare is what a Service should have, by its own annotations, those of its
// Namespace and the policy that results from both.
func Declare(policy annotation.Policy, namespace annotation.Namespace, service annotation.Service, account merge.Account) merge.Declared {
	return merge.Declared{
		Hold:      policy.Hold,
		Service:   service.Secrets,
		Namespace: namespace.Secrets,
		Account:   account,
	}
}

// Current is the Service's list as it is, and what the product added to it. The
// error says what is wrong with the ledger, which counts as far as it is good.
func Current(svc *servingv1.Service) (merge.Current, error) {
	ledger, err := merge.ParseLedger(svc.Annotations[addedKey])
	return merge.Current{
		List:    NamesOf(svc.Spec.Template.Spec.ImagePullSecrets),
		Ledger:  ledger,
		Claimed: merge.Claimed(svc.ManagedFields, svc.Annotations),
	}, err
}

// NamesOf are the names of references, in order.
func NamesOf(refs []corev1.LocalObjectReference) []string {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	return names
}

// CausedFailure tells whether the product made the Service's newest Revision,
// as that user, and Knative says that it failed. Everything that this needs is
// in the Service itself, so that a restarted process knows it too: Knative notes
// who changed the spec last.
func CausedFailure(svc *servingv1.Service, user string) bool {
	return user != "" && svc.Annotations[serving.UpdaterAnnotation] == user &&
		svc.Status.ObservedGeneration == svc.Generation &&
		svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsFalse()
}
