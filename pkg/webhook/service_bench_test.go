// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	. "pullsecrets.dev/pkg/reconciler/testing"
)

const (
	// One half of the Namespaces declares pull secrets.
	benchNamespaces = 5000
	// The webhook does not cache Services, so their number costs nothing. Each request
	// has another name, and they are spread over the Namespaces, so that two successive
	// requests do not read the same objects.
	benchServices = 50000
)

// BenchmarkAdmit measures one request in the webhook, from the bytes that the API server
// sends to those that it receives: knative.dev/pkg's handler with the installed logging
// configuration, without TLS and metrics. p50 and p99 are of the handler alone; ns/op
// includes the benchmark's own work.
func BenchmarkAdmit(b *testing.B) {
	handler := benchHandler(b)
	const (
		small, large = 8, 1160 // Numbers of variables; the latter amounts to 100 KiB.
		ledger       = `{"more":"namespace","n":"namespace","sa":"serviceaccount/default"}`
		complete     = "n more sa | " + ledger
	)
	injected := []ServiceOption{WithPullSecrets("n", "more", "sa"), WithAnnotation("pullsecrets.dev/added", ledger)}
	routed := append(slices.Clone(injected), func(svc *servingv1.Service) {
		svc.Spec.Traffic = []servingv1.TrafficTarget{{Tag: "current", LatestRevision: new(true), Percent: new(int64(100))}}
	})
	for _, bb := range []struct {
		name           string
		firstNamespace int
		old, requested string
		want           string
		patched        bool
	}{
		{"create", 0, "", deployed(b, small), complete, true},
		{"re-apply that drops entries", 0, deployed(b, small, injected...), deployed(b, small), complete, true},
		{"traffic only", 0, deployed(b, small, injected...), deployed(b, small, routed...), complete, false},
		{"nothing declared", benchNamespaces / 2, "", deployed(b, small), " | ", false},
		{"create of 100 KiB", 0, "", deployed(b, large), complete, true},
		{"re-apply of 100 KiB that drops entries", 0, deployed(b, large, injected...), deployed(b, large), complete, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := request(b, bb.old, bb.requested)
			body := newBenchBody(b, r, bb.firstNamespace)
			// The answer does not depend on the names, so all answers must equal one that
			// was checked.
			want, _ := body.post(b, handler, 1)
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(want, &review); err != nil {
				b.Fatal(err)
			}
			if got := summary(b, apply(b, r, review.Response)); got != bb.want || (review.Response.Patch != nil) != bb.patched {
				b.Fatalf("list and ledger = %q, want %q; patch = %s", got, bb.want, review.Response.Patch)
			}
			var times []time.Duration
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				got, took := body.post(b, handler, i%benchServices)
				if !bytes.Equal(got, want) {
					b.Fatalf("answer for Service %d: %s, want %s", i, got, want)
				}
				times = append(times, took)
			}
			slices.Sort(times)
			for _, percent := range []int{50, 99} {
				took := times[(len(times)-1)*percent/100]
				b.ReportMetric(float64(took.Nanoseconds())/1000, fmt.Sprintf("p%d-µs", percent))
			}
		})
	}
}

// benchHandler returns the handler of a webhook whose caches are filled.
func benchHandler(b *testing.B) http.Handler {
	b.Helper()
	var cached []runtime.Object
	for i := range benchNamespaces {
		name := benchNamespace(i)
		namespace := Namespace(name)
		if i < benchNamespaces/2 {
			WithNamespaceAnnotation("pullsecrets.dev/secrets", "n,more")(namespace)
		}
		cached = append(cached, namespace, ServiceAccount(name, "default", nil, "sa"))
	}
	// knative.dev/pkg logs each request at the installed level.
	logger, _ := logging.NewLogger(`{
		"level": "info", "encoding": "json", "outputPaths": ["/dev/null"], "errorOutputPaths": ["stderr"],
		"encoderConfig": {"timeKey": "timestamp", "levelKey": "severity", "callerKey": "caller", "messageKey": "message", "timeEncoder": "iso8601"}
	}`, "")
	ctx := webhook.WithOptions(logging.WithLogger(b.Context(), logger), webhook.Options{})
	handler, err := webhook.New(ctx, []any{world{cached: cached}.services(b)})
	if err != nil {
		b.Fatal(err)
	}
	return handler
}

func benchNamespace(i int) string { return fmt.Sprintf("team-%04d", i) }
func benchService(i int) string   { return fmt.Sprintf("app-%05d", i) }

// deployed returns a Service with typical contents: variables, resources, kubectl's
// last-applied annotation, and managed fields.
func deployed(b *testing.B, variables int, options ...ServiceOption) string {
	b.Helper()
	svc := Service(benchNamespace(0), benchService(0))
	container := &svc.Spec.Template.Spec.Containers[0]
	for i := range variables {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", i), Value: "value"})
	}
	container.Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
	}
	applied, err := json.Marshal(svc)
	if err != nil {
		b.Fatal(err)
	}
	WithAnnotation(corev1.LastAppliedConfigAnnotation, string(applied))(svc)
	WithOwnersWrite(time.Unix(1, 0))(svc)
	svc.ManagedFields[0].FieldsType = "FieldsV1"
	svc.ManagedFields[0].FieldsV1 = &metav1.FieldsV1{Raw: []byte(
		`{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{".":{},"f:template":{".":{},"f:spec":{".":{},"f:containers":{}}}}}`)}
	for _, option := range options {
		option(svc)
	}
	text, err := json.Marshal(svc)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// benchBody is a request whose names are overwritten for each Service, because copies of
// it would count as allocations.
type benchBody struct {
	text                 []byte
	namespaces, services []int // The offsets of their names.
	first                int   // The number of the first namespace.
}

func newBenchBody(b *testing.B, r *admissionv1.AdmissionRequest, first int) *benchBody {
	b.Helper()
	r.Namespace, r.Name = benchNamespace(0), benchService(0)
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}, Request: r,
	})
	if err != nil {
		b.Fatal(err)
	}
	return &benchBody{text: text, namespaces: places(text, r.Namespace), services: places(text, r.Name), first: first}
}

func places(text []byte, name string) (all []int) {
	for from := 0; ; from++ {
		at := bytes.Index(text[from:], []byte(name))
		if at < 0 {
			return all
		}
		from += at
		all = append(all, from)
	}
}

// post sends the request about a Service, and returns the answer and its duration.
func (body *benchBody) post(b *testing.B, handler http.Handler, i int) ([]byte, time.Duration) {
	b.Helper()
	for _, at := range body.namespaces {
		copy(body.text[at:], benchNamespace(body.first+i%(benchNamespaces/2)))
	}
	for _, at := range body.services {
		copy(body.text[at:], benchService(i))
	}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, servicesPath, bytes.NewReader(body.text))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	start := time.Now()
	handler.ServeHTTP(recorder, r)
	took := time.Since(start)
	if recorder.Code != http.StatusOK {
		b.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	return recorder.Body.Bytes(), took
}
