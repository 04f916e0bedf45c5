// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A Secret that does not exist or has the wrong type is reported, and its name is still
// injected: Kubernetes ignores it, and creating or correcting the Secret must not cause a
// Revision.
func TestMissingAndWrongSecretsAreReported(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("secrets.yaml")
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "good, absent, opaque")

	n.waitForList("app", "good", "absent", "opaque")
	n.waitForEvent(service("app"), "SecretMissing", "absent", n.ns)
	n.waitForEvent(service("app"), "SecretWrongType", "opaque", "Opaque", "kubernetes.io/dockerconfigjson")
	declared := []string{"good", "absent", "opaque"}
	declared = append(declared, n.settle(declared...))
	n.checkEvents(service("app"), "SecretMissing", 1)
	n.checkEvents(service("app"), "SecretWrongType", 1)
	if requests, known := counting.requests(); known {
		secrets := requests.Of("secrets")
		others := slices.DeleteFunc(slices.Clone(secrets), func(r env.Request) bool {
			return r.Namespace == n.ns && (r.Verb == "list" || r.Verb == "get" && slices.Contains(declared, r.Name))
		})
		if len(secrets.Verbs("list")) == 0 || len(others) > 0 {
			t.Errorf("controller sent these requests for Secrets:\n%s\nwant only tables of this namespace and reads of what is declared", secrets)
		}
	}
}
