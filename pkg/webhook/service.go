// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/metrics"
)

// serviceAdmission admits Knative Services. A Service that is created or changed gets its
// pull secrets in the same request. It allows every request. What it cannot read in time
// is left to the reconciler.
type serviceAdmission struct {
	cluster
}

var _ webhook.AdmissionController = (*serviceAdmission)(nil)

// Path implements webhook.AdmissionController.
func (*serviceAdmission) Path() string { return servicesPath }

// Admit answers a request, with a patch of the list and the ledger if needed.
func (s *serviceAdmission) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	d := s.decide(ctx, request)
	response := d.respond(ctx, request)
	if response.Patch != nil && (request.DryRun == nil || !*request.DryRun) {
		s.added.Count(ctx, d.result.Added, metrics.Admission)
	}
	return response
}

// decide reads what is declared for a Service and returns the answer to the request.
func (s *serviceAdmission) decide(ctx context.Context, request *admissionv1.AdmissionRequest) decision {
	if !concerns(request) || request.UserInfo.Username == pullsecrets.ControllerUser {
		return decision{}
	}
	requested, err := decode(request.Object.Raw)
	if err != nil || requested.Metadata.DeletionTimestamp != nil {
		// The API server rejects an object that is no Service. A Service that is being
		// deleted is left unchanged.
		return decision{}
	}
	var old *object
	if request.Operation == admissionv1.Update {
		if old, err = decode(request.OldObject.Raw); err != nil {
			return decision{} // It cannot be compared.
		}
	}
	declared, warnings := s.declared(ctx, request.Namespace, old, requested)
	if declared == nil {
		return decision{warnings: warnings}
	}
	if _, err := merge.ParseLedger(requested.ledger()); err != nil && (old == nil || old.ledger() != requested.ledger()) {
		warnings = append(warnings, warnLedger(err))
	}
	d := s.change(ctx, request, old, requested, *declared)
	d.warnings = append(warnings, d.warnings...)
	return d
}

// concerns reports whether a request matches the rules of the webhook configuration. A
// modified configuration must not widen what the webhook changes.
func concerns(request *admissionv1.AdmissionRequest) bool {
	return request.Kind.Group == "serving.knative.dev" && request.Kind.Version == "v1" && request.Kind.Kind == "Service" && createsOrUpdates(request)
}

func createsOrUpdates(request *admissionv1.AdmissionRequest) bool {
	return request.SubResource == "" && (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update)
}

// declared returns what is declared for a Service, with warnings about declarations that
// have no effect. It returns nil for a Service in an excluded Namespace. If something
// cannot be read, nothing is added or removed.
func (s *serviceAdmission) declared(ctx context.Context, name string, old, requested *object) (*merge.Declared, []string) {
	unknown := &merge.Declared{Hold: true}
	if !s.ready() {
		return unknown, nil
	}
	namespace, offered, excluded, err := s.read(ctx, name)
	if err != nil {
		return unknown, nil
	}
	if excluded {
		return nil, warnIfExcluded(s.config.Load(), namespace, requested)
	}
	d := offered.Declare(namespace, grant.Service{Annotations: requested.Metadata.Annotations, Images: requested.images, Stored: old.stored}, s.covers)
	var warnings []string
	for _, problem := range slices.Concat(d.OfService.Problems, s.profile.Problems(d.OfService.Inject), requested.misplaced()) {
		warnings = append(warnings, warnInvalid(problem))
	}
	if d.Hold && d.OfService.Inject == annotation.Unset {
		warnings = append(warnings, warnInvalidNamespace(name))
	}
	if !d.NeedsAccount() {
		return &d.Declared, warnings
	}
	accountName := merge.AccountName(requested.serviceAccount())
	account, err := cachedOrLive(ctx, s.liveReads, subject{"ServiceAccount", name, accountName}, s.accounts.ServiceAccounts(name).Get, s.kube.CoreV1().ServiceAccounts(name).Get)
	switch {
	case apierrors.IsNotFound(err):
		account = nil
	case err != nil:
		deferToReconciler(ctx, err)
		return unknown, warnings
	}
	d.Account = merge.AccountOf(accountName, account)
	if withheld := notGranted(offered, namespace, d.Names()); len(withheld) > 0 {
		warnings = append(warnings, warnNotGranted(name, withheld))
	}
	if pending := pendingCopies(d, namespace, old.asks(), requested.asks(), s.covers); len(pending) > 0 {
		warnings = append(warnings, warnPending(name, pending))
	}
	return &d.Declared, warnings
}

// change decides about the list and the ledger.
func (s *serviceAdmission) change(ctx context.Context, request *admissionv1.AdmissionRequest, old, requested *object, declared merge.Declared) decision {
	side, err := requested.side()
	if err != nil || sets.New(side.List...).Len() != len(side.List) {
		// The API server rejects a malformed list and a list with repeated names. A patch
		// would repair it and hide the mistake from its owner.
		return decision{}
	}
	if old == nil {
		if declared.Hold {
			return decision{}
		}
		return renewed(merge.Create(side.Current, declared), declared, requested, nil)
	}
	oldSide, err := old.side()
	if err != nil {
		return decision{}
	}
	side.Noted = requested.notedBy(request.UserInfo.Username, old)
	taken, err := s.taken(ctx, request.Namespace, old, requested)
	if err != nil {
		return decision{warnings: []string{warnNotInjected(err)}}
	}
	changed := func() bool { return s.template().Changed(old.asTemplate(), requested.asTemplate()) }
	verdict, result := merge.AdmitUpdate(oldSide, side, changed, declared, taken)
	switch verdict {
	case merge.Renew:
		return renewed(result, declared, requested, old)
	case merge.Restore, merge.Revert:
		d := restored(oldSide, declared, requested, old)
		if verdict == merge.Revert && d.object != nil {
			d.note = makeNotePatch(old.Metadata.Annotations)
		}
		if name := requested.revisionName(); d.object != nil && name != "" && len(result.Added) > 0 {
			d.warnings = append(d.warnings, warnNamedRevision(name, result.Added))
		}
		return d
	default:
		return decision{}
	}
}

// renewed sets the list that is declared now.
func renewed(result merge.Result, declared merge.Declared, requested, old *object) decision {
	d := decision{
		object: requested, list: entries(result.List, requested, old), ledger: result.Ledger.String(),
		result: result, audit: auditAgainst(old, result),
	}
	if len(result.Withheld) > 0 {
		d.warnings = append(d.warnings, warnWithheld(declared.Account.Name, result.Withheld))
	}
	return d
}

// restored sets the list that is stored.
func restored(side merge.Side, declared merge.Declared, requested, old *object) decision {
	items, err := old.items()
	if err != nil {
		return decision{}
	}
	if unique := sets.New(side.List...); unique.Has("") || unique.Len() != len(side.List) {
		// A stored list with mistakes is not restored; its owner must correct it.
		return decision{}
	}
	d := decision{object: requested, list: items, ledger: old.ledger()}
	if ledger := merge.Restored(side.Current, declared); len(ledger) > len(side.Ledger) {
		d.ledger = ledger.String()
	}
	return d
}

// taken returns the existing Revision whose name a changed template uses, or nil.
func (s *serviceAdmission) taken(ctx context.Context, namespace string, old, requested *object) (*merge.Revision, error) {
	name := requested.revisionName()
	if name == "" || name == old.revisionName() {
		return nil, nil
	}
	revision, err := readLive(ctx, s.liveReads, subject{"Revision", namespace, name}, s.serving.ServingV1().Revisions(namespace).Get)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read Revision %s", name)
	}
	return &merge.Revision{List: merge.NamesOf(revision.Spec.ImagePullSecrets)}, nil
}
