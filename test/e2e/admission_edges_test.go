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
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// maxWarningLength is the maximum number of characters in one of the webhook's warnings.
const maxWarningLength = 120

// answer is the API server's response to one request: the object as stored, before any
// controller could change it, or the reason for the rejection.
type answer struct {
	object   *unstructured.Unstructured
	err      error
	warnings []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (a *answer) HandleWarningHeader(_ int, _ string, text string) {
	a.warnings = append(a.warnings, text)
}

// ask sends one request about Services of the namespace.
func (n *tenant) ask(request func(dynamic.ResourceInterface) (*unstructured.Unstructured, error)) *answer {
	n.t.Helper()
	a := &answer{}
	config := rest.CopyConfig(n.Config)
	config.WarningHandler = a
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		n.t.Fatal(err)
	}
	a.object, a.err = request(client.Resource(services).Namespace(n.ns))
	return a
}

// askToCreate sends the one Service of a file.
func (n *tenant) askToCreate(file string, dryRun []string, edits ...func(*unstructured.Unstructured)) *answer {
	n.t.Helper()
	object := manifests(n.t, n.Env, file)[0]
	for _, edit := range edits {
		edit(object)
	}
	return n.ask(func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return client.Create(n.t.Context(), object, metav1.CreateOptions{FieldManager: user, DryRun: dryRun})
	})
}

// askToPatch is "kubectl patch --type merge" of a Service or of a subresource.
func (n *tenant) askToPatch(service string, change map[string]any, subresources ...string) *answer {
	n.t.Helper()
	return n.ask(func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return client.Patch(n.t.Context(), service, types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: user}, subresources...)
	})
}

var dryRun = []string{metav1.DryRunAll}

// code returns the HTTP status of an answer.
func (a *answer) code() int {
	var status apierrors.APIStatus
	switch {
	case errors.As(a.err, &status):
		return int(status.Status().Code)
	case a.err != nil:
		return 0
	}
	return http.StatusOK
}

// succeeded fails the test unless the request succeeded.
func (a *answer) succeeded(t *testing.T) *answer {
	t.Helper()
	if a.err != nil {
		text := a.err.Error()
		t.Fatalf("request was rejected: %s", text[:min(len(text), 500)])
	}
	return a
}

// checkList checks the pull secrets in the answer.
func (a *answer) checkList(t *testing.T, want ...string) {
	t.Helper()
	if got := pullSecretsOf(a.object); !slices.Equal(got, want) {
		t.Errorf("the answer has imagePullSecrets %q, want %q", got, want)
	}
}

// checkLedger checks the ledger in the answer; an empty one means no annotation.
func (a *answer) checkLedger(t *testing.T, want string) {
	t.Helper()
	if got, found := a.object.GetAnnotations()[pullsecrets.AddedAnnotation]; got != want || found != (want != "") {
		t.Errorf("the answer has the ledger %.200q, want %q", got, want)
	}
}

// checkWarned checks that one warning contains all parts.
func (a *answer) checkWarned(t *testing.T, parts ...string) {
	t.Helper()
	if !slices.ContainsFunc(a.warnings, func(w string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(w, part) })
	}) {
		t.Errorf("the warnings are %q, want one with %q", a.warnings, parts)
	}
}

// warned reports whether a warning contains part.
func (a *answer) warned(part string) bool {
	return slices.ContainsFunc(a.warnings, func(w string) bool { return strings.Contains(w, part) })
}

// checkWarnings checks that every warning of the webhook is short and printable. Knative
// warns too, in the same words when the webhook is down.
func (n *tenant) checkWarnings(a *answer) {
	n.t.Helper()
	knatives := n.askToCreate("by-digest.yaml", dryRun, unadmitted, named("probe-warnings")).succeeded(n.t).warnings
	for _, w := range a.warnings {
		if !slices.Contains(knatives, w) && (utf8.RuneCountInString(w) > maxWarningLength || !utf8.ValidString(w) ||
			strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) })) {
			n.t.Errorf("warning is %q, want at most %d printable characters", w, maxWarningLength)
		}
	}
}

// named is an edit that sets the name.
func named(name string) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) { object.SetName(name) }
}

// listed is an edit that sets the items of imagePullSecrets.
func listed(items ...any) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		if err := unstructured.SetNestedSlice(object.Object, items, "spec", "template", "spec", "imagePullSecrets"); err != nil {
			panic(err)
		}
	}
}

// padded is an edit that adds a variable of that size to the container.
func padded(size int) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		containers[0].(map[string]any)["env"] = []any{map[string]any{"name": "PAD", "value": strings.Repeat("x", size)}}
		if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			panic(err)
		}
	}
}

// restricted is an edit that satisfies the Pod Security Standard "restricted".
func restricted(object *unstructured.Unstructured) {
	containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	containers[0].(map[string]any)["securityContext"] = map[string]any{
		"allowPrivilegeEscalation": false, "runAsNonRoot": true,
		"capabilities":   map[string]any{"drop": []any{"ALL"}},
		"seccompProfile": map[string]any{"type": "RuntimeDefault"},
	}
	if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		panic(err)
	}
}

// labelled is a change of a label that means nothing to the webhook.
func labelled(value string) map[string]any {
	return map[string]any{"metadata": map[string]any{"labels": map[string]any{"example.com/label": value}}}
}

// released is a change of the template, with which the Service gets all pull secrets that
// are due.
func released() map[string]any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"example.com/release": "two"}}}}}
}

// waitUntilDeclared waits until the webhook has observed what the Namespace declares.
func (n *tenant) waitUntilDeclared(names ...string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		a := n.askToCreate("by-digest.yaml", dryRun, named("probe-declared")).succeeded(n.t)
		if got := pullSecretsOf(a.object); !slices.Equal(got, names) {
			return fmt.Errorf("a new Service gets %q at admission, want %q", got, names)
		}
		return nil
	})
}

// annotationsSize returns the size of the annotations as the API server counts it.
func annotationsSize(object *unstructured.Unstructured) int {
	size := 0
	for key, value := range object.GetAnnotations() {
		size += len(key) + len(value)
	}
	return size
}

// Annotations are limited to 256 KiB in total. A Service below the limit is accepted even
// if the ledger does not fit. Knative adds annotations after ours, so they need room too.
// If the ledger does not fit, nothing is injected, because the origin of the entries
// would be lost, and the user gets a warning.
func TestServiceWithNearlyFullAnnotationsIsAccepted(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	knatives := annotationsSize(n.askToCreate("by-digest.yaml", dryRun, unadmitted).succeeded(t).object)
	ours := len(pullsecrets.AddedAnnotation) + len(addedGHCR)
	for _, left := range []int{0, 1, ours - 1, ours, ours + knatives - 1, ours + knatives, 64 << 10} {
		t.Run(fmt.Sprintf("%d bytes left", left), func(t *testing.T) {
			full := filled(knatives + left)
			n.askToCreate("by-digest.yaml", dryRun, full, unadmitted).succeeded(t)
			a := n.askToCreate("by-digest.yaml", dryRun, full).succeeded(t)
			switch size := annotationsSize(a.object); {
			case len(pullSecretsOf(a.object)) > 0:
				a.checkList(t, "ghcr")
				a.checkLedger(t, addedGHCR)
			case left >= 64<<10 || size != maxAnnotations-left:
				t.Errorf("nothing was injected although the annotations have only %d bytes", size)
			default:
				a.checkLedger(t, "")
				a.checkWarned(t, "pull secrets were not injected", "annotations")
			}
			n.checkWarnings(a)
		})
	}
}

// Knative copies the annotations of a Service to the objects that it creates and adds its
// own. A Service that leaves just enough room for these runs without the webhook, so it
// must run with it.
func TestRoomForKnativesAnnotationsIsKept(t *testing.T) {
	t.Parallel()
	admitted, bare := newTenant(t, optedIn("ghcr")), newTenant(t, withoutAdmission)
	sample := bare.askToCreate("by-digest.yaml", nil, named("app-0")).succeeded(t)
	bare.waitForReady("app-0")
	ingress, err := bare.Dynamic.Resource(ingresses).Namespace(bare.ns).Get(t.Context(), "app-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The namespace names have the same length, so they do not affect the sizes.
	knatives := max(annotationsSize(ingress), annotationsSize(sample.object))
	for _, n := range []*tenant{bare, admitted} { // First show that the Service runs without the webhook.
		n.askToCreate("by-digest.yaml", nil, named("app-1"), filled(knatives)).succeeded(t)
		n.waitForReady("app-1")
	}
	// The controller does not use up the room afterwards either.
	admitted.settle("ghcr")
	admitted.waitForReady("app-1")
}

var ingresses = schema.GroupVersionResource{Group: "networking.internal.knative.dev", Version: "v1alpha1", Resource: "ingresses"}

// addedGHCR is the ledger if the Namespace declares ghcr.
const addedGHCR = `{"ghcr":"namespace"}`

// filled is an edit that fills the annotations up to the limit, except for left bytes.
func filled(left int) func(*unstructured.Unstructured) {
	const key = "example.com/filler"
	return annotated(key, strings.Repeat("x", maxAnnotations-len(key)-left))
}

// A bad annotation never blocks a Service: it is created with the valid names, and its
// owner gets a warning about the invalid ones in the response.
func TestAdmissionWarnsOfBadSecretsAnnotation(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	for i, bad := range badSecrets {
		t.Run(bad.name, func(t *testing.T) {
			a := n.askToCreate("own-entries.yaml", nil, named(fmt.Sprintf("app-%d", i)), annotated(pullsecrets.SecretsAnnotation, bad.value)).succeeded(t)
			a.checkList(t, append([]string{"own-b", "own-a"}, bad.want...)...)
			a.checkWarned(t, pullsecrets.SecretsAnnotation+": ", bad.reported)
			n.checkWarnings(a)
		})
	}
}

// forgedLedgers are invalid or false ledgers that a user may write.
var forgedLedgers = []struct {
	name, ledger string
	malformed    bool
}{
	{"claims the owner's entries", `{"own-a":"service","own-b":"namespace"}`, false},
	{"names entries that do not exist", `{"ghost":"service","kube":"clusterpullsecret/platform"}`, false},
	{"another origin", `{"ghcr":"clusterpullsecret/platform","own-a":"serviceaccount/default"}`, false},
	{"empty object", `{}`, false},
	{"null", `null`, false},
	{"no JSON", "ghcr=namespace", true},
	{"not an object", `["own-a","own-b"]`, true},
	{"not of strings", `{"own-a":1,"own-b":{"x":null}}`, true},
	{"impossible names", `{"../own-a":"service","OWN-B":"namespace","":"service"}`, true},
	{"unknown origins", `{"own-a":"me","own-b":"clusterpullsecret/"}`, true},
	{"control characters", "{\"own-a\":\"service\x1b[31m\n", true},
	{"deep", strings.Repeat(`{"own-a":`, 20000), true},
	{"huge", hugeLedger(), true},
}

// A forged ledger removes no entry: at a create there is no earlier ledger to compare
// with; at an update the stored ledger is restored, without a new Revision.
func TestForgedLedgerRemovesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	for i, forged := range forgedLedgers {
		t.Run(forged.name, func(t *testing.T) {
			check := func(a *answer, generation int64) {
				t.Helper()
				a.succeeded(t).checkList(t, "own-b", "own-a", "ghcr")
				a.checkLedger(t, addedGHCR)
				if got := a.object.GetGeneration(); got != generation {
					t.Errorf("the answer has generation %d, want %d", got, generation)
				}
				if got := a.warned(pullsecrets.AddedAnnotation + " is ignored"); got != forged.malformed {
					t.Errorf("the warnings are %q, want one about the ledger: %t", a.warnings, forged.malformed)
				}
				n.checkWarnings(a)
			}
			name := fmt.Sprintf("app-%d", i)
			check(n.askToCreate("own-entries.yaml", nil, named(name), annotated(pullsecrets.AddedAnnotation, forged.ledger)), 1)
			forge := annotations(pullsecrets.AddedAnnotation, forged.ledger)
			check(n.askToPatch(name, forge), 1)

			release := released()
			maps.Copy(release, forge)
			check(n.askToPatch(name, release), 2)
		})
	}
}

// Kubernetes and Knative validate lists with duplicate or empty names, and their verdict
// is the same with the webhook as without it. Every name that they accept is kept.
func TestOddListsAreValidatedAsWithoutTheWebhook(t *testing.T) {
	t.Parallel()
	admitted, bare := newTenant(t, optedIn("ghcr")), newTenant(t, withoutAdmission)
	for _, n := range []*tenant{admitted, bare} {
		n.askToCreate("own-entries.yaml", nil, named("existing")).succeeded(t)
	}
	entry := func(name string) any { return map[string]any{"name": name} }
	for _, odd := range []struct {
		name  string
		items []any
	}{
		{"repeated", []any{entry("own-a"), entry("own-a")}},
		{"repeated apart", []any{entry("own-a"), entry("own-b"), entry("own-a")}},
		{"one that the Namespace declares, repeated", []any{entry("ghcr"), entry("ghcr")}},
		{"empty name", []any{entry("")}},
		{"empty names", []any{entry("own-a"), entry(""), entry("")}},
		{"no name", []any{map[string]any{}}},
		{"no names", []any{map[string]any{}, map[string]any{}}},
		{"no list", []any{}},
		{"null", []any{nil}},
		{"a number", []any{int64(1)}},
		{"a name that is a number", []any{map[string]any{"name": int64(1)}}},
		{"no Secret's name", []any{entry("Not/A Name")}},
	} {
		t.Run(odd.name, func(t *testing.T) {
			for what, ask := range map[string]func(*tenant) *answer{
				"create": func(n *tenant) *answer { return n.askToCreate("by-digest.yaml", dryRun, listed(odd.items...)) },
				"update": func(n *tenant) *answer {
					change := encode(templateSpec(map[string]any{"imagePullSecrets": odd.items}))
					return n.ask(func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
						return client.Patch(t.Context(), "existing", types.MergePatchType, change, metav1.PatchOptions{FieldManager: user, DryRun: dryRun})
					})
				},
			} {
				with, without := ask(admitted), ask(bare)
				if with.code() != without.code() || fmt.Sprint(with.err) != fmt.Sprint(without.err) {
					t.Errorf("%s: with the webhook %d: %v; without it %d: %v", what, with.code(), with.err, without.code(), without.err)
					continue
				}
				if with.err != nil {
					continue
				}
				want := slices.DeleteFunc(pullSecretsOf(without.object), func(name string) bool { return name == "" })
				with.checkList(t, append(want, "ghcr")...)
			}
		})
	}
}

// A Service of any size gets the same response as without the webhook: only the API
// server and etcd limit sizes. At worst a large Service is left to the controller, and
// the user gets a warning.
func TestLargeServicesGetTheSameResponseAsWithoutTheWebhook(t *testing.T) {
	t.Parallel()
	admitted, bare := newTenant(t, optedIn("ghcr")), newTenant(t, withoutAdmission)
	codes := map[int]bool{}
	for i, size := range []int{1<<20 - 4<<10, 1200 << 10, 2 << 20, 3<<20 - 2<<10, 3 << 20} {
		t.Run(fmt.Sprintf("%d KiB", size>>10), func(t *testing.T) {
			ask := func(n *tenant) *answer {
				name := fmt.Sprintf("app-%d", i)
				a := n.askToCreate("by-digest.yaml", nil, named(name), padded(size))
				if a.err == nil {
					n.remove(name) // Save Knative the work.
				}
				return a
			}
			with, without := ask(admitted), ask(bare)
			codes[with.code()] = true
			if with.code() != without.code() {
				t.Fatalf("with the webhook the response is %d: %.300s; without it %d: %.300s", with.code(), fmt.Sprint(with.err), without.code(), fmt.Sprint(without.err))
			}
			if with.err == nil && !with.warned("pull secrets were not injected") {
				with.checkList(t, "ghcr")
			}
			admitted.checkWarnings(with)
		})
	}
	if !codes[http.StatusOK] || len(codes) < 2 {
		t.Errorf("responses were %v, want some sizes accepted and some rejected, otherwise this test shows nothing", codes)
	}
}

func (n *tenant) remove(service string) {
	n.t.Helper()
	if err := n.Dynamic.Resource(services).Namespace(n.ns).Delete(n.t.Context(), service, metav1.DeleteOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

// A Service that is being deleted can be updated and released by the owner of its
// finalizer, and gets no more pull secrets.
func TestServiceBeingDeletedGetsNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	const name, first, second = "app", "example.com/first", "example.com/second"
	held := func(finalizers ...any) map[string]any {
		return map[string]any{"metadata": map[string]any{"finalizers": finalizers}}
	}
	release := held()
	n.askToCreate("by-digest.yaml", nil, func(object *unstructured.Unstructured) { object.SetFinalizers([]string{first, second}) }).succeeded(t).checkList(t, "ghcr")
	client := n.Dynamic.Resource(services).Namespace(n.ns)
	t.Cleanup(func() {
		_, err := client.Patch(context.WithoutCancel(t.Context()), name, types.MergePatchType, encode(release), metav1.PatchOptions{FieldManager: user})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	n.remove(name)
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitUntilDeclared("ghcr", "quay")

	for _, change := range []map[string]any{labelled("one"), released(), held(second)} {
		a := n.askToPatch(name, change).succeeded(t)
		a.checkList(t, "ghcr")
		a.checkLedger(t, addedGHCR)
	}
	n.askToPatch(name, release).succeeded(t)
	eventually(t, func(ctx context.Context) error {
		_, err := client.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			return errors.New("the deleted Service still exists")
		}
		return err
	})
}

// A Service with generateName gets its pull secrets at creation like any other.
func TestServiceWithGeneratedNameGetsPullSecrets(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	a := n.askToCreate("by-digest.yaml", nil, func(object *unstructured.Unstructured) {
		object.SetName("")
		object.SetGenerateName("app-")
	}).succeeded(t)
	a.checkList(t, "ghcr")
	if name := a.object.GetName(); !strings.HasPrefix(name, "app-") || len(name) == len("app-") {
		t.Errorf("the Service has the name %q, want one that begins with app-", name)
	}
}

// Knative updates the status of Services all the time, and the webhook is not called for
// it. The annotation of this Service causes a warning whenever the webhook is called.
func TestWebhookIsNotCalledForStatus(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.askToCreate("by-tag.yaml", nil, annotated(pullsecrets.SecretsAnnotation, "quay, Not-A-Name")).succeeded(t).checkList(t, "quay")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitUntilDeclared("ghcr")

	asked := n.askToPatch("app", labelled("one")).succeeded(t)
	asked.checkWarned(t, "Not-A-Name")
	a := n.askToPatch("app", map[string]any{"status": map[string]any{"annotations": map[string]any{"example.com/note": "x"}}}, "status").succeeded(t)
	if a.warned("Not-A-Name") {
		t.Errorf("webhook was called for a status update: it warned %q", a.warnings)
	}
	if got, _, _ := unstructured.NestedString(a.object.Object, "status", "annotations", "example.com/note"); got != "x" {
		t.Errorf("status has the note %q, want it updated", got)
	}
	if !reflect.DeepEqual(a.object.Object["spec"], asked.object.Object["spec"]) || !maps.Equal(a.object.GetAnnotations(), asked.object.GetAnnotations()) {
		t.Errorf("status update changed the Service from\n%v to\n%v", asked.object, a.object)
	}
	for _, rule := range n.injectRules() {
		if !slices.Equal(rule.Resources, []string{"services"}) {
			t.Errorf("the API server calls the webhook for %q, want services alone", rule.Resources)
		}
	}
}

func (n *tenant) injectRules() []admissionregistrationv1.RuleWithOperations {
	n.t.Helper()
	configuration, err := n.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(n.t.Context(), injectWebhook, metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return configuration.Webhooks[0].Rules
}

// A dry run returns the result including the pull secrets and stores nothing.
func TestDryRunShowsPullSecretsAndStoresNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr, quay"))
	own := annotated(pullsecrets.SecretsAnnotation, "partner")
	dry := n.askToCreate("own-entries.yaml", dryRun, own).succeeded(t)
	dry.checkList(t, "own-b", "own-a", "partner", "ghcr", "quay")
	if _, err := n.Dynamic.Resource(services).Namespace(n.ns).Get(t.Context(), "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get the Service after a dry run: %v; want NotFound", err)
	}
	earnest := n.askToCreate("own-entries.yaml", nil, own).succeeded(t)
	if !reflect.DeepEqual(dry.object.Object["spec"], earnest.object.Object["spec"]) || !maps.Equal(dry.object.GetAnnotations(), earnest.object.GetAnnotations()) {
		t.Errorf("dry run returned\n%v, the real request\n%v", dry.object, earnest.object)
	}
}

// A change outside the template rolls out nothing. After the Namespace has declared more,
// changes of labels, annotations and traffic, and an unchanged write of the whole object,
// get the same response as without the webhook and create no Revision. The next change of
// the template brings what is due.
func TestChangesOutsideTheTemplateCreateNoRevision(t *testing.T) {
	t.Parallel()
	admitted, bare := newTenant(t), newTenant(t, withoutAdmission)
	for _, n := range []*tenant{admitted, bare} {
		n.askToCreate("by-tag.yaml", nil).succeeded(t)
		n.waitForReady("app")
		n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
		// The controller has reconciled and left this Service to its owner.
		n.waitForEvent(service("app"), "BackfillDeferred", "ghcr (namespace)")
	}
	admitted.waitUntilDeclared("ghcr")

	for _, change := range []map[string]any{
		labelled("one"),
		annotations("example.com/note", "x"),
		{"spec": map[string]any{"traffic": []any{map[string]any{"revisionName": "app-00001", "percent": 100, "tag": "old"}}}},
		{"spec": map[string]any{"traffic": []any{map[string]any{"latestRevision": true, "percent": 100}}}},
	} {
		with, without := admitted.askToPatch("app", change).succeeded(t), bare.askToPatch("app", change).succeeded(t)
		if got, want := compared(with), compared(without); got != want {
			t.Errorf("after %s the Service is\n%s with the webhook, without it\n%s", encode(change), got, want)
		}
	}
	if got, want := compared(admitted.writeBack("app")), compared(bare.writeBack("app")); got != want {
		t.Errorf("after the write the Service is\n%s with the webhook, without it\n%s", got, want)
	}
	for _, n := range []*tenant{admitted, bare} {
		n.waitForReady("app")
		n.checkRevisions("app", 1)
	}
	admitted.askToPatch("app", released()).succeeded(t).checkList(t, "ghcr")
}

// writeBack is "kubectl replace" of the stored object with another label.
func (n *tenant) writeBack(service string) (a *answer) {
	n.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object := n.get(service)
		object.SetLabels(map[string]string{"example.com/label": "two"})
		a = n.ask(func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
			return client.Update(n.t.Context(), object, metav1.UpdateOptions{FieldManager: user})
		})
		return a.err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

// compared returns the object of an answer without the fields that differ between any two
// objects.
func compared(a *answer) string {
	object := a.object.DeepCopy()
	delete(object.Object, "status")
	for _, field := range []string{"namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	text, err := json.MarshalIndent(object.Object, "", " ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// The same holds for a Service that already has pull secrets: a change of a label adds
// nothing, and a writer that drops the entries while changing a label creates no
// Revision.
func TestLabelChangesAddNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	n.askToCreate("by-tag.yaml", nil).succeeded(t).checkList(t, "ghcr")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForEvent(service("app"), "BackfillDeferred", "quay (namespace)")
	n.waitUntilDeclared("ghcr", "quay")

	dropped := labelled("two")
	dropped["spec"] = map[string]any{"template": map[string]any{"spec": map[string]any{"imagePullSecrets": nil}}}
	for _, change := range []map[string]any{labelled("one"), dropped} {
		a := n.askToPatch("app", change).succeeded(t)
		a.checkList(t, "ghcr")
		a.checkLedger(t, addedGHCR)
		if got := a.object.GetGeneration(); got != 1 {
			t.Errorf("After %s the Service has generation %d, want 1", encode(change), got)
		}
	}
	n.waitForReady("app")
	n.checkRevisions("app", 1)
	n.askToPatch("app", released()).succeeded(t).checkList(t, "ghcr", "quay")
}
