// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources holds what the Service reconciler decides and makes, as
// functions without effects.
package resources

import (
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/merge"
)

// Current is the Service's list as it is, and what the product added to it. The
// error says what is wrong with the ledger, which counts as far as it is good.
func Current(svc *servingv1.Service) (merge.Current, error) {
	ledger, err := merge.ParseLedger(svc.Annotations[addedKey])
	return merge.CurrentOf(merge.NamesOf(svc.Spec.Template.Spec.ImagePullSecrets), ledger, svc.ManagedFields, svc.Annotations), err
}

// CausedFailure reports whether the controller made the Service's newest Revision,
// as that user, and Knative says that it failed before it was ever Ready. Everything
// that this needs is in the Service itself, so that a restarted process knows it too:
// Knative notes who changed the spec last.
func CausedFailure(svc *servingv1.Service, user string) bool {
	return user != "" && svc.Annotations[serving.UpdaterAnnotation] == user &&
		svc.Status.ObservedGeneration == svc.Generation &&
		svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsFalse() && !WasReady(svc)
}
