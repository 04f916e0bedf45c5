// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
)

// Misplaced returns problems for the keys of our group on a Service and its template that
// have no meaning there.
func Misplaced(svc *servingv1.Service) []annotation.Problem {
	template := &svc.Spec.Template
	return slices.Concat(annotation.Misplaced(annotation.OnService, svc.Annotations, svc.Labels),
		annotation.Misplaced(annotation.OnTemplate, template.Annotations, template.Labels))
}
