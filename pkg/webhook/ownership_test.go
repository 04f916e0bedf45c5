// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// Two replicas with different caches may handle one request. The second one keeps the
// entries that the first one added, and its ledger, and does not take entries of the user
// for ours.
func TestTwoReplicas(t *testing.T) {
	const (
		managed = `managedFields: [{manager: kubectl, operation: Update, fieldsV1: {"f:spec": {"f:template": {"f:spec": {"f:imagePullSecrets": {".": {}, 'k:{"name":"own"}': {}}}}}}}]`
		spec    = `spec: {template: {spec: {imagePullSecrets: [{name: own}], containers: [{image: "ghcr.io/acme/app:v1"}]}}}`
		old     = `{metadata: {name: app}, ` + `spec: {template: {spec: {imagePullSecrets: [{name: own}], containers: [{image: "ghcr.io/acme/app:v0"}]}}}}`
		sent    = `{metadata: {name: app, ` + managed + `}, ` + spec + `}`
		forged  = `{metadata: {name: app, annotations: {pullsecrets.dev/added: '{"own":"namespace"}'}, ` + managed + `}, ` + spec + `}`
		want    = `own n | {"n":"namespace"}`
	)
	knows := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n")}}
	for reason, second := range map[string]world{
		"knows as much":                     knows,
		"does not know the declaration yet": {cached: []runtime.Object{team()}},
		"has no caches yet":                 {cached: knows.cached, cold: true},
		"cannot read the Namespace":         {unavailable: true},
		"does not understand the Namespace": {cached: []runtime.Object{team("pullsecrets.dev/inject", "nonsense")}},
	} {
		for operation, before := range map[string]string{"create": "", "update": old} {
			for request2, requested := range map[string]string{"": sent, ", with a forged ledger": forged} {
				t.Run(operation+": the second replica "+reason+request2, func(t *testing.T) {
					r := request(t, before, requested)
					for _, replica := range []world{knows, second} {
						r.Object.Raw = apply(t, r, replica.services(t).Admit(t.Context(), r))
					}
					if got := summary(t, r.Object.Raw); got != want {
						t.Errorf("list and ledger = %q, want %q", got, want)
					}
				})
			}
		}
	}
}
