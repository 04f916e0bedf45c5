// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
)

const (
	token    = "header.payload.signature"
	request  = `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"ghcr.io/acme/app","serviceAccountToken":"` + token + `"}`
	response = `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","cacheDuration":"1m0s","auth":{"ghcr.io/acme/app":{"username":"robot","password":"p"}}}`
	empty    = `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","cacheDuration":"0s"}`
)

// fake is a cluster with one Namespace, which asks for the ClusterPullSecret ghcr.
type fake struct {
	t        *testing.T
	granted  bool
	expired  bool
	missing  bool
	fails    bool
	released int
}

func (f *fake) review(_ context.Context, got string) (user string, extra map[string][]string, reason string, err error) {
	switch {
	case f.fails:
		return "", nil, "", errors.New("the API server is unavailable")
	case f.expired || got != token:
		return "", nil, "the token is not valid", nil
	}
	return "system:serviceaccount:team-a:default", map[string][]string{"authentication.kubernetes.io/node-name": {"node-1"}}, "", nil
}

func (f *fake) state(_ context.Context, namespace string) (state, error) {
	s := state{settings: config.Default(), namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"team": "a"}, Annotations: map[string]string{pullsecrets.SecretsAnnotation: "ghcr"},
	}}}
	if f.granted {
		s.all = []*v1alpha1.ClusterPullSecret{clusterPullSecret("ghcr", map[string]string{"team": "a"}, "ghcr.io")}
	}
	return s, nil
}

func (f *fake) source(context.Context, *v1alpha1.ClusterPullSecret) (dockerconfig.Config, func(), error) {
	if f.missing {
		return dockerconfig.Config{}, nil, errors.New("it does not exist")
	}
	return parse(f.t, map[string]string{"ghcr.io": "robot"}), func() { f.released++ }, nil
}

func TestHandler(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(before) })
	for _, test := range []struct {
		reason  string
		cluster fake
		node    string
		body    string
		status  int
		want    string
	}{
		{"a credential", fake{granted: true}, "node-1", request, 200, response},
		{"nothing is granted", fake{}, "node-1", request, 200, empty},
		{"the source is missing", fake{granted: true, missing: true}, "node-1", request, 200, empty},
		{"the token is rejected", fake{granted: true, expired: true}, "node-1", request, 401, "the token is not valid"},
		{"no certificate of a node", fake{granted: true}, "", request, 403, "there is no certificate of a node"},
		{"another node", fake{granted: true}, "node-2", request, 403, "the token is of a Pod on node node-1, and the certificate of node node-2"},
		{"no request", fake{granted: true}, "node-1", "{}", 400, "expected a CredentialProviderRequest"},
		{"a failure", fake{fails: true}, "node-1", request, 500, "the server failed"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			test.cluster.t = t
			h := &handler{cluster: &test.cluster, cache: time.Minute}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(test.body))
			if test.node != "" {
				certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "system:node:" + test.node, Organization: []string{"system:nodes"}}}
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}, VerifiedChains: [][]*x509.Certificate{{certificate}}}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status || !strings.HasPrefix(w.Body.String(), test.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.want)
			}
			if test.want == response && test.cluster.released != 1 {
				t.Errorf("the source was released %d times", test.cluster.released)
			}
		})
	}
	if strings.Contains(logged.String(), token) {
		t.Error("the log has a token")
	}
}

// A certificate that was sent and not verified does not count.
func TestTheCertificateMustBeVerified(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "system:node:node-1", Organization: []string{"system:nodes"}}}}}
	if got := certificateOf(r); got != "" {
		t.Errorf("got node %s", got)
	}
}

// The plugin trusts the certificate that the server publishes, under its name.
func TestSelfSigned(t *testing.T) {
	certificate, authority, err := selfSigned("credential-provider.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "credential-provider.test"}}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Body.Close()
}
