// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"

	"pullsecrets.dev/pkg/annotation"
)

func TestParseProfile(t *testing.T) {
	for value, want := range map[string]Profile{"": Full, "full": Full, "inject-only": InjectOnly} {
		if got, err := ParseProfile(value); err != nil || got != want {
			t.Errorf("ParseProfile(%q) = %q, %v; want %q", value, got, err, want)
		}
		t.Setenv(ProfileVariable, value)
		if got, err := ProfileFromEnv(); err != nil || got != want {
			t.Errorf("ProfileFromEnv with %q = %q, %v; want %q", value, got, err, want)
		}
	}
	for _, value := range []string{"Full", "inject", "none", " inject-only"} {
		if got, err := ParseProfile(value); err == nil {
			t.Errorf("ParseProfile(%q) = %q, want an error", value, got)
		}
	}
}

func TestProfileUsesSecrets(t *testing.T) {
	if !Full.UsesSecrets() || !Profile("").UsesSecrets() || InjectOnly.UsesSecrets() {
		t.Error("only the profile inject-only uses no Secrets")
	}
}

// Without ClusterPullSecrets, inject: auto has no effect, which its owner is told.
func TestProfileProblems(t *testing.T) {
	if got := Full.Problems(annotation.Auto); got != nil {
		t.Errorf("Full: %v", got)
	}
	for _, inject := range []annotation.Inject{annotation.Unset, annotation.Declared, annotation.Disabled} {
		if got := InjectOnly.Problems(inject); got != nil {
			t.Errorf("InjectOnly, %q: %v", inject, got)
		}
	}
	const want = `annotation pullsecrets.dev/inject: "auto" adds nothing: this installation has no ClusterPullSecrets (profile inject-only)`
	if got := InjectOnly.Problems(annotation.Auto); len(got) != 1 || got[0].Error() != want {
		t.Errorf("InjectOnly, auto: %v, want %s", got, want)
	}
}
