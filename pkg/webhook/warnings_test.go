// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/merge"
)

// A warning for names of common lengths is not truncated, and a truncated one still names
// the pull secrets.
func TestWarningsAreCompleteForCommonNames(t *testing.T) {
	const namespace = "payments-checkout-production"
	due := []merge.Entry{{Name: "acme-ghcr"}}
	invalid := func(inject string) string {
		return warnInvalid(annotation.ForService(map[string]string{pullsecrets.InjectAnnotation: inject}).Problems[0])
	}
	for _, warning := range []string{
		warnInvalid(config.InjectOnly.Problems(annotation.Auto)[0]),
		invalid(""), invalid("false"), invalid("Disabled"), invalid("disable-it"),
		warnExcluded(namespace, "excluded-namespaces"),
		warnInvalidNamespace(namespace),
		warnNamedRevision("shop-v3", due),
		warnWithheld("default", due),
		warnNotGranted(namespace, []string{"acme-ghcr"}),
		warnPending(namespace, []string{"acme-ghcr"}),
	} {
		if strings.HasSuffix(warning, "…") {
			t.Errorf("%q is truncated", warning)
		}
	}
	if long := warnPending(strings.Repeat("n", 63), []string{"acme-ghcr"}); !strings.Contains(long, "acme-ghcr") {
		t.Errorf("%q does not name the pull secret", long)
	}
}
