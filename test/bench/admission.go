// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// bypassedNamespace has a label for which the API server does not call the webhook.
	bypassedNamespace = "bench-away"
	awayLabel         = "bench.test/away"
)

func admissionNamespace(i int) string { return fmt.Sprintf("bench-admission-%04d", i) }

// admission measures how much latency the webhook adds to a request and how many requests
// one replica answers. The cluster has many Namespaces, because Namespaces and their
// ServiceAccounts fill the webhook's caches. It caches no Services.
func admission(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	notef("admission: creating %d Namespaces", s.admissionNamespaces)
	err := fleet.Each(ctx, s.admissionNamespaces, 16, func(ctx context.Context, i int) error {
		return makeDeclaringNamespace(ctx, e, admissionNamespace(i), nil)
	})
	if err != nil {
		return err
	}
	if err := makeDeclaringNamespace(ctx, e, bypassedNamespace, map[string]string{awayLabel: "true"}); err != nil {
		return err
	}
	if err := waitForDefaults(ctx, e.Kube, s.admissionNamespaces+1); err != nil {
		return err
	}
	client, err := unlimited(e)
	if err != nil {
		return err
	}
	if err := bypass(ctx, e, client); err != nil {
		return err
	}
	p := pairing{func(i int) string { return admissionNamespace(i % s.admissionNamespaces) }, s.admissionNamespaces, s.admissionPairs}
	if err := pairs(ctx, e, client, p, out); err != nil {
		return err
	}
	if err := policies(ctx, e, client, s, out); err != nil {
		return err
	}
	return load(ctx, e, s, out)
}

// makeDeclaringNamespace creates a namespace that declares a pull secret for all its
// Services. The Secret need not exist.
func makeDeclaringNamespace(ctx context.Context, e *env.Env, name string, labels map[string]string) error {
	_, err := e.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels, Annotations: map[string]string{pullsecrets.SecretsAnnotation: secretName},
	}}, metav1.CreateOptions{})
	return err
}

// waitForDefaults waits until the controller manager has created the default objects of each
// namespace, so that this work does not affect the measurement.
func waitForDefaults(ctx context.Context, kube kubernetes.Interface, namespaces int) error {
	var accounts, authorities int
	err := wait.PollUntilContextTimeout(ctx, time.Second, 2*timeout, true, func(ctx context.Context) (bool, error) {
		// resourceVersion 0 is served from the API server's cache.
		named := func(name string) metav1.ListOptions {
			return metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: "0"}
		}
		serviceAccounts, err := kube.CoreV1().ServiceAccounts(metav1.NamespaceAll).List(ctx, named("default"))
		if err != nil {
			return false, err
		}
		configMaps, err := kube.CoreV1().ConfigMaps(metav1.NamespaceAll).List(ctx, named("kube-root-ca.crt"))
		if err != nil {
			return false, err
		}
		accounts, authorities = len(serviceAccounts.Items), len(configMaps.Items)
		return min(accounts, authorities) >= namespaces, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the default ServiceAccounts (%d) and the CA ConfigMaps (%d) of %d namespaces: %w", accounts, authorities, namespaces, err)
	}
	return nil
}

// bypass makes the API server skip the webhook for one namespace. The label that excludes
// namespaces would not do: it would not show whether the API server or the webhook leaves
// the Service alone. The change is not reverted, because the cluster ends with this part.
func bypass(ctx context.Context, e *env.Env, client servingclient.Interface) error {
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/-","value":{"key":%q,"operator":"DoesNotExist"}}]`, awayLabel)
	_, err := e.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, injectName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		svc, _, err := create(ctx, client, bypassedNamespace, 0)
		return err == nil && fleet.Has()(svc), err
	})
	if err != nil {
		return fmt.Errorf("wait until the webhook is not called for %s: %w", bypassedNamespace, err)
	}
	return nil
}

// pairing says where pairs creates how many Services.
type pairing struct {
	// namespace returns that of the i-th Service with the webhook.
	namespace  func(i int) string
	namespaces int
	pairs      int
}

// pairs compares the creation of a Service in a namespace with the webhook and in one
// without it. All creations are dry runs: they pass all of admission, and the work of
// etcd and of Knative's controller, which is the same on both sides, does not hide the
// difference.
func pairs(ctx context.Context, e *env.Env, client servingclient.Interface, p pairing, out io.Writer) error {
	notef("admission: creating %d pairs", p.pairs)
	// The first ones open connections and are not measured.
	const first = 10
	var with, without, differences []time.Duration
	before, err := webhookCalls(ctx, e)
	if err != nil {
		return err
	}
	for i := range first + p.pairs {
		sides := []struct {
			namespace string
			has       func(*servingv1.Service) bool
			took      time.Duration
		}{{namespace: p.namespace(i), has: fleet.Has(secretName)}, {namespace: bypassedNamespace, has: fleet.Has()}}
		for turn := range sides {
			side := &sides[(i+turn)%2]
			svc, took, err := create(ctx, client, side.namespace, i)
			if err != nil {
				return err
			}
			if !side.has(svc) {
				return fmt.Errorf("Service %s/%s was created with imagePullSecrets %v", svc.Namespace, svc.Name, svc.Spec.Template.Spec.ImagePullSecrets)
			}
			side.took = took
		}
		if i >= first {
			with, without = append(with, sides[0].took), append(without, sides[1].took)
			differences = append(differences, sides[0].took-sides[1].took)
		}
	}
	after, err := webhookCalls(ctx, e)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nCreation of a Service as a client sees it, %d pairs of dry runs, %d Namespaces (ms)\n", p.pairs, p.namespaces)
	fmt.Fprintf(out, "  %-24s %8s %8s\n", "", "p50", "p99")
	for _, row := range []struct {
		what  string
		times []time.Duration
	}{{"with the webhook", with}, {"without", without}, {"difference in a pair", differences}} {
		fmt.Fprintf(out, "  %-24s %8.2f %8.2f\n", row.what, milliseconds(percentile(row.times, 50)), milliseconds(percentile(row.times, 99)))
	}
	// Knative's own webhook sets defaults after the first call, which causes the second
	// one (reinvocationPolicy in config/601-webhook-inject.yaml).
	n := after.count - before.count
	fmt.Fprintf(out, "  the API server calls the webhook %.2f times for each, and waits %.2f ms for a call on average\n",
		n/float64(first+p.pairs), (after.seconds-before.seconds)/n*1000)
	return nil
}

// create creates a Service in a dry run and returns the result and the latency.
func create(ctx context.Context, client servingclient.Interface, namespace string, i int) (*servingv1.Service, time.Duration, error) {
	svc := deployedService(namespace, fleet.Name(i))
	start := time.Now()
	created, err := client.ServingV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return created, time.Since(start), err
}

// callCount is the number of webhook calls and the time spent on them, from the API
// server's metrics.
type callCount struct{ count, seconds float64 }

func webhookCalls(ctx context.Context, e *env.Env) (c callCount, err error) {
	metrics, err := e.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(metrics)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		name, labels, _ := strings.Cut(series, "{")
		var sum *float64
		switch name {
		case "apiserver_admission_webhook_admission_duration_seconds_count":
			sum = &c.count
		case "apiserver_admission_webhook_admission_duration_seconds_sum":
			sum = &c.seconds
		}
		if sum == nil || !strings.Contains(labels, `name="`+injectName+`"`) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return c, fmt.Errorf("read the API server's metric %s: %w", name, err)
		}
		*sum += number
	}
	return c, nil
}

func deployedService(namespace, name string) *servingv1.Service {
	svc := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "serving.knative.dev/v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
	svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: fleet.Image}}
	asDeployed(0, svc)
	return svc
}

func percentile(times []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[(len(sorted)-1)*percent/100]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
