// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command server gives kubelets the credentials that a Namespace is granted and asks for, by the
// rules for copies, without a copy. It is a prototype, see docs/decisions.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

const (
	// published is the ConfigMap with the server's certificate, for nodes.
	published    = "credential-provider-ca"
	publishedKey = "ca.pem"
)

func main() {
	listen := flag.String("listen", ":8443", "`address` for HTTPS")
	name := flag.String("name", "credential-provider."+pullsecrets.SystemNamespace+".svc", "DNS `name` in the certificate")
	audience := flag.String("audience", "credential-provider."+pullsecrets.GroupName, "audience of the tokens")
	cache := flag.Duration("cache", time.Minute, "how long a kubelet may cache a credential")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *listen, *name, *audience, *cache)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, name, audience string, cache time.Duration) error {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	from, err := newAPIServer(cfg, audience)
	if err != nil {
		return err
	}
	nodes, err := certificatesOfNodes(ctx, from.kube)
	if err != nil {
		return err
	}
	certificate, pem, err := selfSigned(name, time.Now())
	if err != nil {
		return err
	}
	if err := publish(ctx, from.kube, pem); err != nil {
		return err
	}
	server := &http.Server{
		Addr: listen, Handler: &handler{cluster: from, cache: cache},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
			// Probes have no certificate, and the handler requires one.
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: nodes,
		},
	}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	log.Printf("listening on %s for audience %s", listen, audience)
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// certificatesOfNodes returns the authorities of the API server's clients, which kubelets are.
func certificatesOfNodes(ctx context.Context, kube kubernetes.Interface) (*x509.CertPool, error) {
	from, err := kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to read the authorities of client certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(from.Data["client-ca-file"])) {
		return nil, errors.New("ConfigMap extension-apiserver-authentication has no client-ca-file")
	}
	return pool, nil
}

// publish writes the server's certificate to a ConfigMap. Whoever installs nodes copies it there.
func publish(ctx context.Context, kube kubernetes.Interface, pem []byte) error {
	wanted := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: published, Namespace: pullsecrets.SystemNamespace},
		Data:       map[string]string{publishedKey: string(pem)},
	}
	maps := kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace)
	_, err := maps.Update(ctx, wanted, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(ctx, wanted, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("failed to publish the certificate: %w", err)
	}
	return nil
}
