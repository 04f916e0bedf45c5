// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources decides, without effects, what is kept of a Revision, which of its images
// are reported as not covered, and whether it is retried.
package resources

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
)

// Revision is what is kept of a Revision. It is small, because there is one for each Service.
type Revision struct {
	Name           string
	ServiceAccount string
	// Routed means that traffic can reach it, also if it is scaled to zero.
	Routed bool
	// Template lacks what the ServiceAccount lists.
	Template coverage.Template
	// Rejected are the positions of images that the registry rejected with 401 or 403 when
	// Knative resolved their tags. It is empty for a Revision that was ever Ready.
	Rejected Positions
	// Unpulled are the positions of images that no node could pull.
	Unpulled Positions
}

// Positions is a set of positions of images in a template, of which there are less than 64.
type Positions uint64

// Has reports whether the set contains a position.
func (p Positions) Has(i int) bool { return i < grant.MaxImages && p&(1<<i) != 0 }

// First returns the first position, or -1.
func (p Positions) First() int {
	for i := range grant.MaxImages {
		if p.Has(i) {
			return i
		}
	}
	return -1
}

// maxName is the length of a name of a pull secret or a container up to which it is kept. A
// longer one is invalid, and stays so.
const maxName = 254

// maxReference is the length of a reference up to which it is kept. A longer one cannot be
// pulled, see pkg/coverage.
const maxReference = 1025

// maxPullSecrets is one more than pkg/coverage considers of a list, so that it sees that there
// are more.
const maxPullSecrets = 129

// RevisionOf returns what is kept of a Revision.
func RevisionOf(from *servingv1.Revision) Revision {
	r := Revision{
		Name: from.Name, ServiceAccount: merge.AccountName(from.Spec.ServiceAccountName),
		Routed: from.Labels[serving.RoutingStateLabelKey] == string(servingv1.RoutingStateActive),
	}
	r.Template = coverage.TemplateOf(&from.Spec.PodSpec)
	r.Template.Resolved = rollout.Resolved(from)
	r.Template.Images = slices.Clone(r.Template.Images[:min(len(r.Template.Images), grant.MaxImages)])
	for i := range r.Template.Images {
		image := &r.Template.Images[i]
		image.Name, image.Reference = cut(image.Name, maxName), cut(image.Reference, maxReference)
	}
	r.Template.PullSecrets = slices.Clone(r.Template.PullSecrets[:min(len(r.Template.PullSecrets), maxPullSecrets)])
	for i, name := range r.Template.PullSecrets {
		r.Template.PullSecrets[i] = cut(name, maxName)
	}
	if missing := from.Status.GetCondition(servingv1.RevisionConditionContainerHealthy); missing.IsFalse() &&
		missing.GetReason() == servingv1.ReasonContainerMissing && neverReady(from) && rollout.Rejected(missing.GetMessage()) {
		r.Rejected = r.named(missing.GetMessage(), func(reference string) string { return `"` + reference + `"` })
	}
	if resources := from.Status.GetCondition(servingv1.RevisionConditionResourcesAvailable); resources.IsFalse() &&
		slices.Contains([]string{"ImagePullBackOff", "ErrImagePull"}, resources.GetReason()) {
		r.Unpulled = r.named(resources.GetMessage(), repositoryIn)
	}
	return r
}

// neverReady reports whether a Revision was certainly never Ready. It has no Pods before all
// tags are resolved, and the status keeps the digests forever.
func neverReady(r *servingv1.Revision) bool {
	return len(r.Status.ContainerStatuses) == 0 && len(r.Status.InitContainerStatuses) == 0 &&
		!r.Status.GetCondition(servingv1.RevisionConditionReady).IsTrue()
}

// named returns the positions of the images that a message names.
func (r *Revision) named(message string, as func(reference string) string) (found Positions) {
	for i := range r.Template.Images {
		if text := as(r.Template.Images[i].Reference); rollout.Mentions(message, text) {
			found |= 1 << i
		}
	}
	return found
}

// repositoryIn returns the part of a reference that a node's message has in any case: without
// tag and digest, which Knative replaces, and so without the host of Docker Hub.
func repositoryIn(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if tag := strings.LastIndexByte(name, ':'); tag > strings.LastIndexByte(name, '/') {
		name = name[:tag]
	}
	for _, hub := range []string{"docker.io/", "index.docker.io/"} {
		name = strings.TrimPrefix(name, hub)
	}
	return name
}

func cut(text string, most int) string { return text[:min(len(text), most)] }

// ServiceOf returns the name of the Service that a Revision belongs to, or an empty string.
func ServiceOf(r metav1.Object) string { return r.GetLabels()[serving.ServiceLabelKey] }

// maxListed is the number of names of a list that are looked up.
const maxListed = 64

// Names returns the names of the Secrets that a reader of the Revision may read, each once:
// those of its list and of its ServiceAccount, which t has.
func Names(t coverage.Template) []string {
	var names []string
	for _, list := range [][]string{t.PullSecrets, t.ServiceAccount} {
		for _, name := range list[:min(len(list), maxListed)] {
			if len(validation.IsDNS1123Subdomain(name)) == 0 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Lists reports whether a list has all these names.
func Lists(list, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(list, name) })
}
