// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
)

// subject is a Service with all that decides about its pull secrets.
type subject struct {
	*Objects
	offered     grant.Catalog
	excluded    string
	declaration grant.Declaration
	current     merge.Current
	damaged     error // The ledger is.
	// due is what the controller would change, and next what the next change of the template
	// changes.
	due, next merge.Result
	decision  rollout.Decision
	failure   failure
	results   []coverage.Result
	findings  []Finding
	// unread is what follows from what could not be read.
	unread []Unread
}

// Service explains the pull secrets of a Service.
func Service(o *Objects) Report {
	s := &subject{Objects: o}
	s.begin()
	s.failure = s.observe()
	s.cover()
	s.causes()
	s.effects()
	return s.report()
}

// begin computes what is declared, and what the list becomes.
func (s *subject) begin() {
	s.offered = grant.NewCatalog(s.Offered)
	s.current, s.damaged = rollout.Current(s.Service)
	if s.Namespace == nil {
		s.decision.Reason = rollout.Disabled
		return
	}
	if s.excluded = s.excludedBy(); s.excluded == "" {
		of := grant.Service{Annotations: s.Service.Annotations, Images: func() []grant.Image { return catalog.Images(s.Service) }}
		s.declaration = s.offered.Declare(s.Namespace, of, s.Images.Covers)
	}
	if s.declaration.NeedsAccount() {
		s.declaration.Account = merge.AccountOf(s.account(), s.Account)
	}
	s.due = merge.Reconcile(s.current, s.declaration.Declared, rollout.IsReady(s.Service))
	side := merge.Side{Current: s.current, Name: s.Service.Spec.Template.Name}
	_, s.next = merge.AdmitUpdate(side, side, func() bool { return true }, s.declaration.Declared, nil)
	s.due, s.next = s.certain(s.due), s.certain(s.next)
	s.decision = rollout.Decide(rollout.Facts{
		Mode: s.Config.Backfill, Service: s.Service, Asked: s.declaration.OfService, Result: s.due,
		Full: !merge.HasRoom(s.Service.Annotations, s.Service.Annotations[pullsecrets.AddedAnnotation]),
	})
}

// account returns the name of the Service's ServiceAccount.
func (o *Objects) account() string {
	return merge.AccountName(o.Service.Spec.Template.Spec.ServiceAccountName)
}

// template returns what coverage depends on of a template or a Revision.
func (o *Objects) template(spec *corev1.PodSpec) coverage.Template {
	t := coverage.TemplateOf(spec)
	account, unknown := o.Account, o.AccountUnknown
	if name := merge.AccountName(spec.ServiceAccountName); name != o.account() {
		var known bool
		account, known = o.Accounts[name]
		unknown = !known
	}
	t.AccountUnknown = unknown
	if account != nil {
		t.ServiceAccount = merge.NamesOf(account.ImagePullSecrets)
	}
	return t
}

// cover computes the coverage of the template's images.
func (s *subject) cover() {
	s.results = coverage.Of(s.template(&s.Service.Spec.Template.Spec.PodSpec), s.known(), s.Images, s.Now)
}

// known returns what is known of Secrets, with those that are not granted.
func (s *subject) known() map[string]coverage.Secret {
	known := make(map[string]coverage.Secret, len(s.Secrets))
	for name, secret := range s.Secrets {
		if secret.State == coverage.Absent && s.withheld(name) != nil {
			secret.State = coverage.Ungranted
		}
		secret.Expires = s.expiry(secret)
		known[name] = secret.Secret
	}
	return known
}

// expiry returns when the credentials of a Secret expire that do not say so themselves, or zero.
// Of a copy, the status of its ClusterPullSecret says so, if it is about the version that was
// copied.
func (o *Objects) expiry(secret Secret) (expires metav1.Time) {
	if cps := o.clusterPullSecret(secret.Owner); cps != nil && secret.Expires.IsZero() && isCurrent(cps, secret) {
		return grant.ExpiresOf(cps)
	}
	return secret.Expires
}

// isCurrent reports whether a copy is of the version of the source that the status describes.
func isCurrent(cps *v1alpha1.ClusterPullSecret, copied Secret) bool {
	source := cps.Status.Source
	return source != nil && source.ResourceVersion == copied.Written.Annotations[pullsecrets.SourceResourceVersionAnnotation]
}

// reachable returns earlier Revisions that get traffic.
func (o *Objects) reachable() (revisions []*servingv1.Revision) {
	for _, revision := range o.Revisions {
		traffic := slices.ContainsFunc(o.Service.Status.Traffic, func(t servingv1.TrafficTarget) bool { return t.RevisionName == revision.Name })
		if traffic && revision.Name != o.Service.Status.LatestCreatedRevisionName {
			revisions = append(revisions, revision)
		}
	}
	return revisions
}

// OtherAccounts returns the names of the ServiceAccounts of earlier Revisions with traffic that are
// not the one of the template.
func (o *Objects) OtherAccounts() (names []string) {
	for _, revision := range o.reachable() {
		if name := merge.AccountName(revision.Spec.ServiceAccountName); name != o.account() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// report puts everything together.
func (s *subject) report() Report {
	svc := s.Service
	r := Report{
		Namespace: svc.Namespace, Service: svc.Name, Ready: s.failure.ready, Revision: svc.Status.LatestCreatedRevisionName,
		Failure: s.failure.message, PullSecrets: s.entries(), Next: s.change(), Unread: slices.Concat(s.Unread, s.unread),
	}
	for _, result := range s.results {
		r.Images = append(r.Images, imageReport(result, ""))
		switch covered := result.Covered(); {
		case covered:
			r.Covered++
			r.Total++
		case !isPublic(result):
			r.Total++
		}
	}
	for _, revision := range s.reachable() {
		t := s.template(&revision.Spec.PodSpec)
		t.Resolved = rollout.Resolved(revision)
		for _, result := range coverage.Of(t, s.known(), s.Images, s.Now) {
			if !result.Covered() {
				r.Images = append(r.Images, imageReport(result, revision.Name))
				s.uncovered(result, revision)
			}
		}
	}
	r.Findings = sorted(s.findings)
	return r
}

func (s *subject) find(code Code, severity Severity, message, remedy, command string) {
	s.findings = append(s.findings, found(code, severity, s.service(), message, remedy).with(command))
}
