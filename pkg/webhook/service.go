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
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/metrics"
)

// Services admits Knative Services: what is created or changed gets its pull
// secrets in the same request. It allows every request. What it cannot find out
// in time it leaves to the reconciler.
type Services struct {
	cluster
}

var _ webhook.AdmissionController = (*Services)(nil)

// Path implements webhook.AdmissionController.
func (*Services) Path() string { return ServicesPath }

// Admit answers a request with a patch of the list and the ledger, or none.
func (s *Services) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	response := &admissionv1.AdmissionResponse{Allowed: true}
	if err := s.admit(ctx, request, response); err != nil {
		// Nothing half done goes out.
		response.Patch, response.PatchType, response.AuditAnnotations = nil, nil, nil
		response.Warnings = append(response.Warnings, warnNotInjected(err))
		logging.FromContext(ctx).Warnw("Pull secrets were not injected", "error", err)
	}
	return response
}

func (s *Services) admit(ctx context.Context, request *admissionv1.AdmissionRequest, response *admissionv1.AdmissionResponse) error {
	if !concerns(request) || request.UserInfo.Username == pullsecrets.ControllerUser {
		return nil
	}
	requested, err := decode(request.Object.Raw)
	if err != nil || requested.Metadata.DeletionTimestamp != nil {
		// What is no Service is for the API server to refuse, and what is being
		// deleted gets nothing any more.
		return nil //nolint:nilerr // see above
	}
	var old *object
	if request.Operation == admissionv1.Update {
		if old, err = decode(request.OldObject.Raw); err != nil {
			return nil //nolint:nilerr // An old object of another shape is not ours to judge.
		}
	}
	d, warnings := s.declared(ctx, request.Namespace, old, requested)
	response.Warnings = append(response.Warnings, warnings...)
	if d == nil {
		return nil
	}
	if _, err := merge.ParseLedger(requested.ledger()); err != nil && (old == nil || old.ledger() != requested.ledger()) {
		response.Warnings = append(response.Warnings, warnLedger(err))
	}
	change, err := s.decide(ctx, request, old, requested, *d)
	if err != nil {
		return nil //nolint:nilerr // A list of another shape is for the API server to refuse.
	}
	response.Warnings = append(response.Warnings, change.warnings...)
	if change.leave {
		return nil
	}
	// Each call says what it leaves in the object, as against the old one. The API
	// server keeps what the first call said, and all say the same.
	response.AuditAnnotations = change.audit
	ops := append(makePatch(requested, change.list, change.ledger), change.note...)
	if len(ops) == 0 {
		return nil
	}
	patch, err := verify(requested, len(request.Object.Raw), ops, change.ledger)
	if err != nil {
		return err
	}
	patchType := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &patchType
	if request.DryRun == nil || !*request.DryRun {
		s.added.Count(ctx, change.result.Added, metrics.Admission)
	}
	return nil
}

// concerns tells whether a request is one that the configuration of the webhook
// asks for. A configuration that somebody changed must not widen what we touch.
func concerns(request *admissionv1.AdmissionRequest) bool {
	return request.Kind.Group == "serving.knative.dev" && request.Kind.Version == "v1" && request.Kind.Kind == "Service" && createsOrUpdates(request)
}

func createsOrUpdates(request *admissionv1.AdmissionRequest) bool {
	return request.SubResource == "" && (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update)
}

// declared finds out what a Service should have, with warnings about what was
// asked for and does not count. It returns nil for a Service that is none of
// our business. What cannot be found out adds nothing and takes nothing away.
func (s *Services) declared(ctx context.Context, name string, old, requested *object) (*merge.Declared, []string) {
	unknown := &merge.Declared{Hold: true}
	if !s.ready() {
		return unknown, nil
	}
	namespace, err := lookUp(ctx, s.lookups, subject{kind: "Namespace", name: name}, s.namespaces.Get, s.kube.CoreV1().Namespaces().Get)
	if err != nil {
		logging.FromContext(ctx).Infow("The Namespace is left to the reconciler", "error", err)
		return unknown, nil
	}
	if s.config.Load().Excludes(namespace.Name, namespace.Labels) {
		return nil, warnIfExcluded(s.config.Load(), namespace, requested)
	}
	ofNamespace, ofService := annotation.ForNamespace(namespace.Annotations), annotation.ForService(requested.Metadata.Annotations)
	var warnings []string
	for _, problem := range slices.Concat(ofService.Problems, requested.misplaced()) {
		warnings = append(warnings, warnInvalid(problem))
	}
	policy := annotation.PolicyFor(ofNamespace.Inject, ofService.Inject)
	if policy.Hold && ofService.Inject == annotation.Unset {
		warnings = append(warnings, warnInvalidNamespace(name))
	}
	all, err := s.catalog()
	if err != nil {
		logging.FromContext(ctx).Infow("What is granted is left to the reconciler", "error", err)
		return unknown, warnings
	}
	granted := all.For(namespace.Labels)
	d := merge.Declare(policy, ofNamespace, ofService, merge.Account{})
	d.Always, d.Auto = granted.Layers(policy, requested.images(), s.covers)
	if d.Hold || len(d.Names()) == 0 {
		return &d, warnings
	}
	accountName := merge.AccountName(requested.serviceAccount())
	account, err := lookUp(ctx, s.lookups, subject{"ServiceAccount", name, accountName}, s.accounts.ServiceAccounts(name).Get, s.kube.CoreV1().ServiceAccounts(name).Get)
	if err != nil && !apierrors.IsNotFound(err) {
		logging.FromContext(ctx).Infow("The ServiceAccount is left to the reconciler", "error", err)
		return unknown, warnings
	}
	if err != nil {
		account = nil
	}
	d.Account = merge.AccountOf(accountName, account)
	if withheld := notGranted(all, namespace, d.Names()); len(withheld) > 0 {
		warnings = append(warnings, warnNotGranted(name, withheld))
	}
	if coming := onTheirWay(granted, namespace, ofNamespace, d.Names(), old.asks(), requested.asks(), s.covers); len(coming) > 0 {
		warnings = append(warnings, warnOnTheirWay(name, coming))
	}
	return &d, warnings
}

// change is what becomes of a request.
type change struct {
	leave  bool
	list   []any
	ledger string
	// note puts back Knative's note of who changed the Service, where that is due.
	note     []operation
	result   merge.Result
	audit    map[string]string
	warnings []string
}

// decide computes the change. The error says that a list is malformed.
func (s *Services) decide(ctx context.Context, request *admissionv1.AdmissionRequest, old, requested *object, d merge.Declared) (*change, error) {
	side, err := requested.side()
	if err != nil {
		return nil, err
	}
	if sets.New(side.List...).Len() != len(side.List) {
		// A list with repeated names is for the API server to refuse. A patch
		// would mend it, and hide the mistake from its owner.
		return &change{leave: true}, nil
	}
	if old == nil {
		if d.Hold {
			return &change{leave: true}, nil
		}
		result := merge.Create(side.Current, d)
		return renewed(result, d, requested, nil), nil
	}
	oldSide, err := old.side()
	if err != nil {
		return nil, err
	}
	side.Noted = requested.notedBy(request.UserInfo.Username, old)
	taken, err := s.taken(ctx, request.Namespace, old, requested)
	if err != nil {
		return &change{leave: true, warnings: []string{warnNotInjected(err)}}, nil
	}
	changed := func() bool { return s.template().Changed(old.asTemplate(), requested.asTemplate()) }
	verdict, result := merge.AdmitUpdate(oldSide, side, changed, d, taken)
	switch verdict {
	case merge.Renew:
		return renewed(result, d, requested, old), nil
	case merge.Restore, merge.Revert:
		items, err := old.items()
		if err != nil {
			return nil, err
		}
		if unique := sets.New(oldSide.List...); unique.Has("") || unique.Len() != len(oldSide.List) {
			// A list that is stored so already is not restored: its owner repairs it.
			return &change{leave: true}, nil
		}
		c := &change{list: items, ledger: old.ledger()}
		if verdict == merge.Revert {
			c.note = makeNotePatch(old.Metadata.Annotations)
		}
		if ledger := merge.Restored(oldSide.Current, d); len(ledger) > len(oldSide.Ledger) {
			c.ledger = ledger.String()
		}
		if name := requested.revisionName(); name != "" && len(result.Added) > 0 {
			c.warnings = append(c.warnings, warnNamedRevision(name, result.Added))
		}
		return c, nil
	default:
		return &change{leave: true}, nil
	}
}

func renewed(result merge.Result, d merge.Declared, requested, old *object) *change {
	c := &change{list: entries(result.List, requested, old), ledger: result.Ledger.String(), result: result, audit: auditAgainst(old, result)}
	if len(result.Withheld) > 0 {
		c.warnings = append(c.warnings, warnWithheld(d.Account.Name, result.Withheld))
	}
	return c
}

// taken returns the Revision whose name a template newly takes, if there is one.
func (s *Services) taken(ctx context.Context, namespace string, old, requested *object) (*merge.Revision, error) {
	name := requested.revisionName()
	if name == "" || name == old.revisionName() {
		return nil, nil
	}
	revision, err := readLive(ctx, s.lookups, subject{"Revision", namespace, name}, s.serving.ServingV1().Revisions(namespace).Get)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("Revision %s could not be read", name)
	}
	return &merge.Revision{List: merge.NamesOf(revision.Spec.ImagePullSecrets)}, nil
}

// auditAgainst says in the API server's audit log what was added and taken away, as
// against the old object, which is nil for a new one.
func auditAgainst(old *object, result merge.Result) map[string]string {
	var before []string
	if old != nil {
		before, _ = old.names()
	}
	result.Added = nil
	for _, name := range result.List {
		if origin, ours := result.Ledger[name]; ours && !slices.Contains(before, name) {
			result.Added = append(result.Added, merge.Entry{Name: name, Origin: origin})
		}
	}
	return audit(result)
}

// audit says in the API server's audit log what was added and taken away.
func audit(result merge.Result) map[string]string {
	annotations := make(map[string]string)
	for key, list := range map[string][]merge.Entry{"added": result.Added, "taken": result.Taken} {
		if len(list) > 0 {
			ledger := make(merge.Ledger, len(list))
			for _, e := range list {
				ledger[e.Name] = e.Origin
			}
			annotations[key] = ledger.String()
		}
	}
	return annotations
}
