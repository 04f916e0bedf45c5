// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// Each Service has the outcome that the controller would bring about, and Revisions and Pods are
// counted for those that are changed now.
func TestPlanned(t *testing.T) {
	const digest = "ghcr.io/acme/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	scaled := func(o *Objects) {
		o.Service.Spec.Template.Annotations = map[string]string{"autoscaling.knative.dev/min-scale": "3"}
	}
	for _, test := range []struct {
		reason  string
		setups  []setup
		outcome Outcome
		pods    int
	}{
		{"failing", []setup{bare, scaled}, Now, 3},
		{"Ready with a tag", []setup{bare, ready, scaled}, Later, 0},
		{"Ready with a digest", []setup{bare, ready, image(digest)}, Now, 0},
		{"Ready with a tag, and it asks itself", []setup{bare, ready, edit(fixture.WithAnnotation(pullsecrets.InjectAnnotation, "declared"))}, Now, 0},
		{"backfill: all", []setup{bare, ready, func(o *Objects) { o.Config.Backfill = config.BackfillAll }}, Now, 0},
		{"backfill: disabled", []setup{bare, func(o *Objects) { o.Config.Backfill = config.BackfillDisabled }}, Later, 0},
		{"named", []setup{bare, edit(fixture.WithTemplateName("shop-one"))}, Named, 0},
		{"has it already", []setup{ready}, Nothing, 0},
		{"excluded", []setup{bare, namespace(fixture.WithNamespaceLabel(pullsecrets.ExcludeLabel, "true"))}, Nothing, 0},
		{"disabled", []setup{bare, edit(fixture.WithAnnotation(pullsecrets.InjectAnnotation, "disabled"))}, Nothing, 0},
		{"new", []setup{bare, func(o *Objects) {
			o.Service.ResourceVersion = ""
			o.Service.Status.ObservedGeneration = 0
		}}, AtCreation, 0},
		{"the Namespace is not known", []setup{bare, func(o *Objects) { o.Namespace = nil }}, NotKnown, 0},
	} {
		o := objects(test.setups...)
		plan, _ := Planned([]*Objects{o}, o.Settings)
		revisions := 0
		if test.outcome == Now {
			revisions = 1
		}
		if got := plan.Services[0]; got.Outcome != test.outcome || plan.Revisions != revisions || plan.Pods != test.pods || plan.Minutes != revisions {
			t.Errorf("%s: %+v, want %s with %d Pods", test.reason, plan, test.outcome, test.pods)
		}
	}
}

// The minutes are those of the rate.
func TestMinutes(t *testing.T) {
	var all []*Objects
	for range 61 {
		all = append(all, objects(bare))
	}
	settings := all[0].Settings
	if plan, _ := Planned(all, settings); plan.Minutes != 2 {
		t.Errorf("61 Services at 60 per minute take %d minutes", plan.Minutes)
	}
	settings.Config = config.Default()
	settings.Config.BackfillPerMinute = 0
	if plan, _ := Planned(all, settings); plan.Minutes != 0 {
		t.Errorf("without a limit it takes %d minutes", plan.Minutes)
	}
}

// A Pod without the annotation counts as none.
func TestMinScale(t *testing.T) {
	for value, want := range map[string]int{"": 0, "2": 2, "-1": 0, "many": 0} {
		o := objects(bare)
		o.Service.Spec.Template.Annotations = map[string]string{"autoscaling.knative.dev/minScale": value}
		if got := minScale(o.Service); got != want {
			t.Errorf("%q is %d, want %d", value, got, want)
		}
	}
}
