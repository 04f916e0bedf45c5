// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// makeReadyServices creates Services with a Ready status. Knative's controller is
// stopped.
func makeReadyServices(ctx context.Context, e *env.Env, namespace string, n int) error {
	if err := fleet.Create(ctx, e.Serving, namespace, 0, n, asDeployed); err != nil {
		return err
	}
	return fleet.Each(ctx, n, 16, func(ctx context.Context, i int) error {
		name := fleet.Name(i)
		patch, err := json.Marshal(map[string]any{"status": readyStatus(namespace, name)})
		if err != nil {
			return err
		}
		_, err = e.Serving.ServingV1().Services(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "controller"}, "status")
		return err
	})
}

// asDeployed gives a Service the fields that real ones have: variables, resources, and
// the last-applied annotation of kubectl apply.
func asDeployed(i int, svc *servingv1.Service) {
	container := &svc.Spec.Template.Spec.Containers[0]
	for _, name := range []string{"LOG_LEVEL", "DATABASE_URL", "QUEUE_URL", "CACHE_URL", "FEATURES", "REGION", "TRACING_ENDPOINT", "PUBLIC_URL"} {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: fmt.Sprintf("%s-of-service-%d.example.com", strings.ToLower(name), i)})
	}
	container.Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
	}
	svc.Labels = map[string]string{"app.kubernetes.io/name": svc.Name, "app.kubernetes.io/part-of": "shop"}
	applied, err := json.Marshal(svc)
	if err != nil {
		panic(err) // A Service always marshals.
	}
	svc.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: string(applied)}
}

// readyStatus returns the status of a Service that is Ready.
func readyStatus(namespace, name string) servingv1.ServiceStatus {
	var status servingv1.ServiceStatus
	for _, condition := range []apis.ConditionType{
		servingv1.ServiceConditionConfigurationsReady, servingv1.ServiceConditionReady, servingv1.ServiceConditionRoutesReady,
	} {
		status.Conditions = append(status.Conditions, apis.Condition{
			Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: apis.VolatileTime{Inner: metav1.Now()},
		})
	}
	status.ObservedGeneration = 1
	status.LatestCreatedRevisionName = name + "-00001"
	status.LatestReadyRevisionName = name + "-00001"
	status.URL = apis.HTTP(fmt.Sprintf("%s.%s.example.com", name, namespace))
	status.Traffic = []servingv1.TrafficTarget{{RevisionName: status.LatestReadyRevisionName, Percent: new(int64(100))}}
	return status
}
