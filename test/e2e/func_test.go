// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// What docs/gitops.md states about func deploy: the pull secrets of the Namespace survive
// each deployment, and so do those that func.yaml names, as a pull secret or in an
// annotation. Those in an annotation of the Service alone do not. A deployment makes one
// Revision, with the webhook and without it.
func TestFuncDeployKeepsPullSecretsAsTheDocsState(t *testing.T) {
	t.Parallel()
	n, alone := newTenant(t, optedIn("ghcr")), newTenant(t)
	people := []*person{n.person("alice"), alone.person("alice")}
	deployments := 0
	deploy := func(f function, want ...string) {
		t.Helper()
		deployments++
		for _, p := range people {
			p.funcDeploy(f)
		}
		n.checkList("app", want...)
		n.checkUsers("alice", "alice")
	}
	deploy(function{version: first}, "ghcr")
	deploy(function{version: first}, "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})

	n.annotate("app", pullsecrets.SecretsAnnotation, "quay")
	n.checkList("app", "quay", "ghcr")
	n.waitForReady("app")
	deploy(function{version: second}, "ghcr")

	annotated := function{version: second, annotations: map[string]string{pullsecrets.SecretsAnnotation: "quay"}}
	deploy(annotated, "quay", "ghcr")
	deploy(annotated, "quay", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace", "quay": "service"})
	n.waitForEvent(service("app"), "InvalidAnnotation", pullsecrets.SecretsAnnotation, "has no effect on the template of a Service")

	deploy(function{version: second, pullSecret: "own"}, "own", "ghcr")
	deploy(function{version: second}, "ghcr")
	alone.checkList("app")
	alone.checkRevisions("app", deployments)
	n.checkRevisions("app", deployments+1) // One for the annotation of the Service.
}

// function is what func.yaml says about the function app.
type function struct {
	version string // an environment variable
	// annotations is deploy.annotations, and pullSecret is deploy.imagePullSecret.
	annotations map[string]string
	pullSecret  string
}

// funcDeploy sends the requests of "func deploy" (Deployer.Deploy in pkg/knative/deployer.go
// of func 0.50), and waits like it until the Service is Ready.
func (p *person) funcDeploy(f function) {
	p.t.Helper()
	client, ctx := p.services(), p.t.Context()
	const manager = "func"
	err := retryOnConflict(func() error {
		s, err := client.Get(ctx, "app", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(ctx, f.create(p), metav1.CreateOptions{FieldManager: manager})
			return err
		}
		if err == nil {
			f.update(p, s)
			_, err = client.Update(ctx, s, metav1.UpdateOptions{FieldManager: manager})
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.waitForReady("app")
}

// create is generateNewService of func, without runAsNonRoot: the test image has no user.
func (f function) create(p *person) *servingv1.Service {
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: p.ns}}
	s.Spec.Template.Spec.Containers = []corev1.Container{{SecurityContext: &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}}}
	f.update(p, s)
	return s
}

// update is updateService of func. It replaces all that func.yaml can say, the annotations
// of the Service and its pull secrets among it.
func (f function) update(p *person, s *servingv1.Service) {
	const creator = "serving.knative.dev/creator"
	annotations := map[string]string{"function.knative.dev/deployer": "knative"}
	maps.Copy(annotations, f.annotations)
	if by := s.Annotations[creator]; by != "" {
		annotations[creator] = by
	}
	labels := map[string]string{"boson.dev/function": "true", "function.knative.dev/name": "app", "function.knative.dev/runtime": "go"}
	t := &s.Spec.Template
	s.Labels, t.Labels, s.Annotations, t.Annotations, t.Name = labels, labels, annotations, maps.Clone(annotations), ""

	t.Spec.ContainerConcurrency, t.Spec.Volumes, t.Spec.ServiceAccountName, t.Spec.ImagePullSecrets = nil, nil, "", nil
	if f.pullSecret != "" {
		t.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: f.pullSecret}}
	}
	c := &t.Spec.Containers[0]
	c.LivenessProbe, c.ReadinessProbe = healthProbe("/health/liveness"), healthProbe("/health/readiness")
	c.Image, c.Resources, c.EnvFrom, c.VolumeMounts = image(p.t, p.Env, "IMAGE_BY_DIGEST"), corev1.ResourceRequirements{}, nil, nil
	// func's time has seconds; here each deployment has its own.
	c.Env = []corev1.EnvVar{{Name: "BUILT", Value: time.Now().Format(time.RFC3339Nano)}, {Name: "VERSION", Value: f.version}}
}

func healthProbe(path string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080)}}}
}
