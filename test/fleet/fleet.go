// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet creates many Knative Services at once, for tests and benchmarks with
// hundreds of them.
package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
)

// Image is given by digest, so that the safe backfill may change it.
var Image = "ghcr.io/acme/app@sha256:" + strings.Repeat("0123456789abcdef", 4)

// workers is the number of concurrent requests.
const workers = 16

// Each calls f for 0 to n-1 with a number of workers and returns the first error.
func Each(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workqueue.ParallelizeUntil(ctx, workers, n, func(i int) {
		if err := f(ctx, i); err != nil {
			cancel(err)
		}
	})
	return context.Cause(ctx)
}

// Prefix is the name prefix of all Services of a fleet.
const Prefix = "fleet-"

// Name returns the name of the i-th Service of a fleet.
func Name(i int) string { return fmt.Sprintf("%s%04d", Prefix, i) }

// Create creates the Services from first to end-1. shape, unless it is nil, can modify
// each of them before.
func Create(ctx context.Context, client servingclient.Interface, namespace string, first, end int, shape func(i int, svc *servingv1.Service)) error {
	return Each(ctx, end-first, workers, func(ctx context.Context, i int) error {
		i += first
		svc := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: Name(i)}}
		svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: Image}}
		if shape != nil {
			shape(i, svc)
		}
		if _, err := client.ServingV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create Service %s/%s: %w", namespace, svc.Name, err)
		}
		return nil
	})
}

// Wait waits until all Services of the namespace satisfy the condition; what describes it
// in the error.
func Wait(ctx context.Context, client servingclient.Interface, namespace, what string, timeout time.Duration, condition func(*servingv1.Service) bool) error {
	var total int
	var missing []string
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		// resourceVersion 0 is served from the API server's cache, which is cheap and
		// never far behind.
		list, err := client.ServingV1().Services(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			// Some tests stop the API server for a while.
			return false, nil //nolint:nilerr // until the timeout
		}
		total, missing = len(list.Items), nil
		for i := range list.Items {
			if !condition(&list.Items[i]) {
				missing = append(missing, list.Items[i].Name)
			}
		}
		return len(missing) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait until all Services of %s %s: %w; %d of %d do not: %v", namespace, what, err, len(missing), total, missing[:min(len(missing), 5)])
	}
	return nil
}

// Ready is a condition for Wait: the Service is Ready with its current spec.
func Ready(svc *servingv1.Service) bool {
	return svc.Status.ObservedGeneration == svc.Generation && svc.IsReady()
}

// Has is a condition for Wait: the Service has exactly these pull secrets.
func Has(names ...string) func(*servingv1.Service) bool {
	return func(svc *servingv1.Service) bool {
		refs := svc.Spec.Template.Spec.ImagePullSecrets
		if len(refs) != len(names) {
			return false
		}
		for i, name := range names {
			if refs[i].Name != name {
				return false
			}
		}
		return true
	}
}
