// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strconv"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/rollout"
)

// Outcome is what happens to a Service.
type Outcome string

// The outcomes.
const (
	// Now: the controller changes it as soon as its rate allows.
	Now Outcome = "now"
	// Later: it changes with the next change of its template.
	Later Outcome = "deferred"
	// Named: its template names its Revision, and it changes with the next name.
	Named Outcome = "named"
	// AtCreation: it does not exist yet, and is created with the pull secrets.
	AtCreation Outcome = "at creation"
	// Nothing: it stays as it is.
	Nothing Outcome = "nothing"
	// NotKnown: the Namespace cannot be read, or ClusterPullSecrets, which may declare more.
	NotKnown Outcome = "not checked"
)

// Plan is what an opt-in changes.
type Plan struct {
	Services []PlannedService `json:"services"`
	// Revisions that the controller causes, and Pods that these start with min-scale.
	Revisions int `json:"revisions"`
	Pods      int `json:"minScalePods"`
	// Minutes that it takes at the configured rate, at least.
	Minutes int `json:"minutes"`
	// PerMinute is the rate, or 0 for no limit.
	PerMinute int `json:"perMinute"`
}

// PlannedService is what happens to one Service.
type PlannedService struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Outcome   Outcome        `json:"outcome"`
	Add       []OriginReport `json:"add,omitempty"`
	Remove    []OriginReport `json:"remove,omitempty"`
	MinScale  int            `json:"minScale,omitempty"`
	// Note says why, where that is not obvious.
	Note string `json:"note,omitempty"`
}

// Planned returns what happens to Services with these objects, whose Namespaces already have the
// annotations of the opt-in.
func Planned(all []*Objects, settings Settings) (Plan, []Finding) {
	plan := Plan{Services: []PlannedService{}, PerMinute: settings.Config.BackfillPerMinute}
	var findings []Finding
	for _, o := range all {
		s := &subject{Objects: o}
		s.begin()
		planned := s.planned()
		plan.Services = append(plan.Services, planned)
		if planned.Outcome == Now {
			plan.Revisions++
			plan.Pods += planned.MinScale
		}
		s.invalid()
		if s.excluded != "" {
			s.optedOut()
		}
		s.withheldNames()
		findings = append(findings, s.findings...)
	}
	if plan.PerMinute > 0 {
		plan.Minutes = (plan.Revisions + plan.PerMinute - 1) / plan.PerMinute
	}
	return plan, sorted(findings)
}

// planned returns the outcome for one Service.
func (s *subject) planned() PlannedService {
	p := PlannedService{
		Namespace: s.Service.Namespace, Name: s.Service.Name, Outcome: Nothing, MinScale: minScale(s.Service),
		Add: origins(s.due.Added), Remove: origins(s.due.Taken),
	}
	switch {
	case s.Namespace == nil:
		p.Outcome = NotKnown
	case s.excluded != "":
		p.Note = "the namespace is excluded by " + s.excluded
	case s.declaration.Policy.Disabled:
		p.Note = "injection is disabled"
	case s.Service.ResourceVersion == "" && s.Service.Status.ObservedGeneration == 0:
		p.Add, p.Remove = origins(s.next.Added), nil
		if why := s.grantsUnread(); len(p.Add) > 0 {
			p.Outcome = AtCreation
		} else if why != "" {
			p.Outcome, p.Note = NotKnown, why
		}
	case !s.due.ListChanged && s.next.ListChanged:
		p.Outcome, p.Add, p.Remove = Later, origins(s.next.Added), origins(s.next.Taken)
		p.Note = "it comes with the next change of the template"
	case !s.due.ListChanged:
		if why := s.grantsUnread(); why != "" {
			p.Outcome, p.Note = NotKnown, why
		}
	case s.decision.Action == rollout.Write:
		if p.Outcome = Now; s.awaitsCopies() {
			p.Note = "as soon as its copies exist"
		}
	case s.decision.Reason == rollout.NamedRevision:
		p.Outcome, p.Note = Named, "it comes with another name than "+s.Service.Spec.Template.Name
	case s.decision.Reason == rollout.Deferred, s.decision.Reason == rollout.Disabled:
		p.Outcome, p.Note = Later, s.deferredBy()
	default:
		p.Note = string(s.decision.Reason)
	}
	return p
}

// deferredBy says why a change is deferred.
func (s *subject) deferredBy() string {
	if s.decision.Reason == rollout.Disabled || s.Config.Backfill != "safe" {
		return "backfill: " + string(s.Config.Backfill)
	}
	return "it is Ready and its images are given by tag"
}

// minScale returns the number of Pods that each Revision of a Service has at least.
func minScale(svc *servingv1.Service) int {
	for _, key := range []string{"autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"} {
		if n, err := strconv.Atoi(svc.Spec.Template.Annotations[key]); err == nil && n > 0 {
			return n
		}
	}
	return 0
}
