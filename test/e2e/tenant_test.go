// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

const (
	// timeout is how long a test waits for what should happen. It is long,
	// because it costs time only where the test fails.
	timeout = time.Minute
	// glance is how often it looks.
	glance = 50 * time.Millisecond
)

var services = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}

// servicesResource names the same to env.Requests.
const servicesResource = "services.serving.knative.dev"

// tenant is a namespace of the cluster for one test, and the person who works
// there: most methods are what that person writes, waits for or looks at. A
// method whose name begins with "check" looks once, one that begins with "wait"
// until it is so.
type tenant struct {
	*env.Env
	t  *testing.T
	ns string
}

// newTenant creates a namespace in which the backfill goes at any speed.
func newTenant(t *testing.T, options ...env.NamespaceOption) *tenant {
	t.Helper()
	e := env.Get(t)
	liftRate(t, e)
	openBypass(t, e)
	return &tenant{Env: e, t: t, ns: e.Namespace(t, options...)}
}

// optedIn is a Namespace that declares pull secrets.
func optedIn(secrets string) env.NamespaceOption {
	return env.Annotated(pullsecrets.SecretsAnnotation, secrets)
}

// eventually waits until it holds; the error says what is missing.
func eventually(t *testing.T, holds func(ctx context.Context) error) {
	t.Helper()
	var missing error
	err := wait.PollUntilContextTimeout(t.Context(), glance, timeout, true, func(ctx context.Context) (bool, error) {
		err := holds(ctx)
		if err == nil || ctx.Err() == nil {
			missing = err // At the deadline it would only say that there is one.
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("After %s still: %v", timeout, missing)
	}
}

// retryOnConflict makes a change that reads, changes and writes back, until nobody
// else has written in between: Knative's controller writes the status of a new
// Service again and again.
func retryOnConflict(change func() error) error {
	return retry.RetryOnConflict(wait.Backoff{Steps: 40, Duration: 10 * time.Millisecond, Factor: 1.2, Jitter: 0.2, Cap: time.Second}, change)
}

// apply applies a file of testdata to the namespace.
func (n *tenant) apply(file string) {
	n.t.Helper()
	for _, object := range manifests(n.t, n.Env, file) {
		object.SetNamespace(n.ns)
		if err := apply(n.t.Context(), n.Env, object); err != nil {
			n.t.Fatal(err)
		}
	}
}

// applyAs applies the one Service of a file under another name.
func (n *tenant) applyAs(file, name string, edits ...func(*unstructured.Unstructured)) {
	n.t.Helper()
	service := manifests(n.t, n.Env, file)[0]
	service.SetNamespace(n.ns)
	service.SetName(name)
	for _, edit := range edits {
		edit(service)
	}
	if err := apply(n.t.Context(), n.Env, service); err != nil {
		n.t.Fatal(err)
	}
}

// annotated is an edit that sets an annotation.
func annotated(key, value string) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = value
		object.SetAnnotations(annotations)
	}
}

// patch is "kubectl patch --type merge" of a Service.
func (n *tenant) patch(service string, change map[string]any) {
	n.t.Helper()
	if err := n.tryPatch(n.t.Context(), service, change); err != nil {
		n.t.Fatalf("update Service %s: %v", service, err)
	}
}

func (n *tenant) tryPatch(ctx context.Context, service string, change map[string]any) error {
	_, err := n.Dynamic.Resource(services).Namespace(n.ns).Patch(ctx, service, types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: user})
	return err
}

// annotate is "kubectl annotate --overwrite" of a Service; nil removes the
// annotation.
func (n *tenant) annotate(service, key string, value any) {
	n.t.Helper()
	n.patch(service, annotations(key, value))
}

// annotateNamespace is "kubectl annotate --overwrite" of the Namespace; nil
// removes the annotation.
func (n *tenant) annotateNamespace(key string, value any) {
	n.t.Helper()
	n.patchNamespace(annotations(key, value))
}

// labelNamespace is "kubectl label --overwrite" of the Namespace; nil removes
// the label.
func (n *tenant) labelNamespace(key string, value any) {
	n.t.Helper()
	n.patchNamespace(map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}})
}

func (n *tenant) patchNamespace(change map[string]any) {
	n.t.Helper()
	_, err := n.Kube.CoreV1().Namespaces().Patch(n.t.Context(), n.ns, types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		n.t.Fatalf("update Namespace %s: %v", n.ns, err)
	}
}

func annotations(key string, value any) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}}
}

// templateSpec is a change of spec.template.spec.
func templateSpec(change map[string]any) map[string]any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": change}}}
}

func encode(value any) []byte {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // The tests write nothing that JSON does not know.
	}
	return raw
}

// get reads a Service as it is stored, whatever our compiled types know.
func (n *tenant) get(service string) *unstructured.Unstructured {
	n.t.Helper()
	object, err := n.Dynamic.Resource(services).Namespace(n.ns).Get(n.t.Context(), service, metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return object
}

// list returns the names in the imagePullSecrets of a Service, in order.
func (n *tenant) list(service string) []string {
	n.t.Helper()
	return pullSecretsOf(n.get(service))
}

func pullSecretsOf(service *unstructured.Unstructured) []string {
	refs, _, _ := unstructured.NestedSlice(service.Object, "spec", "template", "spec", "imagePullSecrets")
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		name, _, _ := unstructured.NestedString(ref.(map[string]any), "name")
		names = append(names, name)
	}
	return names
}

// waitForList waits until the Service names exactly these pull secrets, in this
// order.
func (n *tenant) waitForList(service string, want ...string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		if got := n.list(service); !slices.Equal(got, want) {
			return fmt.Errorf("Service %s has imagePullSecrets %q, want %q", service, got, want)
		}
		return nil
	})
}

// checkList checks that the Service names exactly these pull secrets, in this
// order.
func (n *tenant) checkList(service string, want ...string) {
	n.t.Helper()
	if got := n.list(service); !slices.Equal(got, want) {
		n.t.Errorf("Service %s has imagePullSecrets %q, want %q", service, got, want)
	}
}

// checkLedger checks which entries the product says it added, and why.
func (n *tenant) checkLedger(service string, want map[string]string) {
	n.t.Helper()
	text, found := n.get(service).GetAnnotations()[pullsecrets.AddedAnnotation]
	if !found && len(want) == 0 {
		return
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) == 0 || !maps.Equal(got, want) {
		n.t.Errorf("Service %s has the ledger %q, want %v", service, text, want)
	}
}

// checkUntouched checks that the product has never written the Service, and
// that the Service has therefore no Revision but its first.
func (n *tenant) checkUntouched(service string) {
	n.t.Helper()
	object := n.get(service)
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == pullsecrets.FieldManager {
			n.t.Errorf("Service %s was written by %s at %s: %s; want it left alone", service, entry.Manager, entry.Time, entry.FieldsV1)
		}
	}
	if got := object.GetGeneration(); got != 1 {
		n.t.Errorf("Service %s has generation %d, want it left alone at 1", service, got)
	}
}

// waitForReady waits until each Service is Ready with its newest template.
func (n *tenant) waitForReady(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.waitFor(name, "Ready", func(s *servingv1.Service) bool { return s.IsReady() })
	}
}

// waitForFailed waits until the Service's newest Revision has failed.
func (n *tenant) waitForFailed(name string) {
	n.t.Helper()
	n.waitFor(name, "failed", func(s *servingv1.Service) bool {
		return s.Generation == s.Status.ObservedGeneration && s.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsFalse()
	})
}

func (n *tenant) waitFor(name, state string, is func(*servingv1.Service) bool) {
	n.t.Helper()
	eventually(n.t, func(ctx context.Context) error {
		s, err := n.Serving.ServingV1().Services(n.ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && !is(s) {
			err = fmt.Errorf("Service %s is not %s: generation %d, observed %d, %v",
				name, state, s.Generation, s.Status.ObservedGeneration, s.Status.Conditions)
		}
		return err
	})
}

// checkRevisions checks how many Revisions the Service has made. The Service
// has to be Ready: only then has Knative made all of them.
func (n *tenant) checkRevisions(service string, want int) {
	n.t.Helper()
	revisions, err := n.Serving.ServingV1().Revisions(n.ns).List(n.t.Context(), metav1.ListOptions{LabelSelector: "serving.knative.dev/service=" + service})
	if err != nil {
		n.t.Fatal(err)
	}
	if got := len(revisions.Items); got != want {
		n.t.Errorf("Service %s has %d Revisions, want %d", service, got, want)
	}
}

// about names what an Event is about.
type about struct{ kind, name string }

func service(name string) about { return about{"Service", name} }

func (n *tenant) namespace() about { return about{"Namespace", n.ns} }

// events returns the Events with this reason.
func (n *tenant) events(object about, reason string) []corev1.Event {
	n.t.Helper()
	list, err := n.Kube.CoreV1().Events(n.ns).List(n.t.Context(), metav1.ListOptions{FieldSelector: fields.Set{
		"involvedObject.kind": object.kind, "involvedObject.name": object.name, "reason": reason,
	}.String()})
	if err != nil {
		n.t.Fatal(err)
	}
	return list.Items
}

// waitForEvent waits for an Event whose message has all these parts.
func (n *tenant) waitForEvent(object about, reason string, parts ...string) corev1.Event {
	n.t.Helper()
	var found corev1.Event
	eventually(n.t, func(context.Context) error {
		missed := []error{fmt.Errorf("%s %s has no Event %s with %q", object.kind, object.name, reason, parts)}
		for _, found = range n.events(object, reason) {
			missing := slices.DeleteFunc(slices.Clone(parts), func(part string) bool { return strings.Contains(found.Message, part) })
			if len(missing) == 0 {
				return nil
			}
			missed = append(missed, fmt.Errorf("one says %q and lacks %q", found.Message, missing))
		}
		return errors.Join(missed...)
	})
	return found
}

// checkEvents checks how often Events with this reason were written. Equal ones
// are counted in one object.
func (n *tenant) checkEvents(object about, reason string, want int) {
	n.t.Helper()
	events := n.events(object, reason)
	var got int
	var messages []string
	for _, event := range events {
		got += int(max(event.Count, 1))
		messages = append(messages, event.Message)
	}
	if got != want {
		n.t.Errorf("%s %s has %d Events %s, want %d: %q", object.kind, object.name, got, reason, want, messages)
	}
}

// settle waits until the controller has handled everything that the tenant has
// written up to now: it creates one more Service, which has to get the pull
// secrets that the Namespace declares, by the controller alone. Whatever else should have happened in
// the namespace has happened before.
func (n *tenant) settle(declared ...string) {
	n.t.Helper()
	name := "marker-" + rand.String(5)
	n.applyAs("by-digest.yaml", name, unadmitted, annotated(pullsecrets.SecretsAnnotation, name))
	n.waitForList(name, append([]string{name}, declared...)...)
}

// tally counts what the controller writes to the Services of the namespace
// from a moment on, where the cluster lets requests be counted.
type tally struct {
	*tenant
	mark env.Mark
}

func (n *tenant) startTally() tally {
	n.t.Helper()
	counting := tally{tenant: n}
	if n.Audit == nil {
		return counting
	}
	var err error
	if counting.mark, err = n.Audit.Mark(); err != nil {
		n.t.Fatal(err)
	}
	return counting
}

// requests returns what the controller has asked of the API server since, or
// nothing and false where that is not known.
func (c tally) requests() (env.Requests, bool) {
	c.t.Helper()
	if c.Audit == nil {
		return nil, false
	}
	all, err := c.Audit.Since(c.mark)
	if err != nil {
		c.t.Fatal(err)
	}
	return all.By(pullsecrets.ControllerUser).In(c.ns), true
}

// checkWrites checks how often the controller has written the Service, or was
// denied that. It has to be patches, all of them. One that came too late, after
// somebody else's write, has changed nothing and does not count.
func (c tally) checkWrites(service string, want int) {
	c.t.Helper()
	requests, known := c.requests()
	if !known {
		return
	}
	writes := slices.DeleteFunc(requests.Writes().Of(servicesResource), func(r env.Request) bool {
		return r.Name != service || r.Code == http.StatusConflict
	})
	if len(writes) != want || len(writes.Verbs("patch")) != want {
		c.t.Errorf("The controller has written Service %s %d times, want %d patches:\n%s", service, len(writes), want, writes)
	}
}

// checkContains checks that a text has all these parts.
func checkContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}
