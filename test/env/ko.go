// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
)

// koApply installs config/ as users do and returns when the programs are ready.
func (s *supervisor) koApply(ctx context.Context) error {
	s.sayf("installing with ko apply -f config/")
	if err := s.ko(ctx, "apply", "-f", "config/"); err != nil {
		return err
	}
	manifests, err := readManifests(filepath.Join(s.builder.repo, "config"))
	if err != nil {
		return err
	}
	in := &installation{objects: manifests}
	for _, object := range manifests {
		if object.GetKind() != "Deployment" {
			continue
		}
		if err := s.installer.waitFor(ctx, object, "runs", rolledOut); err != nil {
			return err
		}
	}
	if err := in.waitWebhooks(ctx, s.installer); err != nil {
		return err
	}
	return s.waitReachable(ctx, manifests)
}

// waitReachable waits until the API server accepts the settings, which the webhook
// validates: Pods become Ready before kube-proxy has programmed their addresses.
func (s *supervisor) waitReachable(ctx context.Context, manifests []*unstructured.Unstructured) error {
	for _, object := range manifests {
		if object.GetKind() != "ConfigMap" {
			continue
		}
		var rejected error
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			rejected = s.installer.validate(ctx, object)
			return rejected == nil, nil
		})
		if err != nil {
			return fmt.Errorf("wait until the webhook is reachable: %w", errors.Join(err, rejected))
		}
	}
	return nil
}

// koEnvironment returns the variables that "ko apply" needs to build for the cluster.
func koEnvironment(l layout, registry *Registry) []string {
	return []string{
		"KUBECONFIG=" + l.kubeconfig(),
		"DOCKER_CONFIG=" + l.dockerConfig(),
		"KO_DOCKER_REPO=" + registry.Host + "/public",
		"KO_DEFAULTBASEIMAGE=" + registry.image("base"),
	}
}

// writeKoSettings writes the same for users' shells.
func writeKoSettings(l layout, registry *Registry) error {
	var settings strings.Builder
	for _, assignment := range koEnvironment(l, registry) {
		name, value, _ := strings.Cut(assignment, "=")
		fmt.Fprintf(&settings, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return writeFile(l.koSettings(), []byte(settings.String()), 0o644)
}

func (s *supervisor) ko(ctx context.Context, args ...string) error {
	bin := s.builder.binDir()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, binKo), args...)
	cmd.Dir = s.builder.repo
	// ko calls kubectl and go; flags of the caller must not change the build.
	cmd.Env = append(os.Environ(), koEnvironment(s.layout, s.registry)...)
	cmd.Env = append(cmd.Env, "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "GOFLAGS=-buildvcs=false", "GOWORK=off",
		// Otherwise kubectl would write its cache to the home directory.
		"KUBECACHEDIR="+filepath.Join(s.layout.machine(), "kubectl"))
	log, err := os.OpenFile(filepath.Join(s.layout.logs(), "ko.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ko %s: %w; see %s", args[0], err, log.Name())
	}
	return nil
}

// rolledOut reports whether all Pods of a Deployment are current and available.
func rolledOut(object *unstructured.Unstructured) bool {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &d); err != nil {
		return false
	}
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	return d.Status.ObservedGeneration == d.Generation &&
		d.Status.UpdatedReplicas == wanted && d.Status.AvailableReplicas == wanted && d.Status.Replicas == wanted
}
