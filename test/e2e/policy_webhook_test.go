// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/test/env"
)

// policyController is a stand-in for the webhook of Sigstore's policy-controller 0.15
// (pkg/webhook/validator.go there), which would take minutes to build. It is called for
// the same objects, which Knative Services are not, and reads images with the credentials
// of the same Secrets, by the same library. A policy demands signatures of all images of
// the registry.
type policyController struct {
	*env.Env
	registry *privateRegistry
}

// startPolicyController runs policy-controller until the test ends, and waits until the
// API server calls it.
func startPolicyController(n *tenant, r *privateRegistry) {
	n.t.Helper()
	c := policyController{n.Env, r}
	server := httptest.NewTLSServer(c)
	n.t.Cleanup(func() {
		if err := c.unregister(context.WithoutCancel(n.t.Context())); err != nil {
			n.t.Error("delete the webhooks of policy-controller: ", err)
		}
		server.Close()
	})
	if err := c.register(n.t.Context(), server); err != nil {
		n.t.Fatal("register the webhooks of policy-controller: ", err)
	}
	n.waitForPolicy(r)
}

// waitForPolicy waits until the API server calls both webhooks. A Pod without a
// credential is rejected.
func (n *tenant) waitForPolicy(r *privateRegistry) {
	n.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "is-the-policy-there"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: r.byDigest()}}},
	}
	eventually(n.t, func(ctx context.Context) error {
		_, err := n.Kube.CoreV1().Pods(n.ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), policyWebhook) {
			return fmt.Errorf("a Pod without a credential for its image is not rejected by policy-controller: %w", err)
		}
		return nil
	})
}

// register creates the webhook configurations as in config/500-webhook-configuration.yaml
// of policy-controller, with the rules that it adds.
func (c policyController) register(ctx context.Context, server *httptest.Server) error {
	if err := c.unregister(ctx); err != nil { // A killed test may have left them.
		return err
	}
	included := &metav1.LabelSelector{MatchLabels: map[string]string{policyWebhook + "/include": "true"}}
	operations := []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
	}, {
		Operations: operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "replicasets"}},
	}}
	call := func(path string) admissionregistrationv1.WebhookClientConfig {
		url := server.URL + path
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: certificate}
	}
	meta, versions := metav1.ObjectMeta{Name: policyWebhook}, []string{"v1"}
	_, err := c.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: meta,
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: policyWebhook, NamespaceSelector: included, Rules: rules, ClientConfig: call("/mutations"), AdmissionReviewVersions: versions,
			FailurePolicy: new(admissionregistrationv1.Fail), SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(25)), ReinvocationPolicy: new(admissionregistrationv1.IfNeededReinvocationPolicy),
		}},
	}, metav1.CreateOptions{FieldManager: user})
	if err != nil {
		return err
	}
	_, err = c.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: meta,
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: policyWebhook, NamespaceSelector: included, Rules: rules, ClientConfig: call("/validations"), AdmissionReviewVersions: versions,
			FailurePolicy: new(admissionregistrationv1.Fail), SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(25)),
		}},
	}, metav1.CreateOptions{FieldManager: user})
	return err
}

func (c policyController) unregister(ctx context.Context) error {
	client := c.Kube.AdmissionregistrationV1()
	for _, remove := range []func(context.Context, string, metav1.DeleteOptions) error{
		client.MutatingWebhookConfigurations().Delete, client.ValidatingWebhookConfigurations().Delete,
	} {
		if err := remove(ctx, policyWebhook, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// ServeHTTP answers an admission request.
func (c policyController) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	patch, err := c.admit(request.Context(), request.URL.Path, review.Request)
	switch {
	case err != nil:
		response.Allowed, response.Result = false, &metav1.Status{Code: http.StatusBadRequest, Message: "validation failed: " + err.Error()}
	case len(patch) > 0:
		response.Patch, response.PatchType = encode(patch), new(admissionv1.PatchTypeJSONPatch)
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// admit replaces tags by digests, as far as it may read them, or verifies that all images
// are given by digest and have the signatures that the policy demands.
func (c policyController) admit(ctx context.Context, path string, request *admissionv1.AdmissionRequest) (patch []any, err error) {
	spec, at, err := podSpec(request)
	if err != nil {
		return nil, err
	}
	reader, err := c.reader(ctx, request.Namespace, spec)
	if err != nil {
		return nil, err
	}
	for i, container := range spec.Containers {
		// Releases of Knative name the queue-proxy by digest, in a public registry.
		if container.Name == "queue-proxy" {
			continue
		}
		image, err := name.ParseReference(container.Image)
		if err != nil {
			return nil, err
		}
		_, byDigest := image.(name.Digest)
		if path == "/validations" {
			if !byDigest {
				return nil, fmt.Errorf("%s must be an image digest", container.Image)
			}
			if err := c.verify(ctx, reader, image); err != nil {
				return nil, fmt.Errorf("failed policy: signed: %s: %w", container.Image, err)
			}
		} else if digest, err := reader.digest(ctx, image); err == nil && !byDigest {
			patch = append(patch, map[string]any{"op": "replace", "path": fmt.Sprintf("%s/containers/%d/image", at, i), "value": container.Image + "@" + digest})
		}
	}
	return patch, nil
}

// podSpec returns the Pods' spec in the object of a request, and its place.
func podSpec(request *admissionv1.AdmissionRequest) (spec corev1.PodSpec, at string, err error) {
	if request.Kind.Kind == "Pod" {
		var pod corev1.Pod
		err = json.Unmarshal(request.Object.Raw, &pod)
		return pod.Spec, "/spec", err
	}
	var object struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	err = json.Unmarshal(request.Object.Raw, &object)
	return object.Spec.Template.Spec, "/spec/template/spec", err
}

// verify demands that the signature of an image of the registry can be read.
func (c policyController) verify(ctx context.Context, reader manifestReader, image name.Reference) error {
	if image.Context().RegistryStr() != c.registry.host {
		return nil
	}
	tag := strings.ReplaceAll(image.Identifier(), ":", "-") + ".sig"
	_, err := reader.digest(ctx, image.Context().Tag(tag))
	return err
}

// manifestReader reads manifests with the credentials of Pods.
type manifestReader struct{ authn.Keychain }

// reader returns a reader with the credentials in the pull secrets of Pods and of their
// ServiceAccount.
func (c policyController) reader(ctx context.Context, namespace string, spec corev1.PodSpec) (manifestReader, error) {
	options := kubernetes.Options{Namespace: namespace, ServiceAccountName: spec.ServiceAccountName}
	for _, ref := range spec.ImagePullSecrets {
		options.ImagePullSecrets = append(options.ImagePullSecrets, ref.Name)
	}
	keychain, err := kubernetes.New(ctx, c.Kube, options)
	return manifestReader{keychain}, err
}

// digest returns the digest that a registry has for a reference.
func (r manifestReader) digest(ctx context.Context, image name.Reference) (string, error) {
	authenticator, err := r.Resolve(image.Context())
	if err != nil {
		return "", err
	}
	credential, err := authenticator.Authorization()
	if err != nil {
		return "", err
	}
	url := fmt.Sprintf("%s://%s/v2/%s/manifests/%s", image.Context().Scheme(), image.Context().RegistryStr(), image.Context().RepositoryStr(), image.Identifier())
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, http.NoBody)
	if err != nil {
		return "", err
	}
	if credential.Username != "" {
		request.SetBasicAuth(credential.Username, credential.Password)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HEAD %s: %s", url, response.Status)
	}
	return response.Header.Get("Docker-Content-Digest"), nil
}
