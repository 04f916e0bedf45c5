// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"

	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// Retryable returns why the newest Revision of a Service must not be deleted to have Knative
// build it again, or nil. Only one that failed before it was ever Ready, and gets no traffic, can
// be deleted without harm.
func Retryable(svc *servingv1.Service, revision *servingv1.Revision) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("refused to delete Revision %s/%s: %s", revision.Namespace, revision.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case !svc.DeletionTimestamp.IsZero(), !revision.DeletionTimestamp.IsZero():
		return refuse("it is being deleted already")
	case svc.Status.ObservedGeneration != svc.Generation:
		return refuse("Knative has not observed the latest change of Service %s yet; try again", svc.Name)
	case revision.Name != svc.Status.LatestCreatedRevisionName, revision.Labels[serving.ServiceLabelKey] != svc.Name:
		return refuse("it is not the newest Revision of Service %s", svc.Name)
	case revision.Name == svc.Status.LatestReadyRevisionName, revision.IsReady():
		return refuse("it is or was Ready")
	case slices.ContainsFunc(svc.Status.Traffic, func(t servingv1.TrafficTarget) bool { return t.RevisionName == revision.Name }):
		return refuse("it gets traffic")
	case !revision.IsFailed() && !containerMissing(revision):
		return refuse("it has not failed; wait until Knative reports a failure")
	}
	return nil
}

// containerMissing reports whether a tag of a Revision could not be resolved.
func containerMissing(revision *servingv1.Revision) bool {
	return revision.Status.GetCondition(servingv1.RevisionConditionContainerHealthy).IsFalse()
}
