// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	"knative.dev/pkg/logging"

	"pullsecrets.dev/pkg/merge"
)

// decision is the answer to a request. The zero value leaves the object unchanged.
type decision struct {
	// object is the requested object to change, or nil.
	object *object
	// list and ledger are the new ones of the object.
	list   []any
	ledger string
	// note restores Knative's record of who changed the Service last, if needed.
	note []operation
	// result is the difference to the requested list and ledger.
	result   merge.Result
	audit    map[string]string
	warnings []string
}

// respond renders the decision. Every request is allowed. A patch that could make the API
// server reject the request is dropped as a whole.
func (d decision) respond(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{Allowed: true, Warnings: d.warnings}
	if d.object == nil {
		return response
	}
	ops := append(makePatch(d.object, d.list, d.ledger), d.note...)
	if len(ops) > 0 {
		patch, err := verify(d.object, len(request.Object.Raw), ops, d.ledger)
		if err != nil {
			response.Warnings = append(response.Warnings, warnNotInjected(err))
			logging.FromContext(ctx).Warnw("Dropped the patch of pull secrets", "error", err)
			return response
		}
		patchType := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &patchType
	}
	// Each call reports the difference to the old object, even if it changes nothing. The
	// API server keeps the annotations of the first call, so all calls must report the same.
	response.AuditAnnotations = d.audit
	return response
}

// auditAgainst returns the audit annotations with the entries that were added and
// removed, compared with the old object, which is nil for a new one.
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

// audit returns the audit annotations with the entries that were added and removed.
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
