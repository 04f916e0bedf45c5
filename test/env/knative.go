// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	_ "embed" // for the unreachable registries
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const knativeModule = "test/knative"

// UnreachableRegistries are hosts whose images tests and demos may name by tag: nothing
// answers there, so Knative is configured to skip their tag resolution. They are in a
// file because test/e2e-kind.sh needs them too.
var UnreachableRegistries = strings.Join(strings.Fields(unreachableRegistries), ",")

//go:embed unreachable-registries
var unreachableRegistries string

// quickLeases make a restarted program the leader in seconds instead of a minute. Usually
// one process replaces all replicas, so there is no standby.
var quickLeases = map[string]string{"lease-duration": "6s", "renew-deadline": "4s", "retry-period": "1s"}

// knativeEnvironment raises the limits of Knative's clients and workers, which are meant
// for shared clusters. Tests with hundreds of Services would wait for them.
var knativeEnvironment = map[string]string{
	"KUBE_API_QPS": "200", "KUBE_API_BURST": "400", "K_THREADS_PER_CONTROLLER": "8",
}

// knativeManifests returns the paths of Knative's manifests in the module cache. In
// Knative's repository all of them are in config/core, some by symbolic links into the
// other two modules, which module archives do not contain.
func knativeManifests(ctx context.Context, b builder) ([]string, error) {
	var dirs [3]string
	for i, pkg := range []string{"knative.dev/serving/config/core", "knative.dev/networking/config", "knative.dev/caching/config"} {
		var err error
		if dirs[i], err = b.packageDir(ctx, knativeModule, pkg); err != nil {
			return nil, err
		}
	}
	core, networking, caching := dirs[0], dirs[1], dirs[2]
	return []string{
		core,
		filepath.Join(core, "200-roles"),
		filepath.Join(core, "300-resources"),
		networking,
		filepath.Join(caching, "image.yaml"),
		filepath.Join(core, "configmaps"),
		filepath.Join(core, "deployments"),
		filepath.Join(core, "webhooks"),
	}, nil
}

// newKnative reads the installation of Knative Serving and adapts it to a cluster without
// nodes and ingress.
func (s *supervisor) newKnative(manifestPaths []string) (*installation, error) {
	manifests, err := readManifests(manifestPaths...)
	if err != nil {
		return nil, err
	}
	manifests = slices.DeleteFunc(manifests, func(o *unstructured.Unstructured) bool {
		switch o.GetKind() {
		case "Image": // Makes nodes cache an image.
			return true
		case "Deployment": // The others handle Pods and their traffic.
			return o.GetName() != "controller" && o.GetName() != "webhook"
		}
		return false
	})
	deployment := map[string]string{
		// The manifests have a reference for ko here.
		"queue-sidecar-image": "knative.example.com/queue-proxy",
		// There are no nodes, so Pods stay unscheduled, as expected.
		"pod-is-always-schedulable":         "true",
		"registries-skipping-tag-resolving": UnreachableRegistries,
	}
	settings := map[string]map[string]string{
		"config-deployment":      deployment,
		"config-domain":          {"example.com": ""},
		"config-leader-election": quickLeases,
	}
	in := &installation{
		processPrefix: "knative-", programPrefix: "knative-", programSuffix: s.builder.releases[knativeModule].suffix(),
		extra: knativeEnvironment,
	}
	for name, data := range settings {
		if err := setConfigMapData(manifests, name, data); err != nil {
			return nil, err
		}
	}
	return in, in.divide(manifests, s.ports)
}

// knativeServes returns nil once Knative's webhooks answer, which the dry run of a
// Service shows best.
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
		// Knative's defaulting adds the annotation.
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
