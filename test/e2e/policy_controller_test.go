// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// policyWebhook is the name of both webhook configurations of Sigstore's
// policy-controller, and the prefix of the label for namespaces that it verifies.
const policyWebhook = "policy.sigstore.dev"

// verified is a Namespace whose images policy-controller verifies.
var verified = env.Labelled(policyWebhook+"/include", "true")

// Sigstore's policy-controller verifies a private image with injected pull secrets as with
// those that a user writes into the template: it reads the signature with the credential
// of the copy, and accepts the first Revision. A Service that it rejected becomes Ready
// when its Namespace opts in.
func TestPolicyControllerVerifiesWithInjectedPullSecrets(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.LoopbackCalls)
	p := barePlatform(t)
	registry := startRegistry(t, p.name, "one")
	p.covers(registry.byTag())
	p.grant()
	n := newTenant(t, verified, p.granted(), optedIn(p.name))
	late := newTenant(t, verified, p.granted())
	byHand := newTenant(t, verified)
	byHand.keepOwn(pullSecret(p.name, registry.host, "one"))
	startPolicyController(byHand, registry)

	late.serve("app", []string{registry.byDigest()})
	n.serve("app", []string{registry.byTag()})
	byHand.serve("app", []string{registry.byTag()}, naming(p.name))
	for _, tenant := range []*tenant{n, byHand} {
		tenant.waitForReady("app")
		tenant.checkRevisions("app", 1)
		tenant.checkEvents(revision("app-00001"), "InternalError", 0)
	}
	got, want := n.deployment("app-00001"), byHand.deployment("app-00001")
	if got.Containers[0].Image != want.Containers[0].Image || !equality.Semantic.DeepEqual(got.ImagePullSecrets, want.ImagePullSecrets) {
		t.Errorf("Deployment has image %s and pull secrets %v, and %s and %v where a user wrote them",
			got.Containers[0].Image, got.ImagePullSecrets, want.Containers[0].Image, want.ImagePullSecrets)
	}

	late.waitForEvent(revision("app-00001"), "InternalError", policyWebhook, registry.byDigest())
	late.annotateNamespace(pullsecrets.SecretsAnnotation, p.name)
	late.waitForReady("app")
	late.checkList("app", p.name)
	late.checkRevisions("app", 2)
}

func revision(name string) about { return about{"Revision", name} }

// deployment returns the Pods' spec of a Deployment of a Revision.
func (n *tenant) deployment(revision string) corev1.PodSpec {
	n.t.Helper()
	d, err := n.Kube.AppsV1().Deployments(n.ns).Get(n.t.Context(), revision+"-deployment", metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return d.Spec.Template.Spec
}

// privateRegistry serves an image and its signature to one account.
type privateRegistry struct {
	host, user, password string
	manifests            map[string][]byte // by tag and digest
	digest               string
}

const signedTag = "v1"

func startRegistry(t *testing.T, user, password string) *privateRegistry {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}`
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(manifest)))
	r := &privateRegistry{user: user, password: password, digest: "sha256:" + sum, manifests: map[string][]byte{
		signedTag:                []byte(manifest),
		"sha256:" + sum:          []byte(manifest),
		"sha256-" + sum + ".sig": []byte(manifest),
	}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *privateRegistry) byTag() string    { return r.host + "/app:" + signedTag }
func (r *privateRegistry) byDigest() string { return r.host + "/app@" + r.digest }

// ServeHTTP implements the part of the registry's API that resolves tags.
func (r *privateRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if user, password, _ := request.BasicAuth(); user != r.user || password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	reference, found := strings.CutPrefix(request.URL.Path, "/v2/app/manifests/")
	if !found {
		return // The client asks for the version of the API.
	}
	manifest, found := r.manifests[reference]
	if !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
	w.Header().Set("Docker-Content-Digest", r.digest)
	if _, err := w.Write(manifest); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		panic(http.ErrAbortHandler)
	}
}
