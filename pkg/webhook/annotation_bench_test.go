// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// BenchmarkAdmitAnnotation measures the cost of the length of an annotation at admission.
// Decoding the object is measured separately, because it grows with the request.
func BenchmarkAdmitAnnotation(b *testing.B) {
	services := world{cached: []runtime.Object{team(pullsecrets.SecretsAnnotation, "n")}}.services(b)
	for _, size := range []int{100, 4 << 10, 250 << 10} {
		value := strings.Repeat("secret-a,", size/9)
		text := fmt.Sprintf(`{metadata: {name: app, annotations: {pullsecrets.dev/secrets: %q}}, spec: {template: {spec: {containers: [{image: i}]}}}}`, value)
		r := request(b, "", text)
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			for b.Loop() {
				services.Admit(b.Context(), r)
			}
		})
		b.Run(fmt.Sprintf("decoding %d bytes", size), func(b *testing.B) {
			for b.Loop() {
				if _, err := decode(r.Object.Raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
