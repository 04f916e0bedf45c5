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

// The settings of the product that tests change.
const (
	settingsName = "config-pullsecrets"

	excludedNamespaces = "excluded-namespaces"
	backfill           = "backfill"
	backfillPerMinute  = "backfill-per-minute"
)

// whileWanted is something that is done for as long as any test wants it.
type whileWanted struct {
	mu    sync.Mutex
	tests int
	undo  func(context.Context, *testing.T)
}

// want does it, unless another test has had it done, until the test ends.
func (w *whileWanted) want(t *testing.T, do func() (undo func(context.Context, *testing.T))) {
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

var lifted whileWanted

// liftRate takes the limit of the backfill away for as long as any test wants
// that: one Service a second would be what the suite waits for most. A Service
// that comes before the controller knows is late by a second and nothing else.
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

// operator changes the settings of the product, which is felt everywhere, so
// a test with one is never parallel.
type operator struct {
	*env.Env
	t *testing.T
	// witness is the name of a namespace that does not exist and that the
	// settings in force exclude.
	witness string
	before  map[string]string
}

// newOperator returns an operator, who has to restore the settings in the end.
func newOperator(t *testing.T) *operator {
	t.Helper()
	e := env.Get(t)
	liftRate(t, e)
	o := &operator{Env: e, t: t, witness: "openshift-witness-" + rand.String(5), before: readSettings(t.Context(), t, e)}
	if value, found := o.before[excludedNamespaces]; found {
		t.Fatalf("%s has %s: %q; the test starts from the settings as shipped", settingsName, excludedNamespaces, value)
	}
	return o
}

// set changes these settings, puts all others back, and returns when the
// controller follows them. It follows no exclusion of openshift-*.
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

// restore puts all settings back, and returns when the controller follows them.
// It is to be deferred.
func (o *operator) restore() {
	o.t.Helper()
	o.change(nil)
}

// change writes the settings and waits until they are in force. That is seen by
// a witness: a Service in a namespace that was excluded up to now and is not
// any more, of which the controller therefore has something to say for the
// first time.
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
	for _, key := range []string{backfill, backfillPerMinute, excludedNamespaces} {
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
