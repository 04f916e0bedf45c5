// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
)

// recordedUpdate is a random update, which test/controlplane/policy has recorded with what the
// policies of config/outage make of it.
type recordedUpdate struct {
	Manager                  string
	Old, Requested, Restored json.RawMessage
}

// The webhook answers a request in the same way whether or not a policy has restored
// entries before, whatever is declared at that time.
func TestAnswerIsTheSameAfterAPolicy(t *testing.T) {
	file, err := os.Open("testdata/outage.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	clusters := map[string]cluster{} // by what is declared
	for _, declared := range []string{"a, b", "b, a", "a, b, c", "c", ""} {
		binds := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", declared, "pullsecrets.dev/service-accounts", "*")}}
		clusters[declared] = binds.cluster(t)
	}
	compared := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var update recordedUpdate
		if err := json.Unmarshal(lines.Bytes(), &update); err != nil {
			t.Fatal(err)
		}
		if update.Restored == nil {
			continue
		}
		for declared, c := range clusters {
			alone, both := answerTo(t, c, update, update.Requested), answerTo(t, c, update, update.Restored)
			if diff := cmp.Diff(alone, both); diff != "" {
				t.Fatalf("with %q declared, the answers differ (-webhook, +policy and webhook):\n%s\nold       %s\nrequested %s\nrestored  %s",
					declared, diff, update.Old, update.Requested, update.Restored)
			}
		}
		compared[update.kind()]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Service", "ServiceAccount"} {
		if compared[kind] < 50 {
			t.Errorf("compared %d updates of a %s, want more", compared[kind], kind)
		}
	}
}

func (u recordedUpdate) kind() string {
	var o struct{ Kind string }
	_ = json.Unmarshal(u.Old, &o) // It was written as JSON.
	return o.Kind
}

// outcome is the object after admission, and what its writer and the audit log are told.
type outcome struct {
	Object   any
	Warnings []string
	Audit    map[string]string
}

func answerTo(t *testing.T, c cluster, update recordedUpdate, requested []byte) outcome {
	t.Helper()
	r := request(t, string(update.Old), string(requested))
	admit := (&serviceAdmission{c}).Admit
	if update.kind() == "ServiceAccount" {
		r = accountRequest(t, string(update.Old), string(requested))
		admit = (&accountAdmission{c}).Admit
	}
	r.Options.Raw = toJSON(t, `{kind: UpdateOptions, fieldManager: `+update.Manager+`}`)
	response := admit(t.Context(), r)
	o := outcome{Warnings: response.Warnings, Audit: response.AuditAnnotations}
	if err := json.Unmarshal(apply(t, r, response), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}
