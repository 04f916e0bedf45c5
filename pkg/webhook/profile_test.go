// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pullsecrets.dev/pkg/config"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// With the profile inject-only, declared names are added as ever, and inject: auto is
// answered with a warning.
func TestInjectOnlyWarnsOfAuto(t *testing.T) {
	const service = `{metadata: {annotations: {pullsecrets.dev/inject: auto}}, spec: {template: {spec: {containers: [{image: example.com/app}]}}}}`
	for profile, want := range map[config.Profile]int{config.Full: 0, config.InjectOnly: 1} {
		w := world{cached: []runtime.Object{
			Namespace(ns, WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr")), ServiceAccount(ns, "default", nil),
		}}
		admission := w.services(t)
		admission.profile = profile
		r := request(t, "", service)
		response := admission.Admit(t.Context(), r)
		if got := summary(t, apply(t, r, response)); !strings.Contains(got, "ghcr") {
			t.Errorf("%s: the Service has %s, want ghcr", profile, got)
		}
		if len(response.Warnings) != want || want > 0 && !strings.Contains(response.Warnings[0], "no ClusterPullSecrets") {
			t.Errorf("%s: warnings are %q, want %d", profile, response.Warnings, want)
		}
	}
}

// With the profile inject-only, nobody knows what a ClusterPullSecret declares. What was added for
// one stays, in the request that changes the template too, with the ServiceAccount's entries that
// came with it. The owner of a Service may still exclude it.
func TestInjectOnlyKeepsEntriesOfClusterPullSecrets(t *testing.T) {
	service := func(image, annotations, secrets string) string {
		return `{metadata: {annotations: {` + annotations + `}}, spec: {template: {spec: {containers: [{image: example.com/` + image + `}], imagePullSecrets: [` + secrets + `]}}}}`
	}
	const (
		ledger  = `pullsecrets.dev/added: '{"gone":"namespace","of-account":"serviceaccount/default","quay":"clusterpullsecret/quay"}'`
		secrets = `{name: gone}, {name: quay}, {name: of-account}`
		kept    = `quay of-account | {"of-account":"serviceaccount/default","quay":"clusterpullsecret/quay"}`
	)
	for _, test := range []struct {
		reason, old, requested, want string
		full                         bool
	}{
		{reason: "the template changes", old: service("a", ledger, secrets), requested: service("b", ledger, secrets), want: kept},
		{reason: "it changes, without the entries", old: service("a", ledger, secrets), requested: service("b", "", ""), want: kept},
		{reason: "inject: declared excludes ClusterPullSecrets", old: service("a", ledger, secrets), requested: service("b", `pullsecrets.dev/inject: declared`, ""), want: " | "},
		{reason: "inject: disabled", old: service("a", ledger, secrets), requested: service("b", `pullsecrets.dev/inject: disabled`, ""), want: " | "},
		{reason: "a ledger that the owner of a new Service wrote", requested: service("a", ledger, secrets), want: "gone quay of-account | "},
		{reason: "the profile full", full: true, old: service("a", ledger, secrets), requested: service("b", ledger, secrets), want: " | "},
	} {
		t.Run(test.reason, func(t *testing.T) {
			w := world{unknown: !test.full, cached: []runtime.Object{Namespace(ns), ServiceAccount(ns, "default", nil, "of-account")}}
			r := request(t, test.old, test.requested)
			patched := apply(t, r, w.services(t).Admit(t.Context(), r))
			if got := summary(t, patched); got != test.want {
				t.Errorf("list and ledger = %q, want %q", got, test.want)
			}
			r.Object.Raw = patched
			if again := w.services(t).Admit(t.Context(), r); len(again.Patch) > 0 {
				t.Errorf("the second call patches again: %s", again.Patch)
			}
		})
	}
}

// bundles are webhook configurations with the authorities that they trust.
type bundles map[string]string

func (b bundles) get(name string) (*configuration, error) {
	bundle, found := b[name]
	if !found {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	return &configuration{webhooks: []registered{{bundle: []byte(bundle)}}}, nil
}

func (bundles) patch(context.Context, string, []byte) error { return nil }

// A configuration for ClusterPullSecrets that was left delays no certificate, because nobody
// writes its authorities in the profile inject-only.
func TestPublishedInAProfile(t *testing.T) {
	const next = "next"
	mutating := bundles{injectName: next, bindName: next, defaultingName: next}
	validating := bundles{validationName: "old", configName: next}
	for profile, want := range map[config.Profile]bool{config.Full: false, config.InjectOnly: true} {
		if got := published(profile, mutating, validating)([]byte(next)); got != want {
			t.Errorf("%s: published = %t, want %t", profile, got, want)
		}
	}
	mutating[bindName] = "old"
	if published(config.InjectOnly, mutating, validating)([]byte(next)) {
		t.Error("inject-only: a configuration with the old authority counts as published")
	}
}
