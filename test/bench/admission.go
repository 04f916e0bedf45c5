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
	// awayNamespace is the one that the API server does not call the webhook
	// for, because of its label.
	awayNamespace = "bench-away"
	awayLabel     = "bench.test/away"
)

func admissionNamespace(i int) string { return fmt.Sprintf("bench-admission-%04d", i) }

// admission measures what the webhook adds to a request and how many requests
// one replica answers, on a cluster with many Namespaces: those and their
// ServiceAccounts are what the webhook keeps. It keeps no Services.
func admission(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	notef("admission: making %d Namespaces", s.admissionNamespaces)
	err := fleet.Each(ctx, s.admissionNamespaces, 16, func(ctx context.Context, i int) error {
		return makeDeclaringNamespace(ctx, e, admissionNamespace(i), nil)
	})
	if err != nil {
		return err
	}
	if err := makeDeclaringNamespace(ctx, e, awayNamespace, map[string]string{awayLabel: "true"}); err != nil {
		return err
	}
	if err := furnished(ctx, e.Kube, s.admissionNamespaces+1); err != nil {
		return err
	}
	client, err := unlimited(e)
	if err != nil {
		return err
	}
	if err := keepAway(ctx, e, client); err != nil {
		return err
	}
	if err := pairs(ctx, e, client, s, out); err != nil {
		return err
	}
	return load(ctx, e, s, out)
}

// makeDeclaringNamespace makes a namespace whose Services all get a pull secret
// that need not exist.
func makeDeclaringNamespace(ctx context.Context, e *env.Env, name string, labels map[string]string) error {
	_, err := e.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels, Annotations: map[string]string{pullsecrets.SecretsAnnotation: secretName},
	}}, metav1.CreateOptions{})
	return err
}

// furnished waits until the cluster's controller manager has made what it makes
// for each namespace, and so does not weigh on what is measured.
func furnished(ctx context.Context, kube kubernetes.Interface, namespaces int) error {
	var accounts, authorities int
	err := wait.PollUntilContextTimeout(ctx, time.Second, 2*patience, true, func(ctx context.Context) (bool, error) {
		// Version 0 is answered from the API server's cache.
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
		return fmt.Errorf("waiting for the default ServiceAccounts (%d) and the authorities (%d) of %d namespaces: %w", accounts, authorities, namespaces, err)
	}
	return nil
}

// keepAway makes the API server call the webhook no more for one namespace. The
// label that excludes namespaces would not do, because it would not be seen who
// leaves the Service alone, the API server or the webhook. Nothing is undone:
// the cluster ends with this part.
func keepAway(ctx context.Context, e *env.Env, client servingclient.Interface) error {
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/-","value":{"key":%q,"operator":"DoesNotExist"}}]`, awayLabel)
	_, err := e.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, injectName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		svc, _, err := create(ctx, client, awayNamespace, 0)
		return err == nil && fleet.Has()(svc), err
	})
	if err != nil {
		return fmt.Errorf("waiting until the webhook is not called for %s: %w", awayNamespace, err)
	}
	return nil
}

// pairs compares the creation of a Service in a namespace that the webhook is
// called for with that in one that it is not. All creations are dry runs: they
// go through the whole of admission, and what etcd and Knative's controller
// would do with the Services afterwards, on both sides alike, does not hide the
// difference.
func pairs(ctx context.Context, e *env.Env, client servingclient.Interface, s settings, out io.Writer) error {
	notef("admission: %d pairs of creations", s.admissionPairs)
	// The first ones open connections and are not counted.
	const first = 10
	var with, without, differences []time.Duration
	before, err := webhookCalls(ctx, e)
	if err != nil {
		return err
	}
	for i := range first + s.admissionPairs {
		sides := []struct {
			namespace string
			has       func(*servingv1.Service) bool
			took      time.Duration
		}{{namespace: admissionNamespace(i % s.admissionNamespaces), has: fleet.Has(secretName)}, {namespace: awayNamespace, has: fleet.Has()}}
		for turn := range sides {
			side := &sides[(i+turn)%2]
			svc, took, err := create(ctx, client, side.namespace, i)
			if err != nil {
				return err
			}
			if !side.has(svc) {
				return fmt.Errorf("Service %s/%s comes back with the pull secrets %v", svc.Namespace, svc.Name, svc.Spec.Template.Spec.ImagePullSecrets)
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
	fmt.Fprintf(out, "\nCreation of a Service as a client sees it, %d pairs of dry runs, %d Namespaces (ms)\n", s.admissionPairs, s.admissionNamespaces)
	fmt.Fprintf(out, "  %-24s %8s %8s\n", "", "p50", "p99")
	for _, row := range []struct {
		what  string
		times []time.Duration
	}{{"with the webhook", with}, {"without", without}, {"difference in a pair", differences}} {
		fmt.Fprintf(out, "  %-24s %8.2f %8.2f\n", row.what, milliseconds(percentile(row.times, 50)), milliseconds(percentile(row.times, 99)))
	}
	// The second call is due to Knative's own webhook, which sets defaults after
	// the first one (reinvocationPolicy in config/601-webhook-inject.yaml).
	n := after.count - before.count
	fmt.Fprintf(out, "  the API server calls the webhook %.2f times for each, and waits %.2f ms for a call on average\n",
		n/float64(first+s.admissionPairs), (after.seconds-before.seconds)/n*1000)
	return nil
}

// create makes a Service in a dry run and returns what becomes of it and how
// long that takes.
func create(ctx context.Context, client servingclient.Interface, namespace string, i int) (*servingv1.Service, time.Duration, error) {
	svc := deployedService(namespace, fleet.Name(i))
	start := time.Now()
	created, err := client.ServingV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return created, time.Since(start), err
}

// A callCount is how often the API server has called the webhook and how long it
// has waited for it, as it says itself.
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
			return c, fmt.Errorf("the API server's metric %s: %w", name, err)
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
