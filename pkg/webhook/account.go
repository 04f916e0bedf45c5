// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"context"
	"encoding/json"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// Accounts admits ServiceAccounts: one that is bound gets its pull secrets in the
// request that creates or changes it, so that no Pod is made without them, and what
// another writer drops is put back. It is the only one who sees which names a
// server-side apply has written, before ours are put beside them: those are their
// owner's. It allows every request, and leaves to the reconciler what it cannot find
// out in time, and what is no longer declared.
type Accounts struct {
	cluster
}

var _ webhook.AdmissionController = (*Accounts)(nil)

// Path implements webhook.AdmissionController.
func (*Accounts) Path() string { return AccountsPath }

// Admit answers a request with a patch of the list and the ledger, or none.
func (a *Accounts) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{Allowed: true}
	if request.Kind.Group != "" || request.Kind.Kind != "ServiceAccount" || !createsOrUpdates(request) || request.UserInfo.Username == pullsecrets.ControllerUser {
		return response
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	result, requested, err := a.bind(ctx, request)
	if err != nil || requested == nil {
		// What is no ServiceAccount is for the API server to refuse.
		return response
	}
	for _, problem := range requested.misplaced() {
		response.Warnings = append(response.Warnings, warnInvalid(problem))
	}
	ledger := result.Ledger.String()
	ops := makePatch(requested, entries(result.List, requested), ledger)
	if len(ops) == 0 {
		return response
	}
	patch, err := verify(requested, len(request.Object.Raw), ops, ledger)
	if err != nil {
		response.Warnings = append(response.Warnings, warnNotInjected(err))
		logging.FromContext(ctx).Warnw("A ServiceAccount was not bound", "error", err)
		return response
	}
	patchType := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType, response.AuditAnnotations = patch, &patchType, audit(result)
	return response
}

// bind computes the list of a ServiceAccount, which is nil where it is left to the
// reconciler or is none of our business.
func (a *Accounts) bind(ctx context.Context, request *admissionv1.AdmissionRequest) (result merge.Result, requested *object, err error) {
	if requested, err = decodeAccount(request.Object.Raw); err != nil || requested.Metadata.DeletionTimestamp != nil {
		return result, nil, err
	}
	names, err := requested.names()
	if err != nil || sets.New(names...).Len() != len(names) || !a.ready() {
		return result, nil, err
	}
	secrets, always, known := a.declares(ctx, request.Namespace, cmp.Or(requested.Metadata.Name, request.Name))
	if !known {
		return result, nil, nil
	}
	old := &object{account: map[string]any{}}
	if request.Operation == admissionv1.Update {
		if old, err = decodeAccount(request.OldObject.Raw); err != nil {
			return result, nil, err
		}
	}
	before, err := old.accountSide()
	if err != nil {
		return result, nil, err
	}
	after, err := requested.accountSide()
	if err != nil {
		return result, nil, err
	}
	managed := requested.Metadata.ManagedFields
	switch {
	case merge.AppliedBy(writer(request), old.Metadata.ManagedFields, managed):
		after.Claimed.Insert(names...)
	case merge.WithdrawnBy(old.Metadata.ManagedFields, managed):
		after.Managed = sets.New(names...)
	}
	return merge.AdmitServiceAccount(before, after, secrets, always), requested, nil
}

// writer is the field manager that a request names, which an apply has to.
func writer(request *admissionv1.AdmissionRequest) string {
	var options struct {
		FieldManager string `json:"fieldManager"`
	}
	if json.Unmarshal(request.Options.Raw, &options) != nil {
		return ""
	}
	return options.FieldManager
}

// accountSide is the ServiceAccount as the pure core sees it.
func (o *object) accountSide() (merge.Current, error) {
	names, err := o.names()
	if err != nil {
		return merge.Current{}, err
	}
	// A damaged ledger counts as far as it is good; the reconciler reports it.
	ledger, _ := merge.ParseLedger(o.ledger())
	return merge.CurrentOfServiceAccount(names, ledger, o.Metadata.ManagedFields, o.Metadata.Annotations), nil
}

// declares finds out what a Namespace and ClusterPullSecrets declare for a
// ServiceAccount, and whether that could be found out and is to be heeded.
func (a *Accounts) declares(ctx context.Context, name, account string) (secrets []string, always []merge.Grant, known bool) {
	namespace, err := lookUp(ctx, a.lookups, subject{kind: "Namespace", name: name}, a.namespaces.Get, a.kube.CoreV1().Namespaces().Get)
	if err != nil {
		logging.FromContext(ctx).Infow("The Namespace is left to the reconciler", "error", err)
		return nil, nil, false
	}
	if a.config.Load().Excludes(namespace.Name, namespace.Labels) {
		return nil, nil, false
	}
	all, err := a.catalog()
	if err != nil {
		logging.FromContext(ctx).Infow("What is granted is left to the reconciler", "error", err)
		return nil, nil, false
	}
	return annotation.ForNamespace(namespace.Annotations).SecretsFor(account), all.For(namespace.Labels).Bound(account), true
}
