// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Keys of the certificate's Secret. Those of the next certificate have a prefix.
const (
	certificateSecret             = "pullsecrets-webhook-certs"
	keyKey, certKey, authorityKey = "server-key.pem", "server-cert.pem", "ca-cert.pem"
	stagedPrefix                  = "next-"
)

// issue creates a CA and a certificate for the webhook, as PEM by key.
func issue(t *testing.T, notBefore, notAfter time.Time) map[string][]byte {
	t.Helper()
	encoded := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	authorityOwn, own := newKey(), newKey()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "e2e"},
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityOwn.Public(), authorityOwn)
	authorityPEM := encoded("CERTIFICATE", der, err)
	name := "webhook." + pullsecrets.SystemNamespace
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames:  []string{name, name + ".svc", name + ".svc.cluster.local"},
		NotBefore: notBefore, NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, own.Public(), authorityOwn)
	certPEM := encoded("CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(own)
	return map[string][]byte{authorityKey: authorityPEM, certKey: certPEM, keyKey: encoded("PRIVATE KEY", der, err)}
}

// rotation makes the webhook serve a certificate of another CA, in the same way as its
// own rotations: the certificate is staged, with ten seconds left of the time that it
// must stay staged.
type rotation struct {
	*tenant
	secrets dynamic.ResourceInterface
	// from are the resourceVersions before it, by collection.
	from map[schema.GroupVersionResource]string
	// was and is are the CAs before and after the rotation.
	was, is []byte
}

var (
	secretsResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	mutatingHooks   = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}
	validatingHooks = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}
)

// configurationsOfOurs are our webhook configurations by their kind.
var configurationsOfOurs = map[schema.GroupVersionResource][]string{
	mutatingHooks:   {"inject.pullsecrets.dev", "bind.pullsecrets.dev", "defaulting.pullsecrets.dev"},
	validatingHooks: {"validation.pullsecrets.dev", "config.pullsecrets.dev"},
}

func (n *tenant) rotateCertificate(validFor time.Duration) {
	n.t.Helper()
	r := &rotation{tenant: n, secrets: n.Dynamic.Resource(secretsResource).Namespace(pullsecrets.SystemNamespace), from: map[schema.GroupVersionResource]string{}}
	for gvr := range configurationsOfOurs {
		r.from[gvr] = r.version(n.Dynamic.Resource(gvr))
	}
	r.from[secretsResource] = r.version(r.secrets)
	secret, err := n.Kube.CoreV1().Secrets(pullsecrets.SystemNamespace).Get(n.t.Context(), certificateSecret, metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	next := issue(n.t, time.Now().Add(10*time.Second-10*time.Minute), time.Now().Add(validFor))
	r.was, r.is = secret.Data[authorityKey], next[authorityKey]
	staged := map[string][]byte{}
	for key, value := range next {
		staged[stagedPrefix+key] = value
	}
	_, err = n.Kube.CoreV1().Secrets(pullsecrets.SystemNamespace).Patch(n.t.Context(), certificateSecret, types.MergePatchType,
		encode(map[string]any{"data": staged}), metav1.PatchOptions{FieldManager: user})
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, func(ctx context.Context) error {
		secret, err := n.Kube.CoreV1().Secrets(pullsecrets.SystemNamespace).Get(ctx, certificateSecret, metav1.GetOptions{})
		if err == nil && !bytes.Equal(secret.Data[certKey], next[certKey]) {
			err = errors.New("the next certificate is not served yet")
		}
		return err
	})
	r.checkOrder(next[certKey])
}

// checkOrder checks in the history of the objects that every configuration trusted both
// CAs before the certificate was served. All objects share one resourceVersion counter in
// etcd.
func (r *rotation) checkOrder(cert []byte) {
	r.t.Helper()
	served := r.first(r.secrets, secretsResource, certificateSecret, func(object *unstructured.Unstructured) bool {
		var secret corev1.Secret
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &secret)
		return err == nil && bytes.Equal(secret.Data[certKey], cert)
	})
	for gvr, names := range configurationsOfOurs {
		for _, name := range names {
			published := r.first(r.Dynamic.Resource(gvr), gvr, name, func(object *unstructured.Unstructured) bool {
				return trusts(object, r.was) && trusts(object, r.is)
			})
			if published >= served {
				r.t.Errorf("%s trusts both CAs from version %d on, but the certificate is served from version %d on", name, published, served)
			}
		}
	}
}

// trusts reports whether all webhooks of a configuration trust a CA.
func trusts(configuration *unstructured.Unstructured, authority []byte) bool {
	webhooks, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
	for _, webhook := range webhooks {
		encoded, _, _ := unstructured.NestedString(webhook.(map[string]any), "clientConfig", "caBundle")
		bundle, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !bytes.Contains(bundle, bytes.TrimSpace(authority)) {
			return false
		}
	}
	return len(webhooks) > 0
}

// version is the resourceVersion of a collection.
func (r *rotation) version(client dynamic.ResourceInterface) string {
	r.t.Helper()
	list, err := client.List(r.t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return list.GetResourceVersion()
}

// first returns the first version of an object since the start for which the condition
// holds.
func (r *rotation) first(client dynamic.ResourceInterface, gvr schema.GroupVersionResource, name string, holds func(*unstructured.Unstructured) bool) uint64 {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), timeout)
	defer cancel()
	w, err := client.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: r.from[gvr]})
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok || !holds(object) {
			continue
		}
		accessor, err := meta.Accessor(object)
		if err != nil {
			r.t.Fatal(err)
		}
		version, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
		if err != nil {
			r.t.Fatal(err)
		}
		return version
	}
	r.t.Fatalf("%s %s never met the condition", gvr.Resource, name)
	return 0
}

// No request bypasses the webhook while its certificate and CA are rotated. After the
// second rotation nothing is left of the initial CA. The requests are dry runs, so the
// controller cannot add what admission missed.
func TestCertificateRotationMissesNoRequest(t *testing.T) {
	n := newTenant(t, optedIn("ghcr"))
	n.waitUntilDeclared("ghcr")
	var wait sync.WaitGroup
	var asked int
	ended := make(chan struct{})
	wait.Go(func() {
		for asked = 0; ; asked++ {
			select {
			case <-ended:
				return
			default:
			}
			a := n.askToCreate("by-digest.yaml", dryRun, named(fmt.Sprint("app-", asked)))
			if a.err != nil || !slices.Equal(pullSecretsOf(a.object), []string{"ghcr"}) {
				t.Errorf("Request %d, %v: the Service has no pull secrets", asked, a.err)
				return
			}
		}
	})
	// The first certificate is about to expire and would be renewed immediately. The
	// second one is valid as long as one of the webhook's own.
	n.rotateCertificate(2 * time.Hour)
	n.rotateCertificate(7 * 24 * time.Hour)
	n.waitUntilDeclared("ghcr")
	close(ended)
	wait.Wait()
	if asked < 10 {
		t.Errorf("only %d requests were sent during the rotation, which are too few", asked)
	}
	t.Logf("%d requests", asked)
}
