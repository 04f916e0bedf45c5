// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/test/env"
)

// puller is a platform team whose tenants pull images from a private registry, with its
// account: of its own name, for repositories below that name.
type puller struct {
	*platform
	registry *env.Registry
}

// newPuller creates an account and a source with its password, for nodes that pull.
func newPuller(t *testing.T, choose func(*env.Registries) *env.Registry) *puller {
	t.Helper()
	env.Get(t).Need(t, env.Pulls)
	return newResolver(t, choose)
}

// newResolver does the same for tag resolution, which needs no nodes.
func newResolver(t *testing.T, choose func(*env.Registries) *env.Registry) *puller {
	t.Helper()
	e := env.Get(t)
	e.Need(t, env.PrivateRegistries)
	p := &puller{platform: barePlatform(t), registry: choose(e.Registries)}
	p.setPassword("first")
	t.Cleanup(func() {
		if err := p.registry.RemoveUser(context.WithoutCancel(t.Context()), p.name); err != nil {
			t.Error("remove the account: ", err)
		}
	})
	p.keepSource(p.secret(p.name, "first"))
	return p
}

func mainRegistry(r *env.Registries) *env.Registry  { return r.Main }
func otherRegistry(r *env.Registries) *env.Registry { return r.Other }
func dockerHub(r *env.Registries) *env.Registry     { return r.Hub }

// setPassword changes the password at the registry.
func (p *puller) setPassword(password string) {
	p.t.Helper()
	if err := p.registry.SetUser(p.t.Context(), p.name, password, p.name+"/"); err != nil {
		p.t.Fatal("set a password: ", err)
	}
}

// secret returns a pull secret for the account.
func (p *puller) secret(name, password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: encode(map[string]any{"auths": map[string]any{
			p.registry.Host: map[string]string{"username": p.name, "password": password},
		}})},
	}
}

// pushed is an image that only its puller may read.
type pushed struct {
	*puller
	repository, digest string
}

func (p *puller) push(name string) pushed {
	p.t.Helper()
	i := pushed{puller: p, repository: p.name + "/" + name}
	var err error
	if i.digest, err = p.registry.Push(p.t.Context(), i.repository, "v1"); err != nil {
		p.t.Fatal("push an image: ", err)
	}
	return i
}

func (i pushed) byTag() string { return i.registry.Host + "/" + i.repository + ":v1" }

func (i pushed) byDigest() string { return i.registry.Host + "/" + i.repository + "@" + i.digest }

// requests returns the requests for the image after the first ones.
func (i pushed) requests(after int) []env.RegistryRequest {
	i.t.Helper()
	all, err := i.registry.Requests(i.t.Context(), i.repository)
	if err != nil {
		i.t.Fatal(err)
	}
	return all[after:]
}

// tagRead reports whether the request resolves the tag, which only Knative's controller
// does; nodes get digests.
func (i pushed) tagRead(r env.RegistryRequest) bool {
	return strings.HasSuffix(r.Path, "/manifests/v1")
}

// digestRead reports whether the request is a node's.
func (i pushed) digestRead(r env.RegistryRequest) bool {
	return strings.HasSuffix(r.Path, "/manifests/"+i.digest)
}

// checkReads checks in the registry's log that it let the account, and nobody else, read
// what the filter matches.
func (i pushed) checkReads(after int, what string, is func(env.RegistryRequest) bool) {
	i.t.Helper()
	granted := 0
	for _, r := range i.requests(after) {
		if r.Granted() && is(r) {
			granted++
			if r.User != i.name {
				i.t.Errorf("registry let %q read %s, want only %s: %s", r.User, what, i.name, r)
			}
		}
	}
	if granted == 0 {
		i.t.Errorf("registry did not let %s read %s of %s: %v", i.name, what, i.repository, i.requests(after))
	}
}

// waitForRejection waits until the registry has rejected a request that matches the
// filter; an empty user means no credential.
func (i pushed) waitForRejection(after int, user string, is func(env.RegistryRequest) bool) {
	i.t.Helper()
	eventually(i.t, func(context.Context) error {
		if slices.ContainsFunc(i.requests(after), func(r env.RegistryRequest) bool { return r.Status == 401 && r.User == user && is(r) }) {
			return nil
		}
		return fmt.Errorf("registry has not rejected %q: %v", user, i.requests(after))
	})
}

// checkNoReads checks that the registry let nobody read the image.
func (i pushed) checkNoReads(after int) {
	i.t.Helper()
	for _, r := range i.requests(after) {
		if r.Granted() {
			i.t.Errorf("registry let %q read the image: %s", r.User, r)
		}
	}
}

// keepOwn creates the tenant's own Secret.
func (n *tenant) keepOwn(secret *corev1.Secret) {
	n.t.Helper()
	if err := n.makeSecret(n.t.Context(), secret); err != nil {
		n.t.Fatal("create a Secret: ", err)
	}
}

// dropOwn deletes it.
func (n *tenant) dropOwn(name string) {
	n.t.Helper()
	if err := n.removeSecret(n.t.Context(), name); err != nil {
		n.t.Fatal("delete a Secret: ", err)
	}
}

// setAccountSecrets is "kubectl patch serviceaccount default" as in Knative's
// documentation: it replaces the list.
func (n *tenant) setAccountSecrets(names ...string) {
	n.t.Helper()
	err := n.changeAccount("default", func([]corev1.LocalObjectReference) (list []corev1.LocalObjectReference) {
		for _, name := range names {
			list = append(list, corev1.LocalObjectReference{Name: name})
		}
		return list
	})
	if err != nil {
		n.t.Fatal("update the ServiceAccount: ", err)
	}
}

// serve creates a Service of the images, the first of which serves requests.
func (n *tenant) serve(name string, images []string, edits ...func(*unstructured.Unstructured)) {
	n.t.Helper()
	var containers []any
	for i, image := range images {
		container := map[string]any{"name": fmt.Sprintf("container-%d", i), "image": image}
		if i == 0 {
			container["ports"] = []any{map[string]any{"containerPort": int64(8080)}}
			// As often as possible, so that a Pod becomes Ready early.
			container["readinessProbe"] = map[string]any{"tcpSocket": map[string]any{"port": int64(0)}, "periodSeconds": int64(1)}
		}
		containers = append(containers, container)
	}
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": n.ns},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"containers": containers}}},
	}}
	for _, edit := range edits {
		edit(service)
	}
	if err := apply(n.t.Context(), n.Env, service); err != nil {
		n.t.Fatal(err)
	}
}

// naming is an edit that writes pull secrets into the template by hand.
func naming(secrets ...string) func(*unstructured.Unstructured) {
	return func(service *unstructured.Unstructured) {
		var refs []any
		for _, name := range secrets {
			refs = append(refs, map[string]any{"name": name})
		}
		set(service, refs, "spec", "template", "spec", "imagePullSecrets")
	}
}

// scalesToZeroSoon is an edit that lets the Revision scale to zero after seconds without
// requests.
func scalesToZeroSoon(service *unstructured.Unstructured) {
	set(service, map[string]any{"autoscaling.knative.dev/window": "6s"}, "spec", "template", "metadata", "annotations")
}

func set(object *unstructured.Unstructured, value any, fields ...string) {
	if err := unstructured.SetNestedField(object.Object, value, fields...); err != nil {
		panic(err) // The tests created the object.
	}
}

// waitForMissing waits until Knative reports for the Service's first Revision that a container
// is missing, with these parts in the message.
func (n *tenant) waitForMissing(service string, parts ...string) {
	const reason = "ContainerMissing"
	n.t.Helper()
	eventually(n.t, func(ctx context.Context) error {
		revision, err := n.Serving.ServingV1().Revisions(n.ns).Get(ctx, service+"-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range revision.Status.Conditions {
			if c.Reason == reason && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(c.Message, part) }) {
				return nil
			}
		}
		return fmt.Errorf("Revision %s has no condition with reason %s and %q: %v", revision.Name, reason, parts, revision.Status.Conditions)
	})
}

// pods returns the Pods of the Service that are not being deleted.
func (n *tenant) pods(service string) []corev1.Pod {
	n.t.Helper()
	pods, err := n.Kube.CoreV1().Pods(n.ns).List(n.t.Context(), metav1.ListOptions{LabelSelector: "serving.knative.dev/service=" + service})
	if err != nil {
		n.t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// waitForPod waits until the Service has exactly one Pod and it satisfies the condition.
func (n *tenant) waitForPod(service, kind string, is func(corev1.Pod) bool) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		pods := n.pods(service)
		if len(pods) == 1 && is(pods[0]) {
			return nil
		}
		var states []string
		for _, pod := range pods {
			for _, c := range pod.Status.ContainerStatuses {
				states = append(states, fmt.Sprintf("%s of %s: ready %t, %+v", c.Name, pod.Name, c.Ready, c.State.Waiting))
			}
		}
		return fmt.Errorf("Service %s has %d Pods, want one that %s: %q", service, len(pods), kind, states)
	})
}

func isReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// cannotPull reports whether the Pod waits for an image that it may not pull.
func cannotPull(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff"}, c.State.Waiting.Reason)
	})
}

// waitForZero waits until the Service has no Pod.
func (n *tenant) waitForZero(service string) {
	n.t.Helper()
	eventually(n.t, func(context.Context) error {
		if pods := n.pods(service); len(pods) > 0 {
			return fmt.Errorf("Service %s still has %d Pods", service, len(pods))
		}
		return nil
	})
}

// scaleFromZero makes the autoscaler start a Pod of the Service's first Revision: by a
// request or, where no Pod would serve it, by the minimal scale.
func (n *tenant) scaleFromZero(service string) {
	n.t.Helper()
	if n.Ingress != nil {
		n.request(service)
		return
	}
	_, err := n.Serving.ServingV1().Revisions(n.ns).Patch(n.t.Context(), service+"-00001", types.MergePatchType,
		encode(annotations("autoscaling.knative.dev/min-scale", "1")), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		n.t.Fatal("scale from zero: ", err)
	}
}

// request sends a request to the Service through the ingress and returns when it is
// answered. Knative's activator holds it until a Pod is Ready.
func (n *tenant) request(name string) {
	n.t.Helper()
	service, err := n.Serving.ServingV1().Services(n.ns).Get(n.t.Context(), name, metav1.GetOptions{})
	if err != nil || service.Status.URL == nil {
		n.t.Fatalf("Service %s has no URL: %v", name, err)
	}
	forward := exec.CommandContext(n.t.Context(), env.Tool(n.t, "kubectl"), "--kubeconfig", n.Kubeconfig,
		"-n", n.Ingress.Namespace, "port-forward", "service/"+n.Ingress.Name, ":80")
	output, err := forward.StdoutPipe()
	if err == nil {
		err = forward.Start()
	}
	if err != nil {
		n.t.Fatal("forward a port to the ingress: ", err)
	}
	defer func() {
		_ = forward.Process.Kill() // It may have exited.
		_ = forward.Wait()         // It was killed.
	}()
	line, err := bufio.NewReader(output).ReadString('\n')
	fields := strings.Fields(line) // Forwarding from 127.0.0.1:PORT -> PORT
	if err != nil || len(fields) < 3 {
		n.t.Fatalf("kubectl port-forward printed %q: %v", line, err)
	}
	eventually(n.t, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+fields[2], nil)
		if err != nil {
			return err
		}
		request.Host = service.Status.URL.Host
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("Service %s answered %s", name, response.Status)
		}
		return nil
	})
}

// waitForAnyCopy waits for a copy with any content.
func (n *tenant) waitForAnyCopy(name string) *corev1.Secret {
	n.t.Helper()
	var found *corev1.Secret
	eventually(n.t, func(context.Context) error {
		if found = n.copyOf(name); found == nil {
			return fmt.Errorf("Secret %s does not exist", name)
		}
		return nil
	})
	return found
}

// deletePods is "kubectl delete pod" of all Pods of the Service.
func (n *tenant) deletePods(service string) {
	n.t.Helper()
	for _, pod := range n.pods(service) {
		if err := n.Kube.CoreV1().Pods(n.ns).Delete(n.t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			n.t.Fatal("delete a Pod: ", err)
		}
	}
}
