// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os"
	"path/filepath"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

const auditLines = `{"requestURI":"/apis/serving.knative.dev/v1/namespaces/a/services/s?fieldManager=pullsecrets","verb":"patch","user":{"username":"system:serviceaccount:pullsecrets-system:controller"},"objectRef":{"resource":"services","namespace":"a","name":"s","apiGroup":"serving.knative.dev"},"responseStatus":{"code":200},"stageTimestamp":"2026-01-01T00:00:00.000001Z"}
{"requestURI":"/apis/serving.knative.dev/v1/namespaces/a/services?dryRun=All","verb":"create","user":{"username":"system:serviceaccount:pullsecrets-system:controller"},"objectRef":{"resource":"services","namespace":"a","apiGroup":"serving.knative.dev"},"responseStatus":{"code":201}}
{"requestURI":"/apis/coordination.k8s.io/v1/namespaces/pullsecrets-system/leases/l","verb":"update","user":{"username":"system:serviceaccount:pullsecrets-system:controller"},"objectRef":{"resource":"leases","namespace":"pullsecrets-system","name":"l","apiGroup":"coordination.k8s.io"},"responseStatus":{"code":200}}
{"requestURI":"/api/v1/namespaces/a/secrets/x","verb":"get","user":{"username":"admin"},"impersonatedUser":{"username":"bob"},"objectRef":{"resource":"secrets","namespace":"a","name":"x"},"responseStatus":{"code":403}}
{"requestURI":"/readyz","verb":"get","user":{"username":"admin"},"responseStatus":{"code":200}}
{"requestURI":"/still being writ`

func TestAuditLog(t *testing.T) {
	log := &AuditLog{path: filepath.Join(t.TempDir(), "audit.log")}
	if err := os.WriteFile(log.path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark, err := log.Mark()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log.path, []byte("{}\n"+auditLines), 0o600); err != nil {
		t.Fatal(err)
	}
	requests, next, err := log.Next(mark)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 5 {
		t.Fatalf("Since() returned %d requests, want 5:\n%s", len(requests), requests)
	}

	writes := requests.By(pullsecrets.ControllerUser).Writes()
	if got, want := writes.String(), "1 x patch services.serving.knative.dev in a -> 200 by "+pullsecrets.ControllerUser; got != want {
		t.Errorf("the controller's writes are %q, want %q: neither leases nor dry runs count", got, want)
	}
	if got := requests.By("bob").Of("secrets").In("a").Verbs("get"); len(got) != 1 || got[0].Code != 403 {
		t.Errorf("bob's requests are %+v, want the impersonated one", got)
	}

	// The line that was incomplete comes next, and nothing is returned twice.
	if err := os.WriteFile(log.path, []byte("{}\n"+auditLines+"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if requests, err = log.Since(next); err != nil || len(requests) != 1 {
		t.Errorf("next requests are %v, %v, want one more", requests, err)
	}
}
