// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pullsecrets.dev/prototype/credential-provider/api"
)

const (
	token    = "header.payload.signature"
	password = "the-password"
	request  = `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"ghcr.io/acme/app","serviceAccountToken":"` + token + `"}`
	response = `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","cacheDuration":"10s","auth":{"ghcr.io/acme/app":{"username":"robot","password":"` + password + `"}}}`
)

// serve starts a server, and returns the options to reach it.
func serve(t *testing.T, handler http.HandlerFunc) options {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return options{server: server.URL, serverName: "example.com", caFile: file}
}

func TestTheResponseIsPassedOn(t *testing.T) {
	var got api.Request
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, response)
	})
	var stdout bytes.Buffer
	if err := run(t.Context(), o, strings.NewReader(request), &stdout); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(response+"\n", stdout.String()); diff != "" {
		t.Errorf("standard output (-want, +got):\n%s", diff)
	}
	if got.Image != "ghcr.io/acme/app" || got.ServiceAccountToken != token || got.Kind != api.RequestKind {
		t.Errorf("the server was asked for image %q of kind %q, with the token: %t", got.Image, got.Kind, got.ServiceAccountToken == token)
	}
}

// The kubelet shows the error in its log.
func TestErrorsSayWhatToDo(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, test := range []struct {
		reason, stdin string
		handler       http.HandlerFunc
		change        func(*options)
		want          string
	}{
		{reason: "no JSON", stdin: token, want: "only the kubelet runs this program"},
		{reason: "another version", stdin: strings.Replace(request, "k8s.io/v1", "k8s.io/v1beta1", 1), want: "set this apiVersion"},
		{reason: "no token", stdin: strings.Replace(request, token, "", 1), want: "set tokenAttributes"},
		{reason: "no image", stdin: strings.Replace(request, "ghcr.io/acme/app", "", 1), want: "no image"},
		{reason: "the server rejects it", handler: answer(403, "the token is of another node\nmore"), want: "get credentials for image \"ghcr.io/acme/app\": the server returned 403 Forbidden: the token is of another node"},
		{reason: "another kind", handler: answer(200, strings.Replace(response, "Response", "Request", 1)), want: "returned no CredentialProviderResponse"},
		{reason: "no JSON from the server", handler: answer(200, password), want: "returned no CredentialProviderResponse"},
		{reason: "a redirect", handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, want: "307"},
		{reason: "plain HTTP", change: func(o *options) { o.server = strings.Replace(o.server, "https", "http", 1) }, want: "expected a URL with https://"},
		{reason: "no CA", change: func(o *options) { o.caFile += ".missing" }, want: "-ca-file"},
		{reason: "no certificate of the node", change: func(o *options) { o.clientCert = o.caFile }, want: "-client-cert"},
		{reason: "the certificate of another server", change: func(o *options) { o.serverName = "other.test" }, want: "the server does not answer"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.handler == nil {
				test.handler = answer(200, response)
			}
			if test.stdin == "" {
				test.stdin = request
			}
			o := serve(t, test.handler)
			if test.change != nil {
				test.change(&o)
			}
			var stdout bytes.Buffer
			err := run(t.Context(), o, strings.NewReader(test.stdin), &stdout)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error %q has a secret or a second line", err)
			}
			if stdout.Len() > 0 {
				t.Error("there is output after an error")
			}
		})
	}
}
