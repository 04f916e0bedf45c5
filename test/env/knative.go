// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	_ "embed" // for the unreachable registries
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const knativeModule = "test/knative"

// UnreachableRegistries are the hosts whose images tests and demos may name by
// tag: Knative does not try to resolve these, since nothing answers there. They lie
// in a file because test/e2e-kind.sh needs them too.
var UnreachableRegistries = strings.Join(strings.Fields(unreachableRegistries), ",")

//go:embed unreachable-registries
var unreachableRegistries string

// quickLeases make a program that was killed and started again the leader in
// seconds instead of a minute. Usually one process stands in for all replicas, so
// that there is no other one to hand over to.
var quickLeases = map[string]string{"lease-duration": "6s", "renew-deadline": "4s", "retry-period": "1s"}

// knativeEnvironment lifts the limits of Knative's clients and workers, which
// are made for clusters where many share the API server. Here they would be
// what tests of hundreds of Services wait for.
var knativeEnvironment = map[string]string{
	"KUBE_API_QPS": "200", "KUBE_API_BURST": "400", "K_THREADS_PER_CONTROLLER": "8",
}

// knativeManifests says where the module cache holds Knative's manifests. In
// Knative's repository all of them are in config/core, some by symbolic links
// into the other two modules, which a module's archive does not hold.
func knativeManifests(ctx context.Context, b builder) ([]string, error) {
	dirs := map[string]string{}
	for _, module := range []string{"knative.dev/serving", "knative.dev/networking", "knative.dev/caching"} {
		dir, err := b.moduleDir(ctx, knativeModule, module)
		if err != nil {
			return nil, err
		}
		dirs[module] = dir
	}
	core := filepath.Join(dirs["knative.dev/serving"], "config", "core")
	return []string{
		core,
		filepath.Join(core, "200-roles"),
		filepath.Join(core, "300-resources"),
		filepath.Join(dirs["knative.dev/networking"], "config"),
		filepath.Join(dirs["knative.dev/caching"], "config", "image.yaml"),
		filepath.Join(core, "configmaps"),
		filepath.Join(core, "deployments"),
		filepath.Join(core, "webhooks"),
	}, nil
}

// newKnative reads Knative Serving's installation and makes it fit a cluster
// without ingress and, unless there is a node, without registries.
func (s *supervisor) newKnative(manifestPaths []string) (*installation, error) {
	manifests, err := readManifests(manifestPaths...)
	if err != nil {
		return nil, err
	}
	manifests = slices.DeleteFunc(manifests, func(o *unstructured.Unstructured) bool {
		switch o.GetKind() {
		case "Image": // Asks nodes to cache an image.
			return true
		case "Deployment": // The others look after Pods and their traffic.
			return o.GetName() != "controller" && o.GetName() != "webhook" && (!s.options.Node || o.GetName() != binAutoscaler)
		}
		return false
	})
	deployment := map[string]string{
		// Where the manifests have a reference for ko.
		"queue-sidecar-image": "knative.example.com/queue-proxy",
		// There are no nodes, so Pods stay unscheduled, and that is fine.
		"pod-is-always-schedulable":         "true",
		"registries-skipping-tag-resolving": UnreachableRegistries,
	}
	settings := map[string]map[string]string{
		"config-deployment":      deployment,
		"config-domain":          {"example.com": ""},
		"config-leader-election": quickLeases,
	}
	in := &installation{processPrefix: "knative-", programPrefix: "knative-", extra: knativeEnvironment}
	if s.options.Node {
		deployment = map[string]string{"queue-sidecar-image": s.registry.image(binQueue)}
		settings["config-deployment"] = deployment
		settings["config-autoscaler"] = nodeAutoscaling
		in.pods = map[string]string{binAutoscaler: s.registry.image(binAutoscaler)}
		in.extra = maps.Clone(knativeEnvironment)
		// It signs for Docker Hub.
		in.extra["SSL_CERT_FILE"] = s.keys.path("ca.crt")
	}
	for name, data := range settings {
		if err := setConfigMapData(manifests, name, data); err != nil {
			return nil, err
		}
	}
	return in, in.divide(manifests, s.ports)
}

// nodeAutoscaling makes up for the activator, which is not there: no request
// goes through it. Whoever lets a Revision go to zero wants to see that soon.
var nodeAutoscaling = map[string]string{
	"target-burst-capacity": "-1", "allow-zero-initial-scale": "true", "scale-to-zero-grace-period": "6s",
}

// knativeServes is nil once Knative's webhooks answer: nothing tells that as
// truly as a Service that passes through them. It is made in a dry run.
func knativeServes(ctx context.Context, i *installer) error {
	services := i.dynamic.Resource(schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"})
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1",
		"kind":       "Service",
		"metadata":   map[string]any{"name": "is-the-webhook-there", "namespace": metav1.NamespaceDefault},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"image": "registry.example.com/any"}},
		}}},
	}}
	for {
		made, err := services.Namespace(metav1.NamespaceDefault).Create(ctx, service, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		// The annotation is what Knative's defaulting adds.
		if err == nil && made.GetAnnotations()["serving.knative.dev/creator"] != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("Knative's webhooks do not answer yet: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
