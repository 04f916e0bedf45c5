// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pullsecrets

import (
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// These names are in manifests, policies and dashboards of users. This test repeats them,
// so that a rename is deliberate.
func TestNamesAreAPromise(t *testing.T) {
	for got, want := range map[string]string{
		GroupName:                       "pullsecrets.dev",
		SystemNamespace:                 "pullsecrets-system",
		SourcesNamespace:                "pullsecrets-sources",
		FieldManager:                    "pullsecrets",
		SecretsAnnotation:               "pullsecrets.dev/secrets",
		InjectAnnotation:                "pullsecrets.dev/inject",
		ServiceAccountsAnnotation:       "pullsecrets.dev/service-accounts",
		ExpiresAnnotation:               "pullsecrets.dev/expires",
		AddedAnnotation:                 "pullsecrets.dev/added",
		SourceResourceVersionAnnotation: "pullsecrets.dev/source-resource-version",
		ExcludeLabel:                    "pullsecrets.dev/exclude",
		ManagedByLabel:                  "app.kubernetes.io/managed-by",
		ClusterPullSecretLabel:          "pullsecrets.dev/cluster-pull-secret",
		FinalizerName:                   "clusterpullsecrets.pullsecrets.dev",
	} {
		if got != want {
			t.Errorf("A name is %q and was promised to be %q", got, want)
		}
		if problems := validation.IsQualifiedName(got); len(problems) != 0 {
			t.Errorf("The API server rejects the name %q: %s", got, strings.Join(problems, "; "))
		}
	}
	if MaxSecrets != 32 {
		t.Errorf("MaxSecrets = %d, want 32", MaxSecrets)
	}
}

// The finalizer is set by generated code that derives its own name.
func TestFinalizerIsTheGeneratedOne(t *testing.T) {
	const generated = "../../client/injection/reconciler/pullsecrets/v1alpha1/clusterpullsecret/controller.go"
	source, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), `"`+FinalizerName+`"`) {
		t.Errorf("%s does not use the finalizer %s", generated, FinalizerName)
	}
}
