// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"context"
	"encoding/json"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// accountAdmission admits ServiceAccounts. A bound ServiceAccount gets its pull secrets
// in the request that creates or changes it, so that no Pod is created without them, and
// entries that another writer drops are restored. Only admission sees which names a
// server-side apply wrote before ours are added. Those names belong to the applier. It
// allows every request. What it cannot read in time, and what is no longer declared, is
// left to the reconciler.
type accountAdmission struct {
	cluster
}

var _ webhook.AdmissionController = (*accountAdmission)(nil)

// Path implements webhook.AdmissionController.
func (*accountAdmission) Path() string { return accountsPath }

// Admit answers a request, with a patch of the list and the ledger if needed.
func (a *accountAdmission) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	return a.decide(ctx, request).respond(ctx, request)
}

// decide computes the list of a ServiceAccount. Requests that it cannot interpret are
// left to the API server and the reconciler.
func (a *accountAdmission) decide(ctx context.Context, request *admissionv1.AdmissionRequest) decision {
	if request.Kind.Group != "" || request.Kind.Kind != "ServiceAccount" || !createsOrUpdates(request) || request.UserInfo.Username == pullsecrets.ControllerUser {
		return decision{}
	}
	requested, err := decodeAccount(request.Object.Raw)
	if err != nil || requested.Metadata.DeletionTimestamp != nil {
		return decision{}
	}
	names, err := requested.names()
	if err != nil || sets.New(names...).Len() != len(names) || !a.ready() {
		return decision{}
	}
	namespace, offered, excluded, err := a.read(ctx, request.Namespace)
	if err != nil || excluded {
		return decision{}
	}
	old := &object{account: map[string]any{}}
	if request.Operation == admissionv1.Update {
		if old, err = decodeAccount(request.OldObject.Raw); err != nil {
			return decision{}
		}
	}
	before, err := old.accountSide()
	if err != nil {
		return decision{}
	}
	after, err := requested.accountSide()
	if err != nil {
		return decision{}
	}
	managed := requested.Metadata.ManagedFields
	switch {
	case merge.AppliedBy(writer(request), old.Metadata.ManagedFields, managed):
		after = merge.CurrentOfApply(after, managed, requested.Metadata.Annotations, old.ledger(), requested.ledger())
	case merge.WithdrawnBy(old.Metadata.ManagedFields, managed):
		after.Managed = sets.New(names...)
	}
	account := cmp.Or(requested.Metadata.Name, request.Name)
	result := merge.AdmitServiceAccount(before, after,
		annotation.ForNamespace(namespace.Annotations).SecretsFor(account), offered.For(namespace.Labels).Bound(account, before))
	d := decision{object: requested, list: entries(result.List, requested), ledger: result.Ledger.String(), result: result, audit: audit(result)}
	for _, problem := range requested.misplaced() {
		d.warnings = append(d.warnings, warnInvalid(problem))
	}
	return d
}

// writer returns the field manager of a request, which is always set for a server-side
// apply.
func writer(request *admissionv1.AdmissionRequest) string {
	var options struct {
		FieldManager string `json:"fieldManager"`
	}
	if json.Unmarshal(request.Options.Raw, &options) != nil {
		return ""
	}
	return options.FieldManager
}

// accountSide returns the ServiceAccount as pkg/merge represents it.
func (o *object) accountSide() (merge.Current, error) {
	names, err := o.names()
	if err != nil {
		return merge.Current{}, err
	}
	// The valid items of a damaged ledger count; the reconciler reports the damage.
	ledger, _ := merge.ParseLedger(o.ledger())
	return merge.CurrentOfServiceAccount(names, ledger, o.Metadata.ManagedFields, o.Metadata.Annotations), nil
}
