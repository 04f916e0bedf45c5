// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	logtesting "knative.dev/pkg/logging/testing"
	_ "knative.dev/pkg/system/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/metrics"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/template"
)

const ns = "team"

// world is the state of the cluster for the webhook of a row.
type world struct {
	cached []runtime.Object
	live   []runtime.Object
	cold   bool
	// unknown is set if ClusterPullSecrets cannot be read.
	unknown bool
	// settings are Knative's settings.
	settings template.Settings
	images   grant.ImageSettings
	// unavailable makes every live read fail.
	unavailable bool
}

func (w world) services(t testing.TB) *serviceAdmission { return &serviceAdmission{w.cluster(t)} }

func (w world) cluster(t testing.TB) cluster {
	t.Helper()
	listers := NewListers(w.cached)
	if w.settings == (template.Settings{}) {
		w.settings = template.NewSettings(nil, nil)
	}
	m, err := metrics.NewAdded()
	if err != nil {
		t.Fatal(err)
	}
	granted := catalog.New(listers.ClusterPullSecrets())
	granted.Unknown = w.unknown
	var kubeObjects, servingObjects []runtime.Object
	for _, object := range w.live {
		if _, ok := object.(*servingv1.Revision); ok {
			servingObjects = append(servingObjects, object)
		} else {
			kubeObjects = append(kubeObjects, object)
		}
	}
	kube, serving := fake.NewClientset(kubeObjects...), servingfake.NewSimpleClientset(servingObjects...)
	if w.unavailable {
		fail := func(clientgotesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("unavailable")
		}
		kube.PrependReactor("*", "*", fail)
		serving.PrependReactor("*", "*", fail)
	}
	return cluster{
		namespaces: listers.Namespaces(), accounts: listers.ServiceAccounts(),
		catalog: granted.Get,
		ready:   func() bool { return !w.cold },
		kube:    kube, serving: serving,
		config:    config.NewStore(logtesting.TestLogger(t)),
		added:     m,
		liveReads: newLiveReads(time.Now),
		template:  func() template.Settings { return w.settings },
		covers:    w.images.Covers,
	}
}

// toJSON converts YAML to the JSON that the API server sends.
func toJSON(t testing.TB, text string) []byte {
	t.Helper()
	if text == "" {
		return nil
	}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func request(t testing.TB, old, requested string) *admissionv1.AdmissionRequest {
	t.Helper()
	r := &admissionv1.AdmissionRequest{
		UID:       "1",
		Kind:      metav1.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"},
		Resource:  metav1.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"},
		Namespace: ns,
		Name:      "app",
		Operation: admissionv1.Create,
		UserInfo:  authenticationv1.UserInfo{Username: "alice"},
		Object:    runtime.RawExtension{Raw: toJSON(t, requested)},
	}
	if old != "" {
		r.Operation = admissionv1.Update
		r.OldObject.Raw = toJSON(t, old)
	}
	return r
}

// apply applies a response to its request, as the API server does.
func apply(t testing.TB, r *admissionv1.AdmissionRequest, response *admissionv1.AdmissionResponse) []byte {
	t.Helper()
	if !response.Allowed {
		t.Fatalf("rejected: %+v", response.Result)
	}
	if len(response.Patch) == 0 {
		if response.PatchType != nil {
			t.Error("a patch type without a patch")
		}
		return r.Object.Raw
	}
	patch, err := jsonpatch.DecodePatch(response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(r.Object.Raw)
	if err != nil {
		t.Fatalf("the patch %s does not apply: %v", response.Patch, err)
	}
	return patched
}

// summary returns the list and the ledger of a Service as one line.
func summary(t testing.TB, raw []byte) string {
	t.Helper()
	o, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	names, err := o.names()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ") + " | " + o.ledger()
}

func team(annotations ...string) *corev1.Namespace {
	var options []NamespaceOption
	for i := 0; i < len(annotations); i += 2 {
		options = append(options, WithNamespaceAnnotation(annotations[i], annotations[i+1]))
	}
	return Namespace(ns, options...)
}

const (
	bare  = `{metadata: {name: app}, spec: {template: {spec: {containers: [{image: ghcr.io/acme/app:v1}]}}}}`
	bare2 = `{metadata: {name: app}, spec: {template: {spec: {containers: [{image: ghcr.io/acme/app:v2}]}}}}`
	has   = `{metadata: {name: app, annotations: {pullsecrets.dev/added: '{"n":"namespace"}'}}, spec: {template: {spec: {imagePullSecrets: [{name: "n"}], containers: [{image: ghcr.io/acme/app:v1}]}}}}`
)

func TestAdmit(t *testing.T) {
	declares := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n")}}
	declaresMore := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n,more")}}
	tests := []struct {
		reason    string
		world     world
		old       string
		requested string
		change    func(*admissionv1.AdmissionRequest)
		want      string
		patch     string
		warnings  []string
	}{
		{
			reason: "create: the full list", world: declares, requested: bare,
			want:  `n | {"n":"namespace"}`,
			patch: `[{"op":"add","path":"/spec/template/spec/imagePullSecrets","value":[{"name":"n"}]},{"op":"add","path":"/metadata/annotations","value":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"}}]`,
		},
		{
			reason: "create: a dry run has the same answer", world: declares, requested: bare,
			change: func(r *admissionv1.AdmissionRequest) { r.DryRun = new(true) },
			want:   `n | {"n":"namespace"}`,
		},
		{
			reason: "create: a generated name", world: declares,
			requested: `{metadata: {generateName: app-}, spec: {template: {spec: {containers: [{image: x}]}}}}`,
			change:    func(r *admissionv1.AdmissionRequest) { r.Name = "" },
			want:      `n | {"n":"namespace"}`,
		},
		{
			reason: "create: a malformed ledger causes a warning", world: declares,
			requested: strings.Replace(bare, "name: app", "name: app, annotations: {pullsecrets.dev/added: 'n=namespace'}", 1),
			want:      `n | {"n":"namespace"}`,
			warnings:  []string{"pullsecrets.dev/added is ignored: expected a JSON object that maps Secret names to origins"},
		},
		{
			reason: "update: a ledger that was malformed before causes no warning", world: world{cached: []runtime.Object{team()}},
			old:       strings.Replace(bare, "name: app", "name: app, annotations: {pullsecrets.dev/added: 'n=namespace'}", 1),
			requested: strings.Replace(bare, "name: app", "name: app, annotations: {pullsecrets.dev/added: 'n=namespace'}", 1),
			want:      " | n=namespace",
		},
		{
			reason: "create: a list with repeated names is left for the API server to reject", world: declares,
			requested: strings.Replace(bare, "containers:", "imagePullSecrets: [{name: own}, {name: own}], containers:", 1),
			want:      "own own | ",
		},
		{
			reason: "update: a list with repeated names is left for the API server to reject", world: declares, old: has,
			requested: strings.Replace(bare2, "containers:", "imagePullSecrets: [{name: own}, {name: own}], containers:", 1),
			want:      "own own | ",
		},
		{
			reason: "create: nothing declared", world: world{cached: []runtime.Object{team()}}, requested: bare, want: " | ",
		},
		{
			reason: "create: the ServiceAccount's entries are carried",
			world:  world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n"), ServiceAccount(ns, "default", nil, "sa")}}, requested: bare,
			want: `n sa | {"n":"namespace","sa":"serviceaccount/default"}`,
		},
		{
			reason: "create: a ServiceAccount that is not cached yet",
			world:  world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n")}, live: []runtime.Object{ServiceAccount(ns, "default", nil, "sa")}}, requested: bare,
			want: `n sa | {"n":"namespace","sa":"serviceaccount/default"}`,
		},
		{
			reason: "create: a Namespace that is not cached yet",
			world:  world{live: []runtime.Object{team("pullsecrets.dev/secrets", "n")}}, requested: bare,
			want: `n | {"n":"namespace"}`,
		},
		{
			reason: "create: a ServiceAccount that enforces its list",
			world: world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n"),
				ServiceAccount(ns, "default", map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}, "sa")}}, requested: bare,
			want:     " | ",
			warnings: []string{"ServiceAccount default enforces mountable secrets; add pull secrets n to it"},
		},
		{
			reason: "create: the caches are cold", world: world{cold: true, live: declares.cached}, requested: bare, want: " | ",
		},
		{
			reason: "create: the API server fails", world: world{unavailable: true}, requested: bare, want: " | ",
		},
		{
			reason: "create: an exported manifest contains a ledger", world: declares, requested: has, want: `n | {"n":"namespace"}`,
		},
		{
			reason: "create: an unproven ledger is removed, the entry is kept", world: world{cached: []runtime.Object{team()}}, requested: has, want: "n | ",
			patch: `[{"op":"remove","path":"/metadata/annotations/pullsecrets.dev~1added"}]`,
		},
		{
			reason: "create: invalid items cause warnings, and valid ones count", world: declares,
			requested: `{metadata: {name: app, annotations: {pullsecrets.dev/secrets: "s,Bad/Item", x: z}}, spec: {template: {spec: {containers: [{image: x}]}}}}`,
			want:      `s n | {"n":"namespace","s":"service"}`,
			warnings:  []string{`pullsecrets.dev/secrets: "Bad/Item" is not a DNS-1123 subdomain`},
		},
		{
			reason: "create: a warning about a long invalid item is truncated", world: declares,
			requested: `{metadata: {name: app, annotations: {pullsecrets.dev/secrets: "` + strings.Repeat("X", 1000) + `"}}, spec: {template: {spec: {containers: [{image: x}]}}}}`,
			want:      `n | {"n":"namespace"}`,
			warnings:  []string{`pullsecrets.dev/secrets: "` + strings.Repeat("X", 64) + `"… is not a DNS-1123 subdomain`},
		},
		{
			reason: "create: misspelled or misplaced keys", world: declares,
			requested: `{metadata: {name: app, annotations: {pullsecrets.dev/secret: s}, labels: {pullsecrets.dev/inject: disabled}},
				spec: {template: {metadata: {annotations: {pullsecrets.dev/secrets: s, x: z}, labels: 1}, spec: {containers: [{image: x}]}}}}`,
			want: `n | {"n":"namespace"}`,
			warnings: []string{
				"pullsecrets.dev/secret: unknown key; did you mean the annotation pullsecrets.dev/secrets?",
				"label pullsecrets.dev/inject: has no effect on a Service; it is an annotation of a Namespace or a Service",
				"pullsecrets.dev/secrets: has no effect on the template of a Service; it is an annotation of a Namespace or a Service",
			},
		},
		{
			reason: "create: excluded with another value than true", world: world{cached: []runtime.Object{Namespace(ns,
				WithNamespaceAnnotation("pullsecrets.dev/secrets", "n"), WithNamespaceLabel("pullsecrets.dev/exclude", "True"))}},
			requested: bare, want: " | ",
		},
		{
			reason: "create: an invalid mode of the Namespace", world: world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n", "pullsecrets.dev/inject", "yes")}},
			requested: bare, want: " | ",
			warnings: []string{"Namespace team has an invalid pullsecrets.dev/inject; correct it to inject pull secrets"},
		},
		{
			reason: "create: disabled", world: world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n", "pullsecrets.dev/inject", "disabled")}},
			requested: bare, want: " | ",
		},
		{
			reason: "create: excluded although the API server calls", world: world{cached: []runtime.Object{Namespace(ns,
				WithNamespaceAnnotation("pullsecrets.dev/secrets", "n"), WithNamespaceLabel("pullsecrets.dev/exclude", "true"))}},
			requested: bare, want: " | ",
		},
		{
			reason: "create: a list with repeated names is left for the API server to reject if nothing is added", world: world{cached: []runtime.Object{team()}},
			requested: `{metadata: {name: app}, spec: {template: {spec: {imagePullSecrets: [{name: a}, {name: a}]}}}}`, want: "a a | ",
		},
		{
			reason: "create: unknown fields are kept", world: declares,
			requested: `{metadata: {name: app}, spec: {tomorrow: 1, template: {spec: {imagePullSecrets: [{name: mine, tomorrow: true}], tomorrow: [1]}}}}`,
			want:      `mine n | {"n":"namespace"}`,
			patch:     `[{"op":"add","path":"/spec/template/spec/imagePullSecrets","value":[{"name":"mine","tomorrow":true},{"name":"n"}]},{"op":"add","path":"/metadata/annotations","value":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"}}]`,
		},
		{
			reason: "create: annotations that are nearly full", world: declares,
			requested: `{metadata: {name: app, annotations: {x: "` + strings.Repeat("x", 256*1024-20) + `"}}, spec: {template: {spec: {containers: [{image: x}]}}}}`,
			want:      " | ", warnings: []string{"pull secrets were not injected: the annotations are too large"},
		},
		{
			reason: "create: a Service that is nearly too large", world: declares,
			requested: `{metadata: {name: app}, spec: {template: {spec: {containers: [{image: x, args: ["` + strings.Repeat("x", 1<<20) + `"]}]}}}}`,
			want:      " | ", warnings: []string{"pull secrets were not injected: the object is too large"},
		},
		{
			reason: "update: a repeated apply without our entries restores them and adds nothing", world: declaresMore,
			old: has, requested: bare, want: `n | {"n":"namespace"}`,
		},
		{
			reason: "update: a change of labels or traffic changes nothing", world: declaresMore,
			old: has, requested: strings.Replace(has, "name: app,", "name: app, labels: {x: z},", 1), want: `n | {"n":"namespace"}`, patch: "none",
		},
		{
			reason: "update: a changed template gets what is declared", world: declaresMore,
			old: has, requested: bare2, want: `n more | {"more":"namespace","n":"namespace"}`,
		},
		{
			reason: "update: entries that are no longer declared are removed with the change", world: world{cached: []runtime.Object{team()}},
			old: has, requested: strings.Replace(has, "v1", "v2", 1), want: " | ",
			patch: `[{"op":"remove","path":"/spec/template/spec/imagePullSecrets"},{"op":"remove","path":"/metadata/annotations/pullsecrets.dev~1added"}]`,
		},
		{
			reason: "update: a forged ledger is corrected", world: declares,
			old: has, requested: strings.Replace(has, `"namespace"`, `"clusterpullsecret/foreign"`, 1), want: `n | {"n":"namespace"}`,
		},
		{
			reason: "update: the caches are cold, and dropped entries are restored anyway", world: world{cold: true},
			old: has, requested: bare, want: `n | {"n":"namespace"}`,
		},
		{
			reason: "update: the caches are cold, and a change removes nothing", world: world{cold: true},
			old: has, requested: bare2, want: `n | {"n":"namespace"}`,
		},
		{
			reason: "update: an unchanged Revision name, and a new declaration", world: declaresMore,
			old: strings.Replace(has, "template: {", "template: {metadata: {name: app-1}, ", 1), requested: strings.Replace(bare, "template: {", "template: {metadata: {name: app-1}, ", 1),
			want: `n | {"n":"namespace"}`, warnings: []string{"Revision name app-1 is unchanged; change it to add pull secrets more"},
		},
		{
			reason: "update: a new Revision name", world: declaresMore,
			old: strings.Replace(has, "template: {", "template: {metadata: {name: app-1}, ", 1), requested: strings.Replace(bare, "template: {", "template: {metadata: {name: app-2}, ", 1),
			want: `n more | {"more":"namespace","n":"namespace"}`,
		},
		{
			reason: "update: an earlier Revision name, whose Revision has fewer entries", world: world{cached: declaresMore.cached, live: []runtime.Object{
				&servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app-0"}}}},
			old: strings.Replace(has, "template: {", "template: {metadata: {name: app-1}, ", 1), requested: strings.Replace(bare, "template: {", "template: {metadata: {name: app-0}, ", 1),
			want: " | ",
		},
		{
			reason: "update: reading the Revision fails", world: world{cached: declaresMore.cached, unavailable: true},
			old: strings.Replace(has, "template: {", "template: {metadata: {name: app-1}, ", 1), requested: strings.Replace(has, "template: {", "template: {metadata: {name: app-2}, ", 1),
			want: `n | {"n":"namespace"}`, warnings: []string{"pull secrets were not injected: failed to read Revision app-2"},
		},
		{
			reason: "the controller's request is unchanged", world: declaresMore, old: has, requested: bare2,
			change: func(r *admissionv1.AdmissionRequest) { r.UserInfo.Username = pullsecrets.ControllerUser }, want: " | ",
		},
		{
			reason: "being deleted", world: declares, old: bare,
			requested: `{metadata: {name: app, deletionTimestamp: "2026-01-01T00:00:00Z"}, spec: {template: {spec: {}}}}`, want: " | ",
		},
		{
			reason: "another version", world: declares, requested: bare,
			change: func(r *admissionv1.AdmissionRequest) { r.Kind.Version = "v2" }, want: " | ",
		},
		{
			reason: "the status", world: declares, requested: bare,
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }, want: " | ",
		},
		{
			reason: "a deletion", world: declares, requested: bare,
			change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete }, want: " | ",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			r := request(t, tt.old, tt.requested)
			if tt.change != nil {
				tt.change(r)
			}
			services := tt.world.services(t)
			response := services.Admit(t.Context(), r)
			patched := apply(t, r, response)
			if got := summary(t, patched); got != tt.want {
				t.Errorf("list and ledger = %q, want %q", got, tt.want)
			}
			switch {
			case tt.patch == "none" && response.Patch != nil:
				t.Errorf("patch = %s, want none", response.Patch)
			case tt.patch != "" && tt.patch != "none" && string(response.Patch) != tt.patch:
				t.Errorf("patch = %s, want %s", response.Patch, tt.patch)
			}
			if got, want := fmt.Sprintf("%q", response.Warnings), fmt.Sprintf("%q", tt.warnings); got != want {
				t.Errorf("warnings = %s, want %s", got, want)
			}

			// The API server calls again with the result of the first call.
			r.Object.Raw = patched
			if again := apply(t, r, services.Admit(t.Context(), r)); summary(t, again) != summary(t, patched) {
				t.Errorf("after the second call: %q, after the first: %q", summary(t, again), summary(t, patched))
			}
		})
	}
}

func TestAuditAnnotations(t *testing.T) {
	w := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "other")}}
	r := request(t, has, strings.Replace(has, "v1", "v2", 1))
	got := w.services(t).Admit(t.Context(), r).AuditAnnotations
	if got["added"] != `{"other":"namespace"}` || got["taken"] != `{"n":"namespace"}` || len(got) != 2 {
		t.Errorf("audit annotations = %v", got)
	}
}

func TestPathIsServed(t *testing.T) {
	if got := (&serviceAdmission{}).Path(); got != servicesPath {
		t.Errorf("Path() = %q", got)
	}
}

// FuzzAdmit sends arbitrary requests. Each is allowed, and a patch applies and leaves a
// list that the API server accepts.
func FuzzAdmit(f *testing.F) {
	for _, seed := range [][2]string{
		{"", bare}, {has, bare}, {has, bare2}, {"", "{}"}, {"", "null"}, {"", "[]"}, {bare, "{}"}, {"{}", bare},
		{"", "{spec: {template: {spec: {imagePullSecrets: {}}}}}"}, {"", "{spec: {template: {spec: {imagePullSecrets: [1, null, {name: 2}]}}}}"},
		{"", "{spec: {template: {spec: null}}}"}, {"", "{metadata: {annotations: null}, spec: {template: {spec: {imagePullSecrets: null}}}}"},
		{"", "{metadata: {annotations: {pullsecrets.dev/secrets: 'a,a,,B', pullsecrets.dev/added: '{'}}, spec: {template: {spec: {}}}}"},
	} {
		f.Add(toJSON(f, seed[0]), toJSON(f, seed[1]))
	}
	services := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n,more"), ServiceAccount(ns, "default", nil, "sa")}}.services(f)
	f.Fuzz(func(t *testing.T, old, requested []byte) {
		r := request(t, "", bare)
		r.Object.Raw = requested
		if len(old) > 0 {
			r.Operation, r.OldObject.Raw = admissionv1.Update, old
		}
		response := services.Admit(t.Context(), r)
		if len(response.Patch) == 0 {
			if !response.Allowed {
				t.Error("rejected")
			}
			return
		}
		o, err := decode(apply(t, r, response))
		if err != nil {
			t.Fatal(err)
		}
		names, err := o.names()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{"": true}
		for _, name := range names {
			if seen[name] {
				t.Errorf("repeated or empty name in %q", names)
			}
			seen[name] = true
		}
		for _, w := range response.Warnings {
			if len([]rune(w)) > maxWarning || strings.ContainsAny(w, "\n\r\x1b") {
				t.Errorf("warning %q", w)
			}
		}
	})
}

func TestOperationsMarshal(t *testing.T) {
	// An empty value would be omitted from an operation that requires one.
	for _, op := range makePatch(mustDecode(t, bare), []any{map[string]any{"name": "n"}}, `{"n":"namespace"}`) {
		text, err := json.Marshal(op)
		if err != nil || !strings.Contains(string(text), `"value"`) {
			t.Errorf("%s, %v", text, err)
		}
	}
}

func mustDecode(t *testing.T, text string) *object {
	t.Helper()
	o, err := decode(toJSON(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
