// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command plugin is a credential provider plugin for the kubelet. It asks the server for the
// credentials of an image, with the token of the Pod's ServiceAccount and the certificate of the
// node. It reads a CredentialProviderRequest from standard input and writes a
// CredentialProviderResponse to standard output, as k8s.io/kubernetes v1.36.3,
// pkg/credentialprovider/plugin/plugin.go, expects.
//
// A failure ends it with status 1 and one line on standard error, which the kubelet writes to its
// log. An image without a credential is no failure. Neither output ever has the token, and
// standard error never has a credential.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"pullsecrets.dev/prototype/credential-provider/api"
)

const (
	// timeout is less than the minute after which the kubelet kills a plugin (plugin.go:703).
	timeout = 15 * time.Second
	maxSize = 1 << 20
	// maxReason is the length of a reason of the server that is shown.
	maxReason = 512
)

// options are the command line, which is args in the kubelet's CredentialProviderConfig.
type options struct {
	server, serverName, caFile, clientCert string
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "`URL` of the server; nodes do not resolve names of the cluster, so it is that of an address")
	flag.StringVar(&o.serverName, "server-name", "", "`name` in the server's certificate, if it is not the host of -server")
	flag.StringVar(&o.caFile, "ca-file", "", "`file` with the certificate that issued the server's")
	flag.StringVar(&o.clientCert, "client-cert", "", "`file` with the certificate of the node and its key")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	err := run(ctx, o, os.Stdin, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pullsecrets:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, stdin io.Reader, stdout io.Writer) error {
	request, err := read(stdin)
	if err != nil {
		return err
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	response, err := ask(ctx, client, o.server, request)
	if err != nil {
		return fmt.Errorf("get credentials for image %q: %w", request.Image, err)
	}
	return json.NewEncoder(stdout).Encode(response)
}

// read reads the kubelet's request.
func read(stdin io.Reader) (api.Request, error) {
	var request api.Request
	// An error of the decoder could quote the token.
	if json.NewDecoder(io.LimitReader(stdin, maxSize)).Decode(&request) != nil {
		return request, errors.New("standard input is no JSON object: only the kubelet runs this program")
	}
	switch {
	case request.APIVersion != api.Version || request.Kind != api.RequestKind:
		return request, fmt.Errorf("standard input is no %s of %s: set this apiVersion for the provider in the kubelet's CredentialProviderConfig", api.RequestKind, api.Version)
	case request.Image == "":
		return request, errors.New("the request has no image")
	case request.ServiceAccountToken == "":
		return request, errors.New("the request has no token: set tokenAttributes with requireServiceAccount for the provider in the kubelet's CredentialProviderConfig")
	}
	return request, nil
}

// client returns a client that trusts the given certificate alone. It uses no proxy, because
// the address is one of the cluster.
func (o options) client() (*http.Client, error) {
	if !strings.HasPrefix(o.server, "https://") {
		return nil, fmt.Errorf("-server=%q: expected a URL with https://", o.server)
	}
	pem, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: o.serverName, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca-file: %s has no certificate", o.caFile)
	}
	if o.clientCert != "" {
		// The kubelet writes the certificate and its key into one file.
		certificate, err := tls.LoadX509KeyPair(o.clientCert, o.clientCert)
		if err != nil {
			return nil, fmt.Errorf("-client-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: config},
		// The body, which has the token, must not follow to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// ask sends the request to the server.
func ask(ctx context.Context, client *http.Client, server string, request api.Request) (api.Response, error) {
	var response api.Response
	body, err := json.Marshal(request)
	if err != nil {
		return response, err
	}
	sent, err := http.NewRequestWithContext(ctx, http.MethodPost, server, bytes.NewReader(body))
	if err != nil {
		return response, err
	}
	sent.Header.Set("Content-Type", "application/json")
	received, err := client.Do(sent)
	if err != nil {
		return response, fmt.Errorf("the server does not answer: %w", err)
	}
	defer received.Body.Close()
	if received.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(received.Body, maxReason))
		line, _, _ := strings.Cut(string(reason), "\n")
		return response, fmt.Errorf("the server returned %s: %s", received.Status, line)
	}
	// An error of the decoder could quote a credential.
	if json.NewDecoder(io.LimitReader(received.Body, maxSize)).Decode(&response) != nil || response.Kind != api.ResponseKind || response.APIVersion != api.Version {
		return api.Response{}, fmt.Errorf("the server returned no %s of %s", api.ResponseKind, api.Version)
	}
	return response, nil
}
