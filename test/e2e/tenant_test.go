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
	// timeout is how long a test waits for a condition. It is long, because it costs time
	// only if the test fails.
	timeout = 3 * time.Minute
	// glance is the polling interval.
	glance = 100 * time.Millisecond
)

var services = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}

// servicesResource is the same for env.Requests.
const servicesResource = "services.serving.knative.dev"

// tenant is a namespace of the cluster for one test and its user: most methods are what
// the user writes, waits for or checks. Methods named check... check once; methods named
// wait... poll.
type tenant struct {
	*env.Env
	t  *testing.T
	ns string
}

// newTenant creates a namespace without a rate limit of the backfill.
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

// eventually waits until holds returns nil; its error says what is missing.
func eventually(t *testing.T, holds func(ctx context.Context) error) {
	t.Helper()
	var missing error
	err := wait.PollUntilContextTimeout(t.Context(), glance, timeout, true, func(ctx context.Context) (bool, error) {
		err := holds(ctx)
		if err == nil || ctx.Err() == nil {
			missing = err // After the deadline the error would only be the deadline.
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("After %s still: %v", timeout, missing)
	}
}

// retryOnConflict retries a read-modify-write on conflicts: Knative's controller keeps
// updating the status of a new Service.
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

// applyAs applies the Service of a file under another name.
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
		panic(err) // The tests marshal only JSON types.
	}
	return raw
}

// get returns a Service as stored, with fields that our compiled types do not know.
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

// waitForList waits until the Service has exactly these pull secrets in this order.
func (n *tenant) waitForList(service string, want ...string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		if got := n.list(service); !slices.Equal(got, want) {
			return fmt.Errorf("Service %s has imagePullSecrets %q, want %q", service, got, want)
		}
		return nil
	})
}

// checkList checks that the Service has exactly these pull secrets in this order.
func (n *tenant) checkList(service string, want ...string) {
	n.t.Helper()
	if got := n.list(service); !slices.Equal(got, want) {
		n.t.Errorf("Service %s has imagePullSecrets %q, want %q", service, got, want)
	}
}

// checkLedger checks the ledger of a Service.
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

// checkUntouched checks that the controller never wrote the Service, and that it has only
// its first generation.
func (n *tenant) checkUntouched(service string) {
	n.t.Helper()
	object := n.get(service)
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == pullsecrets.FieldManager {
			n.t.Errorf("Service %s was written by %s at %s: %s; want no write", service, entry.Manager, entry.Time, entry.FieldsV1)
		}
	}
	if got := object.GetGeneration(); got != 1 {
		n.t.Errorf("Service %s has generation %d, want 1", service, got)
	}
}

// waitForReady waits until each Service is Ready with its latest template.
func (n *tenant) waitForReady(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.waitFor(name, "Ready", func(s *servingv1.Service) bool { return s.IsReady() })
	}
}

// waitForFailed waits until the latest Revision of the Service app has failed. If Knative could
// not update the Configuration, the generation is observed all the same, and the condition of
// Configurations is the old one, but Ready is Unknown.
func (n *tenant) waitForFailed() {
	n.t.Helper()
	n.waitFor("app", "failed", func(s *servingv1.Service) bool {
		return s.Generation == s.Status.ObservedGeneration && s.Status.GetCondition(servingv1.ServiceConditionReady).IsFalse() &&
			s.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady).IsFalse()
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

// checkRevisions checks the number of Revisions of a Service. The Service must be Ready:
// only then has Knative created all of them.
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

// about identifies the object of an Event.
type about struct{ kind, name string }

func service(name string) about { return about{"Service", name} }

func (n *tenant) namespace() about { return about{"Namespace", n.ns} }

// events returns the Events with this reason, or all if it is empty.
func (n *tenant) events(object about, reason string) []corev1.Event {
	n.t.Helper()
	selected := fields.Set{"involvedObject.kind": object.kind, "involvedObject.name": object.name}
	if reason != "" {
		selected["reason"] = reason
	}
	list, err := n.Kube.CoreV1().Events(n.ns).List(n.t.Context(), metav1.ListOptions{FieldSelector: selected.String()})
	if err != nil {
		n.t.Fatal(err)
	}
	return list.Items
}

// waitForEvent waits for an Event whose message contains all parts.
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
			missed = append(missed, fmt.Errorf("found %q, which lacks %q", found.Message, missing))
		}
		return errors.Join(missed...)
	})
	return found
}

// checkEvents checks how often Events with this reason were written. Equal Events are
// counted in one object.
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

// settle waits until the controller has handled everything that the tenant has written so
// far: it creates one more Service, which must get the pull secrets that the Namespace
// declares, from the controller alone. Everything else in the namespace is handled before
// it. It returns the name of that Service, which is also the name of the Secret that it
// declares.
func (n *tenant) settle(declared ...string) string {
	n.t.Helper()
	name := "marker-" + rand.String(5)
	n.applyAs("by-digest.yaml", name, unadmitted, annotated(pullsecrets.SecretsAnnotation, name))
	n.waitForList(name, append([]string{name}, declared...)...)
	return name
}

// writeCounter counts the controller's writes to the Services of the namespace since its
// start, if the cluster has an audit log.
type writeCounter struct {
	*tenant
	mark env.Mark
}

func (n *tenant) startCounting() writeCounter {
	n.t.Helper()
	counting := writeCounter{tenant: n}
	if n.Audit == nil {
		return counting
	}
	var err error
	if counting.mark, err = n.Audit.Mark(); err != nil {
		n.t.Fatal(err)
	}
	return counting
}

// requests returns the controller's requests since the start, or false if they are
// unknown.
func (c writeCounter) requests() (env.Requests, bool) {
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

// checkWrites checks how often the controller wrote the Service or was denied. All writes
// must be patches. Conflicts do not count.
func (c writeCounter) checkWrites(service string, want int) {
	c.t.Helper()
	requests, known := c.requests()
	if !known {
		return
	}
	writes := slices.DeleteFunc(requests.Writes().Of(servicesResource), func(r env.Request) bool {
		return r.Name != service || r.Code == http.StatusConflict
	})
	if len(writes) != want || len(writes.Verbs("patch")) != want {
		c.t.Errorf("controller wrote Service %s %d times, want %d patches:\n%s", service, len(writes), want, writes)
	}
}

// checkContains checks that a text contains all parts.
func checkContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}
