// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// injectName is the webhook configuration for Knative Services.
	injectName = "inject.pullsecrets.dev"
	// webhookUser is the webhook's user name in the API server.
	webhookUser = "system:serviceaccount:pullsecrets-system:webhook"
	// atATime is the number of concurrent requests, enough to keep the webhook busy.
	atATime = 8
)

// load calls the webhook directly with many Service creations, spread over all
// Namespaces. The client shares the machine, so the webhook's CPU time says more than the
// requests per second.
func load(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	notef("admission: sending reviews of %d Services", s.admissionServices)
	process, err := e.Processes.Get(ctx, "webhook")
	if err != nil {
		return err
	}
	caller, err := newCaller(ctx, e, process.Ports["https-webhook"])
	if err != nil {
		return err
	}
	// The response does not depend on names, so one verified response serves to check all
	// others.
	want, err := caller.rightAnswer(ctx)
	if err != nil {
		return err
	}
	mark, err := e.Audit.Mark()
	if err != nil {
		return err
	}
	before, err := cpuTime(process.PID)
	if err != nil {
		return err
	}
	start := time.Now()
	err = fleet.Each(ctx, s.admissionServices, atATime, func(ctx context.Context, i int) error {
		namespace, name := admissionNamespace(i%s.admissionNamespaces), fleet.Name(i)
		got, err := caller.ask(ctx, namespace, name)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("Service %s/%s got the response %s, another one %s", namespace, name, got, want)
		}
		return err
	})
	took := time.Since(start)
	if err != nil {
		return err
	}
	after, err := cpuTime(process.PID)
	if err != nil {
		return err
	}
	requests, err := e.Audit.Since(mark)
	if err != nil {
		return err
	}
	requests = requests.By(webhookUser)
	others := len(requests) - len(requests.Of("leases.coordination.k8s.io")) - len(requests.Verbs("watch"))

	each := (after - before) / time.Duration(s.admissionServices)
	fmt.Fprintf(out, "\nOne replica of the webhook, %d Services in %d Namespaces, %d requests at a time\n", s.admissionServices, s.admissionNamespaces, atATime)
	fmt.Fprintf(out, "  requests per second: %.0f, while the webhook uses %.2f CPUs and the client some of the rest\n",
		float64(s.admissionServices)/took.Seconds(), (after-before).Seconds()/took.Seconds())
	fmt.Fprintf(out, "  CPU time per request: %.2f ms, that is %.0f requests per second and CPU\n", milliseconds(each), 1/each.Seconds())
	fmt.Fprintf(out, "  requests to the API server meanwhile, except leases and watches: %d\n", others)
	if others != 0 {
		return fmt.Errorf("want no request to the API server, got:\n%s", requests)
	}
	return nil
}

// caller calls the webhook as the API server does.
type caller struct {
	client   http.Client
	url      string
	template string // request body with {namespace} and {service}
	object   []byte // object under review
}

func newCaller(ctx context.Context, e *env.Env, port int) (*caller, error) {
	configuration, err := e.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, injectName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle) {
		return nil, errors.New("the webhook configuration has no certificate")
	}
	c := &caller{url: fmt.Sprintf("https://127.0.0.1:%d/services", port)}
	c.client.Transport = &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: authority, ServerName: "webhook.pullsecrets-system.svc", MinVersion: tls.VersionTLS13},
		MaxIdleConnsPerHost: atATime,
	}
	if c.object, err = json.Marshal(deployedService("{namespace}", "{service}")); err != nil {
		return nil, err
	}
	kind := metav1.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}
	resource := metav1.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: "services"}
	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:  "705ab4f5-6393-11e8-b7cc-42010a800002",
			Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
			Namespace: "{namespace}", Name: "{service}", Operation: admissionv1.Create,
			UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: []string{"developers", "system:authenticated"}},
			Object:   runtime.RawExtension{Raw: c.object},
			DryRun:   new(false),
		},
	})
	c.template = string(review)
	return c, err
}

// ask sends a review and returns the response.
func (c *caller) ask(ctx context.Context, namespace, name string) ([]byte, error) {
	body := strings.NewReplacer("{namespace}", namespace, "{service}", name).Replace(c.template)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("webhook returned %s: %s", response.Status, answer)
	}
	return answer, err
}

// rightAnswer returns the response for one Service, and an error unless it adds the pull
// secret.
func (c *caller) rightAnswer(ctx context.Context) ([]byte, error) {
	answer, err := c.ask(ctx, admissionNamespace(0), fleet.Name(0))
	if err != nil {
		return nil, err
	}
	wrong := func(err error) ([]byte, error) { return nil, fmt.Errorf("webhook returned %s: %w", answer, err) }
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil {
		return wrong(err)
	}
	if review.Response == nil || !review.Response.Allowed {
		return wrong(errors.New("want the Service allowed"))
	}
	patch, err := jsonpatch.DecodePatch(review.Response.Patch)
	if err != nil {
		return wrong(err)
	}
	patched, err := patch.Apply(c.object)
	if err != nil {
		return wrong(err)
	}
	var svc servingv1.Service
	if err := json.Unmarshal(patched, &svc); err != nil {
		return wrong(err)
	}
	if !fleet.Has(secretName)(&svc) {
		return wrong(fmt.Errorf("want the pull secret %s and no other", secretName))
	}
	return answer, nil
}

// cpuTime returns the CPU time of a process.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of a process (Linux only): %w", err)
	}
	// The program's name, in parentheses, may contain spaces. The part after it starts
	// with field 3; fields 14 and 15 are user and system time.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	var total time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * (time.Second / 100) // Linux always reports 1/100 s.
	}
	return total, nil
}
