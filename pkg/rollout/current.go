// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides whether a Service may be changed now. Each change of its list of pull
// secrets rolls out a Revision, which resolves its tags again. It also says what the failure of a
// Revision means. The reconcilers act by these decisions, and the command line explains them. They
// have no effects.
package rollout

import (
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// Current returns the Service's list and ledger. The error describes a damaged ledger,
// whose valid items still count.
func Current(svc *servingv1.Service) (merge.Current, error) {
	ledger, err := merge.ParseLedger(svc.Annotations[pullsecrets.AddedAnnotation])
	return merge.CurrentOf(merge.NamesOf(svc.Spec.Template.Spec.ImagePullSecrets), ledger, svc.ManagedFields, svc.Annotations), err
}

// CausedFailure reports whether the Service's newest Revision was caused by the controller,
// which has that user name, and failed before it was ever Ready. The Service itself holds
// all that this needs, so a restarted process knows it too: Knative notes who changed the
// spec last.
func CausedFailure(svc *servingv1.Service, user string) bool {
	return user != "" && svc.Annotations[serving.UpdaterAnnotation] == user &&
		svc.Status.ObservedGeneration == svc.Generation &&
		svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsFalse() && !WasReady(svc)
}
