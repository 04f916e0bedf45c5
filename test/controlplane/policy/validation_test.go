// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	"k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
)

// The API server accepts the manifests, and finds no unknown field and no expression that
// does not compile.
func TestManifestsAreValid(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(admissionregistration.SchemeGroupVersion)
	for _, file := range []string{services, accounts} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(content, []byte("\n---\n")) {
			object, _, err := decoder.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			scheme.Default(object)
			switch object := object.(type) {
			case *admissionregistration.MutatingAdmissionPolicy:
				if errs := validation.ValidateMutatingAdmissionPolicy(object); len(errs) > 0 {
					t.Errorf("%s: %v", file, errs.ToAggregate())
				}
			case *admissionregistration.MutatingAdmissionPolicyBinding:
				if errs := validation.ValidateMutatingAdmissionPolicyBinding(object); len(errs) > 0 {
					t.Errorf("%s: %v", file, errs.ToAggregate())
				}
			default:
				t.Errorf("%s has a %T", file, object)
			}
		}
	}
}
