// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func probeAPIServer(ctx context.Context, config *rest.Config) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (p *pki) probeEtcd(ctx context.Context, url string) error {
	certificate, err := tls.LoadX509KeyPair(p.path("etcd-client.crt"), p.path("etcd-client.key"))
	if err != nil {
		return err
	}
	return get(ctx, url+"/health", &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}})
}

// probe sends a request like a kubelet's: it verifies no certificate, and its user agent
// lets webhooks distinguish it from admission reviews.
func probe(ctx context.Context, url string) error {
	return get(ctx, url, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // As kubelets do, and on loopback.
}

func get(ctx context.Context, url string, config *tls.Config) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/local")
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s returned %s", url, response.Status)
	}
	return nil
}
