// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// The namespaces of the comparison with and without the policies of config/outage. The
// API server calls our webhook for neither.
const (
	policyNamespace   = "bench-policy"
	exemptNamespace   = "bench-policy-exempt"
	exemptLabel       = "bench.test/exempt"
	servicesPolicy    = "services.outage.pullsecrets.dev"
	policyServiceName = "app"
)

// updates are the requests of the comparison.
var updates = []struct {
	what, patch string
	restores    bool
}{
	{"a label", `{"metadata":{"labels":{"bench":"%d"}}}`, false},
	{"the list and the ledger dropped", `{"metadata":{"labels":{"bench":"%d"},"annotations":{"pullsecrets.dev/added":null}},"spec":{"template":{"spec":{"imagePullSecrets":null}}}}`, true},
}

// policies compares updates of a Service in a namespace with the policies of config/outage
// and in one without them. All updates are dry runs, as in pairs.
func policies(ctx context.Context, e *env.Env, client servingclient.Interface, s settings, out io.Writer) error {
	if served, err := env.ServesMutatingPolicies(e.Kube.Discovery()); err != nil || !served {
		notef("policies: not measured, because the API server has no MutatingAdmissionPolicies (%v)", err)
		return err
	}
	notef("policies: sending %d pairs of updates", len(updates)*s.admissionPairs)
	if err := preparePolicies(ctx, e, client); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nUpdate of a Service with and without the policy for outages, as a client sees it, %d pairs of dry runs (ms)\n", s.admissionPairs)
	fmt.Fprintf(out, "  %-34s %8s %8s %8s %8s\n", "", "with p50", "p99", "without", "ratio")
	const first = 10 // not measured
	for _, update := range updates {
		var took [2][]time.Duration
		var ratios []float64
		for i := range first + s.admissionPairs {
			var pair [2]time.Duration
			for turn := range pair {
				side := (i + turn) % 2
				namespace := []string{policyNamespace, exemptNamespace}[side]
				svc, elapsed, err := patchDry(ctx, client, namespace, fmt.Sprintf(update.patch, i))
				if err != nil {
					return err
				}
				if has, want := fleet.Has(secretName)(svc), !update.restores || side == 0; has != want {
					return fmt.Errorf("an update of %s in %s has imagePullSecrets %v", update.what, namespace, svc.Spec.Template.Spec.ImagePullSecrets)
				}
				pair[side] = elapsed
			}
			if i >= first {
				took[0], took[1] = append(took[0], pair[0]), append(took[1], pair[1])
				ratios = append(ratios, float64(pair[0])/float64(pair[1]))
			}
		}
		fmt.Fprintf(out, "  %-34s %8.2f %8.2f %8.2f %8.2f\n", update.what, milliseconds(percentile(took[0], 50)), milliseconds(percentile(took[0], 99)),
			milliseconds(percentile(took[1], 50)), median(ratios))
	}
	return nil
}

// preparePolicies exempts one namespace from the policy and creates a Service with an
// added entry on both sides.
func preparePolicies(ctx context.Context, e *env.Env, client servingclient.Interface) error {
	expression := fmt.Sprintf(`[{"op":"add","path":"/spec/matchConstraints/namespaceSelector/matchExpressions/-","value":{"key":%q,"operator":"DoesNotExist"}}]`, exemptLabel)
	resource := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicies"}
	if _, err := e.Dynamic.Resource(resource).Patch(ctx, servicesPolicy, types.JSONPatchType, []byte(expression), metav1.PatchOptions{}); err != nil {
		return err
	}
	for namespace, labels := range map[string]map[string]string{
		policyNamespace: {awayLabel: "true"}, exemptNamespace: {awayLabel: "true", exemptLabel: "true"},
	} {
		if err := makeDeclaringNamespace(ctx, e, namespace, labels); err != nil {
			return err
		}
		svc := deployedService(namespace, policyServiceName)
		svc.Annotations = map[string]string{pullsecrets.AddedAnnotation: fmt.Sprintf("{%q:%q}", secretName, "namespace")}
		svc.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secretName}}
		// An entry that another manager owns is not ours.
		if _, err := client.ServingV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{FieldManager: pullsecrets.FieldManager}); err != nil {
			return err
		}
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		with, _, err := patchDry(ctx, client, policyNamespace, fmt.Sprintf(updates[1].patch, 0))
		if err != nil {
			return false, err
		}
		without, _, err := patchDry(ctx, client, exemptNamespace, fmt.Sprintf(updates[1].patch, 0))
		return err == nil && fleet.Has(secretName)(with) && fleet.Has()(without), err
	})
	if err != nil {
		return fmt.Errorf("wait until the policy applies to one namespace only: %w", err)
	}
	return nil
}

// patchDry patches the Service of a namespace in a dry run and returns the result and the
// latency.
func patchDry(ctx context.Context, client servingclient.Interface, namespace, patch string) (*servingv1.Service, time.Duration, error) {
	start := time.Now()
	svc, err := client.ServingV1().Services(namespace).Patch(ctx, policyServiceName, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	return svc, time.Since(start), err
}
