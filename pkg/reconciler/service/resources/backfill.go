// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/merge"
)

// Ready tells whether the newest Revision of a Service is Ready. The Service's
// own readiness would not do: it also falls with a route or a certificate,
// where a new Revision mends nothing and could ship other code.
func Ready(svc *servingv1.Service) bool {
	return svc.Status.ObservedGeneration == svc.Generation &&
		svc.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsTrue() ||
		// Knative has not looked at the newest generation yet. If an earlier
		// Revision serves, nobody knows whether this one will not.
		svc.Status.ObservedGeneration != svc.Generation && svc.Status.LatestReadyRevisionName != ""
}

// Pinned reports whether all images of a Service, those of image volumes included,
// are given by digest, so that a new Revision runs the very same code.
func Pinned(svc *servingv1.Service) bool {
	spec := svc.Spec.Template.Spec.PodSpec
	moves := func(image string) bool {
		_, err := name.NewDigest(image, name.WeakValidation)
		return err != nil
	}
	return !slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool { return moves(c.Image) }) &&
		!slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Image != nil && moves(v.Image.Reference) })
}

// Verdict is what may be done to a Service that nobody is changing.
type Verdict struct {
	// Write: change it now, as the rate allows.
	Write bool
	// Why says, where it is not written, how to get it all the same. It is
	// empty where there is nothing to tell.
	Why string
}

// Judge applies the configured backfill to a change of a Service's list. With
// safe, a Service is changed only where that cannot ship code that nobody
// deployed, or where its own annotation asks for it: a tag is resolved anew for
// each Revision.
func Judge(mode config.Backfill, svc *servingv1.Service, asked annotation.Service, r merge.Result) Verdict {
	if !r.ListChanged {
		// The ledger alone makes no Revision.
		return Verdict{Write: mode == config.BackfillSafe || mode == config.BackfillAll}
	}
	switch mode {
	case config.BackfillAll:
		return Verdict{Write: true}
	case config.BackfillReport:
		return Verdict{Why: "config-pullsecrets has backfill: report"}
	case config.BackfillDisabled:
		return Verdict{}
	}
	if !Ready(svc) || asks(asked, r) || Pinned(svc) {
		return Verdict{Write: true}
	}
	return Verdict{Why: "its images are given by tag, and a Revision now could run other code than was deployed; to get it now, annotate the Service itself with pullsecrets.dev/inject: declared or auto"}
}

// asks tells whether the Service's own annotations ask for the change: a name
// that it declares or no longer declares, or a mode that it chose for itself.
func asks(asked annotation.Service, r merge.Result) bool {
	return asked.Inject == annotation.Declared || asked.Inject == annotation.Auto || len(r.Taken) > 0 ||
		slices.ContainsFunc(r.Added, func(e merge.Entry) bool { return e.Origin == merge.FromService })
}
