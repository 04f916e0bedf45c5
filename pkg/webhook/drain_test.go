// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		stop, signal := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		notYet := errors.New("not yet")
		current := notYet
		ctx, readiness := Drain(stop, func() error { return current })
		if ctx.Value(key{}) != "value" {
			t.Error("values of the context are lost")
		}
		if err := readiness(); !errors.Is(err, notYet) {
			t.Errorf("readiness is %v, want %v", err, notYet)
		}
		current = nil
		time.Sleep(time.Hour)
		if err := readiness(); err != nil || ctx.Err() != nil {
			t.Fatalf("before the signal: readiness is %v, context is %v", err, ctx.Err())
		}
		signal()
		for _, step := range []struct {
			after        time.Duration
			ready, ended bool
		}{
			{time.Second, true, false},
			{DrainTime - unreadyTime - 2*time.Second, true, false},
			{2 * time.Second, false, false},
			{unreadyTime - 2*time.Second, false, false},
			{2 * time.Second, false, true},
		} {
			time.Sleep(step.after)
			if err := readiness(); (err == nil) != step.ready || (ctx.Err() != nil) != step.ended {
				t.Errorf("%+v: readiness is %v, context is %v", step, err, ctx.Err())
			}
		}
	})
}

// A webhook that is stopped before it was ready has nothing to drain.
func TestDrainOfAWebhookThatWasNeverReady(t *testing.T) {
	stop, signal := context.WithCancel(t.Context())
	ctx, readiness := Drain(stop, func() error { return errors.New("never") })
	signal()
	<-ctx.Done()
	if err := readiness(); !errors.Is(err, ErrStopping) {
		t.Errorf("readiness is %v, want %v", err, ErrStopping)
	}
}

// The grace period of its Pods leaves the webhook the time to drain, and then to finish the
// longest request.
func TestGracePeriodLeavesTimeToDrain(t *testing.T) {
	read := func(file string, into any) {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	var deployment appsv1.Deployment
	read("../../config/510-webhook.yaml", &deployment)
	files, err := filepath.Glob("../../config/60*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d webhook configurations, %v", len(files), err)
	}
	longest := int32(0)
	for _, file := range files {
		var configuration admissionregistrationv1.MutatingWebhookConfiguration // The other kind has the same field.
		read(file, &configuration)
		for _, w := range configuration.Webhooks {
			longest = max(longest, *w.TimeoutSeconds)
		}
	}
	const margin = 3 * time.Second // to close connections and release leases
	grace := time.Duration(*deployment.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	if least := DrainTime + time.Duration(longest)*time.Second + margin; longest == 0 || grace < least {
		t.Errorf("Pods have a grace period of %s, want %s at least", grace, least)
	}
}
