// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// allocated returns the least number of bytes that a function allocates.
func allocated(do func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// The cost of a long annotation at admission does not exceed that of decoding each object
// once. (If templates differ, Knative's types are decoded once too.)
func TestAnnotationIsDecodedOnce(t *testing.T) {
	binds := world{cached: []kruntime.Object{team(pullsecrets.SecretsAnnotation, "n", pullsecrets.ServiceAccountsAnnotation, "*")}}
	services, accounts := binds.services(t), &accountAdmission{binds.cluster(t)}
	const size = 200 << 10
	for _, key := range []string{pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.AddedAnnotation, "example.com/filler"} {
		long := fmt.Sprintf("metadata: {name: app, annotations: {%s: %q}}", key, strings.Repeat("secret-a,", size/9))
		service := "{" + long + ", spec: {template: {spec: {containers: [{image: i}]}}}}"
		for _, tt := range []struct {
			reason string
			admit  func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
			decode func([]byte) (*object, error)
			r      *admissionv1.AdmissionRequest
		}{
			{"create", services.Admit, decode, request(t, "", service)},
			{"update", services.Admit, decode, request(t, service, service)},
			{"ServiceAccount", accounts.Admit, decodeAccount, accountRequest(t, "", "{"+long+"}")},
		} {
			t.Run(tt.reason+" "+key, func(t *testing.T) {
				decoding := allocated(func() {
					for _, raw := range [][]byte{tt.r.Object.Raw, tt.r.OldObject.Raw} {
						if _, err := tt.decode(raw); err != nil && len(raw) > 0 {
							t.Fatal(err)
						}
					}
				})
				if all := allocated(func() { tt.admit(t.Context(), tt.r) }); all > decoding+size/2 {
					t.Errorf("admission allocates %d bytes, decoding alone %d", all, decoding)
				}
			})
		}
	}
}

// A ledger that would be too long to be read is not written, and nothing is added without
// one.
func TestLedgerIsNeverTooLong(t *testing.T) {
	var names []string
	for i := range 400 {
		names = append(names, fmt.Sprintf("%s-%03d", strings.Repeat("a", 200), i))
	}
	w := world{cached: []kruntime.Object{team(pullsecrets.SecretsAnnotation, "n"), ServiceAccount(ns, "default", nil, names...)}}
	r := request(t, "", bare)
	response := w.services(t).Admit(t.Context(), r)
	if got := summary(t, apply(t, r, response)); got != " | " || len(response.Warnings) != 1 {
		t.Errorf("%d bytes of list and ledger, warnings %v", len(got), response.Warnings)
	}

	long, err := json.Marshal(merge.Ledger{strings.Repeat("n", merge.MaxLedger): merge.FromNamespace})
	if err != nil {
		t.Fatal(err)
	}
	// A ledger that cannot be read is replaced by one that can.
	r = request(t, "", fmt.Sprintf("{metadata: {name: app, annotations: {pullsecrets.dev/added: %q}}, spec: {template: {spec: {containers: [{image: i}]}}}}", long))
	w = world{cached: []kruntime.Object{team(pullsecrets.SecretsAnnotation, "n")}}
	if got, want := summary(t, apply(t, r, w.services(t).Admit(t.Context(), r))), `n | {"n":"namespace"}`; got != want {
		t.Errorf("list and ledger = %.100q, want %q", got, want)
	}
}
