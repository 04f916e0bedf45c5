// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/merge"
)

// IsReady reports whether the newest Revision of a Service is Ready, as far as Knative has
// observed it. The Service's own Ready condition also depends on routes and certificates,
// which a new Revision does not repair.
func IsReady(svc *servingv1.Service) bool {
	if isBehind(svc) {
		return mayBecomeReady(svc)
	}
	return svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsTrue()
}

// WasReady reports whether the newest Revision of a Service is Ready or ever was. A
// Revision that was Ready and fails now, because of capacity or a crash, may recover, and a
// new Revision in its place could run other code.
func WasReady(svc *servingv1.Service) bool {
	if isBehind(svc) {
		return mayBecomeReady(svc)
	}
	created := svc.Status.LatestCreatedRevisionName
	return created != "" && created == svc.Status.LatestReadyRevisionName
}

// IsKnownToHaveBeenReady is WasReady for statuses that are up to date: it is false while the status
// describes an older generation.
func IsKnownToHaveBeenReady(svc *servingv1.Service) bool { return !isBehind(svc) && WasReady(svc) }

// outOfDate is the reason that Knative sets while a Configuration has not observed the
// newest generation of its Service (see MarkConfigurationNotReconciled).
const outOfDate = "OutOfDate"

// isBehind reports whether the status of a Service describes an older generation.
func isBehind(svc *servingv1.Service) bool {
	configurations := svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)
	return svc.Status.ObservedGeneration != svc.Generation || configurations.IsUnknown() && configurations.GetReason() == outOfDate
}

// mayBecomeReady reports whether a Revision that Knative has not created yet must be
// assumed to become Ready, because an earlier one did.
func mayBecomeReady(svc *servingv1.Service) bool { return svc.Status.LatestReadyRevisionName != "" }

// Pinned reports whether all images of a Service are given by digest, so that a new
// Revision runs the same code. The queue-proxy's image does not count: Knative changes it
// in the Pods of all Revisions alike.
func Pinned(svc *servingv1.Service) bool {
	spec := svc.Spec.Template.Spec.PodSpec
	var images []string
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		images = append(images, c.Image)
	}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images = append(images, v.Image.Reference)
		}
	}
	return !slices.ContainsFunc(images, func(image string) bool {
		_, err := name.NewDigest(image, name.WeakValidation)
		return err != nil
	})
}

// asks reports whether the Service's own annotations ask for the change: by a name that it
// declares or no longer declares, or by a mode that it sets for itself.
func asks(asked annotation.Service, r merge.Result) bool {
	return asked.Inject == annotation.Declared || asked.Inject == annotation.Auto || len(r.Taken) > 0 ||
		slices.ContainsFunc(r.Added, func(e merge.Entry) bool { return e.Origin == merge.FromService })
}
