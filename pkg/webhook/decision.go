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

// decision is the outcome for a request. The zero value leaves the object unchanged.
type decision struct {
	// object is the requested object to change, or nil to leave it.
	object *object
	// list and ledger are what the object is to have.
	list   []any
	ledger string
	// note restores Knative's note of who changed the Service, where that is due.
	note []operation
	// result is how list and ledger differ from what was there.
	result   merge.Result
	audit    map[string]string
	warnings []string
}

// respond renders the decision as a response. Every request is allowed. A patch that the
// API server might reject is left out as a whole.
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
			logging.FromContext(ctx).Warnw("Pull secrets were not injected", "error", err)
			return response
		}
		patchType := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &patchType
	}
	// Each call records what it leaves in the object, compared with the old one, even where
	// it changes nothing. The API server keeps the record of the first call, and all calls
	// of a request agree.
	response.AuditAnnotations = d.audit
	return response
}

// auditAgainst returns what the API server's audit log records as added and removed,
// compared with the old object, which is nil for a new one.
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

// audit returns what the API server's audit log records as added and removed.
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
