// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// Settings that tests change.
const (
	settingsName = "config-pullsecrets"

	excludedNamespaces = "excluded-namespaces"
	backfill           = "backfill"
	backfillPerMinute  = "backfill-per-minute"
	uncovered          = "uncovered"
	retryFailed        = "retry-failed-revisions"
)

// whileNeeded is a change that lasts as long as any test needs it.
type whileNeeded struct {
	mu    sync.Mutex
	tests int
	undo  func(context.Context, *testing.T)
}

// want makes the change until the test ends, unless another test has already made it.
func (w *whileNeeded) want(t *testing.T, do func() (undo func(context.Context, *testing.T))) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tests == 0 {
		w.undo = do()
	}
	w.tests++
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.tests--; w.tests == 0 {
			w.undo(context.WithoutCancel(t.Context()), t)
		}
	})
}

var lifted whileNeeded

// liftRate removes the limit of the backfill for as long as any test needs it: at one
// Service per second, the suite would mostly wait. A Service that is created before the
// controller observes the change is late by a second.
func liftRate(t *testing.T, e *env.Env) {
	t.Helper()
	lifted.want(t, func() func(context.Context, *testing.T) {
		var before any
		if value, found := readSettings(t.Context(), t, e)[backfillPerMinute]; found {
			before = value
		}
		writeSettings(t.Context(), t, e, map[string]any{backfillPerMinute: "0"})
		return func(ctx context.Context, t *testing.T) {
			writeSettings(ctx, t, e, map[string]any{backfillPerMinute: before})
		}
	})
}

func readSettings(ctx context.Context, t *testing.T, e *env.Env) map[string]string {
	t.Helper()
	settings, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Get(ctx, settingsName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return settings.Data
}

// writeSettings is "kubectl patch configmap"; nil removes a key.
func writeSettings(ctx context.Context, t *testing.T, e *env.Env, data map[string]any) {
	t.Helper()
	_, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, settingsName, types.MergePatchType,
		encode(map[string]any{"data": data}), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		t.Errorf("update the settings: %v", err)
	}
}

// operator changes the settings of the installation, which affects all namespaces, so a
// test with one is never parallel.
type operator struct {
	*env.Env
	t *testing.T
	// witness is the name of a namespace that does not exist and that the current
	// settings exclude.
	witness string
	before  map[string]string
}

// newOperator returns an operator, which restores the settings at the end.
func newOperator(t *testing.T) *operator {
	t.Helper()
	e := env.Get(t)
	liftRate(t, e)
	o := &operator{Env: e, t: t, witness: "openshift-witness-" + rand.String(5), before: readSettings(t.Context(), t, e)}
	if value, found := o.before[excludedNamespaces]; found {
		t.Fatalf("%s has %s: %q; the test needs the default settings", settingsName, excludedNamespaces, value)
	}
	return o
}

// set changes these settings, restores all others, and returns when the controller has
// observed them. The controller then does not exclude openshift-*.
func (o *operator) set(settings map[string]string) {
	o.t.Helper()
	data := make(map[string]any)
	for key, value := range settings {
		data[key] = value
	}
	next := "witness-" + rand.String(5)
	data[excludedNamespaces] = cmp.Or(settings[excludedNamespaces], "kube-*,knative-*") + "," + next
	o.change(data)
	o.witness = next
}

// restore restores all settings and returns when the controller has observed them.
// Callers defer it.
func (o *operator) restore() {
	o.t.Helper()
	o.change(nil)
}

// change writes the settings and waits until they are in force. A witness shows this: a
// Service in a namespace that was excluded before and no longer is, so the controller
// reports something about it for the first time.
func (o *operator) change(settings map[string]any) {
	o.t.Helper()
	witness := &tenant{Env: o.Env, t: o.t, ns: o.witness}
	_, err := o.Kube.CoreV1().Namespaces().Create(o.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: witness.ns}}, metav1.CreateOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() {
		if err := o.Kube.CoreV1().Namespaces().Delete(o.t.Context(), witness.ns, metav1.DeleteOptions{}); err != nil {
			o.t.Error(err)
		}
	}()
	witness.applyAs("by-digest.yaml", "witness", annotated(pullsecrets.SecretsAnnotation, "Not-A-Name"))

	data := make(map[string]any)
	for _, key := range []string{backfill, backfillPerMinute, excludedNamespaces, uncovered, retryFailed} {
		data[key] = nil
		if value, found := o.before[key]; found {
			data[key] = value
		}
		if value, found := settings[key]; found {
			data[key] = value
		}
	}
	writeSettings(o.t.Context(), o.t, o.Env, data)
	witness.waitForEvent(service("witness"), "InvalidAnnotation")
}
