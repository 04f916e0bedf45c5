// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd/api"
)

// deployment is a Deployment that a local process replaces. Its Pods could not run; the rest of its spec applies to the process: environment, arguments,
// ServiceAccount, probe. So tests run what is released.
type deployment struct {
	*appsv1.Deployment
	manifest *unstructured.Unstructured
	name     string // of the process
	program  string // file name in the bin directory
	extra    map[string]string
	ports    map[string]int // by name of the container's port
}

// portVariables are the variables from which programs that use knative.dev/pkg read their
// ports. Processes share the machine with others, so they get free ports.
var portVariables = map[string]string{
	"probes":        "PROBES_PORT",
	"metrics":       "METRICS_PROMETHEUS_PORT",
	"profiling":     "PROFILING_PORT",
	"https-webhook": "WEBHOOK_PORT",
}

// tokenLifetime is longer than the lifetime of any cluster.
const tokenLifetime = certificateLifetime

// installation is a set of manifests, split into objects to apply and processes to run.
type installation struct {
	// What turns names of Deployments into names of processes and of files in the bin
	// directory.
	processPrefix, programPrefix, programSuffix string
	// extra is added to the environment of the Deployments.
	extra map[string]string

	objects     []*unstructured.Unstructured
	deployments []*deployment
}

// divide adds manifests to the installation.
func (in *installation) divide(manifests []*unstructured.Unstructured, ports portBook) error {
	for _, object := range manifests {
		switch object.GetKind() {
		case "HorizontalPodAutoscaler":
			// It would keep reporting that there are no Pods.
		case "Deployment":
			d := &deployment{
				Deployment: &appsv1.Deployment{},
				manifest:   object,
				name:       in.processPrefix + object.GetName(),
				program:    in.programPrefix + object.GetName() + in.programSuffix,
				extra:      in.extra,
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, d.Deployment); err != nil {
				return err
			}
			if len(d.Spec.Template.Spec.Containers) != 1 {
				return fmt.Errorf("cannot run Deployment %s as a process: it has %d containers", d.Name, len(d.Spec.Template.Spec.Containers))
			}
			if err := d.takePorts(ports); err != nil {
				return err
			}
			in.deployments = append(in.deployments, d)
		default:
			in.objects = append(in.objects, object)
		}
	}
	return in.redirectWebhooks()
}

func (d *deployment) takePorts(ports portBook) error {
	d.ports = make(map[string]int, len(portVariables))
	for name := range portVariables {
		var err error
		if d.ports[name], err = ports.of(d.name + " " + name); err != nil {
			return err
		}
	}
	return nil
}

// replica returns a further replica of the Deployment: the same with its own name and
// ports.
func (d *deployment) replica(i int, ports portBook) (*deployment, error) {
	other := *d
	other.name = d.replicaName(i)
	return &other, other.takePorts(ports)
}

func (d *deployment) replicaName(i int) string { return fmt.Sprintf("%s-%d", d.name, i) }

// redirectWebhooks redirects webhook calls to the processes, with a Service of type
// ExternalName for this host and the port in the webhook configuration. The server's
// certificate is still verified for the Service's name, and knative.dev/pkg, which
// requires a Service reference, keeps the port. clientConfig.url would allow neither.
func (in *installation) redirectWebhooks() error {
	var called []*unstructured.Unstructured
	for _, configuration := range in.objects {
		if !isWebhookConfiguration(configuration) {
			continue
		}
		webhooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
		if err != nil {
			return err
		}
		for _, w := range webhooks {
			webhook := w.(map[string]any)
			name, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "name")
			namespace, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "namespace")
			service, d := in.behind(namespace, name)
			if service == nil {
				return fmt.Errorf("%s %s: manifests have no Service %s/%s with a Deployment behind it",
					configuration.GetKind(), configuration.GetName(), namespace, name)
			}
			called = append(called, service)
			if err := unstructured.SetNestedField(webhook, int64(d.ports["https-webhook"]), "clientConfig", "service", "port"); err != nil {
				return err
			}
		}
		if err := unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks"); err != nil {
			return err
		}
	}
	for _, service := range called {
		service.Object["spec"] = map[string]any{"type": "ExternalName", "externalName": "localhost"}
	}
	return nil
}

// behind returns the Service and the Deployment that it selects.
func (in *installation) behind(namespace, name string) (*unstructured.Unstructured, *deployment) {
	for _, object := range in.objects {
		if object.GetKind() != "Service" || object.GetAPIVersion() != "v1" || object.GetNamespace() != namespace || object.GetName() != name {
			continue
		}
		selector, _, _ := unstructured.NestedStringMap(object.Object, "spec", "selector")
		for _, d := range in.deployments {
			if d.Namespace == namespace && labels.SelectorFromSet(selector).Matches(labels.Set(d.Spec.Template.Labels)) {
				return object, d
			}
		}
	}
	return nil, nil
}

func isWebhookConfiguration(object *unstructured.Unstructured) bool {
	return object.GetKind() == "MutatingWebhookConfiguration" || object.GetKind() == "ValidatingWebhookConfiguration"
}

// process returns the spec of the process that replaces the Deployment.
func (d *deployment) process(c *connection, binDir string) childSpec {
	container := d.Spec.Template.Spec.Containers[0]
	environment := map[string]string{}
	for _, v := range container.Env {
		environment[v.Name] = d.value(v)
	}
	for port, variable := range portVariables {
		environment[variable] = fmt.Sprint(d.ports[port])
	}
	maps.Copy(environment, d.extra)
	environment["KUBECONFIG"] = c.layout.kubeconfigOf(d.name)
	// For programs of this project; Knative's are built to listen on loopback, see
	// loopbackEdits.
	environment["PROBES_HOST"] = loopback
	environment["METRICS_PROMETHEUS_HOST"] = loopback

	return childSpec{
		name:    d.name,
		program: filepath.Join(binDir, d.program),
		args:    container.Args,
		env:     assignments(environment),
		ports:   d.ports,
		prepare: func(ctx context.Context) error { return d.writeToken(ctx, c) },
		ready:   d.ready,
		// Kubernetes grants at least 30 s, and webhooks drain for 45 s so that load
		// balancers can follow. Nothing needs this here.
		grace: 3 * time.Second,
	}
}

// assignments returns the environment as sorted NAME=VALUE pairs.
func assignments(environment map[string]string) []string {
	var all []string
	for name, value := range environment {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return all
}

// value returns the value of the variable, with the downward API resolved.
func (d *deployment) value(v corev1.EnvVar) string {
	if v.ValueFrom == nil || v.ValueFrom.FieldRef == nil {
		return v.Value
	}
	switch v.ValueFrom.FieldRef.FieldPath {
	case "metadata.name":
		return d.name + "-0"
	case "metadata.namespace":
		return d.Namespace
	default:
		return ""
	}
}

// writeToken writes a token of the ServiceAccount, so that the process has exactly its
// rights. Tokens are bound to the ServiceAccount's UID, which a new installation changes,
// so each start gets its own.
func (d *deployment) writeToken(ctx context.Context, c *connection) error {
	seconds := int64(tokenLifetime.Seconds())
	account := d.Spec.Template.Spec.ServiceAccountName
	request, err := c.kube.CoreV1().ServiceAccounts(d.Namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return writeKubeconfig(c.layout.kubeconfigOf(d.name), c.keys.kubeconfigFor(c.config.Host, &api.AuthInfo{Token: request.Status.Token}))
}

// ready calls the Deployment's readiness probe.
func (d *deployment) ready(ctx context.Context) error {
	container := d.Spec.Template.Spec.Containers[0]
	if container.ReadinessProbe == nil || container.ReadinessProbe.HTTPGet == nil {
		return fmt.Errorf("Deployment %s has no readinessProbe with httpGet", d.Name)
	}
	action := container.ReadinessProbe.HTTPGet
	for _, port := range container.Ports {
		if action.Port == intstr.FromString(port.Name) || action.Port == intstr.FromInt32(port.ContainerPort) {
			scheme := "http"
			if action.Scheme == corev1.URISchemeHTTPS {
				scheme = "https"
			}
			return probe(ctx, fmt.Sprintf("%s://%s/%s", scheme, address(d.ports[port.Name]), strings.TrimPrefix(action.Path, "/")))
		}
	}
	return fmt.Errorf("the readinessProbe of Deployment %s names none of its ports", d.Name)
}

// waitAuthorized waits until the ServiceAccount may read its ConfigMaps, which these
// programs do first and without which they exit. The authorizer observes Roles with a
// delay, and the controller manager must fill aggregated ones.
func (d *deployment) waitAuthorized(ctx context.Context, c *connection) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   "system:serviceaccount:" + d.Namespace + ":" + d.Spec.Template.Spec.ServiceAccountName,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + d.Namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: d.Namespace, Verb: "get", Resource: "configmaps", Name: "config-logging",
		},
	}}
	for {
		answer, err := c.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err == nil && answer.Status.Allowed {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s may not read ConfigMaps in %s", review.Spec.User, d.Namespace), err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waitWebhooks waits until the programs behind the webhook configurations have written
// their CA bundles.
func (in *installation) waitWebhooks(ctx context.Context, i *installer) error {
	for _, object := range in.objects {
		if !isWebhookConfiguration(object) {
			continue
		}
		if err := i.waitFor(ctx, object, "has its certificates", hasCABundles); err != nil {
			return err
		}
	}
	return nil
}

func hasCABundles(configuration *unstructured.Unstructured) bool {
	webhooks, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
	for _, w := range webhooks {
		webhook, _ := w.(map[string]any)
		if bundle, _, _ := unstructured.NestedString(webhook, "clientConfig", "caBundle"); bundle == "" {
			return false
		}
	}
	return true
}
