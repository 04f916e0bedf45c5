// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	certresources "knative.dev/pkg/webhook/certificates/resources"
)

// The Secret holds what is served under the keys of knative.dev/pkg, whose server
// reads them. A certificate that is to be served next is staged under the same keys
// with the prefix next, and the authority before the present one is kept.
const (
	nextPrefix  = "next-"
	previousKey = "previous-" + certresources.CACert
)

const (
	// lifetime is how long a certificate and its authority are valid.
	lifetime = 7 * 24 * time.Hour
	// renewal is how long before the end the next certificate is staged.
	renewal = 24 * time.Hour
	// settling is how long the next certificate stays staged, so that every API
	// server has seen its authority in the configurations, and so that their clocks
	// may lag.
	settling = 10 * time.Minute
	// lastResort is how long before the end of the certificate the next one is
	// served whether or not its authority is published.
	lastResort = time.Hour
	// publication is after what time it is checked again whether it is.
	publication = 5 * time.Second
)

// authorities makes a certificate of the webhook's Service and its authority.
type authorities func(ctx context.Context, notAfter time.Time) (key, cert, ca []byte, err error)

// certificate keeps the certificate that the webhook serves. knative.dev/pkg has a
// controller for that, which replaces certificate and authority at once: until the
// new authority is in the configurations, the API server then trusts no replica.
// Here the order is: publish the next authority, serve the next certificate, and
// drop the authority before it with the rotation after that.
type certificate struct {
	reconciler.LeaderAwareFuncs

	key       types.NamespacedName
	kube      kubernetes.Interface
	secrets   corev1listers.SecretLister
	published func(authority []byte) bool
	create    authorities
	now       func() time.Time
}

var (
	_ controller.Reconciler  = (*certificate)(nil)
	_ reconciler.LeaderAware = (*certificate)(nil)
)

// Reconcile implements controller.Reconciler.
func (c *certificate) Reconcile(ctx context.Context, key string) error {
	if !c.IsLeaderFor(c.key) {
		return controller.NewSkipKey(key)
	}
	secret, err := c.secrets.Secrets(c.key.Namespace).Get(c.key.Name)
	if apierrors.IsNotFound(err) {
		// The manifest makes it, and that is an event.
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to get the certificate: %w", err)
	}
	next, wait := decide(secret.Data, c.now(), c.published)
	if next == keep {
		return controller.NewRequeueAfter(wait)
	}
	data, err := c.change(ctx, next, secret.Data)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": secret.ResourceVersion},
		"data":     data,
	})
	if err != nil {
		return fmt.Errorf("failed to encode the certificate: %w", err)
	}
	logging.FromContext(ctx).Infow("Writing the certificate", "step", next)
	if _, err := c.kube.CoreV1().Secrets(c.key.Namespace).Patch(ctx, c.key.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("failed to write the certificate: %w", err)
	}
	return nil
}

// step is what becomes of the Secret.
type step string

const (
	// keep changes nothing.
	keep step = "keep"
	// replace makes a certificate and serves it at once: there is none that works.
	replace step = "replace"
	// stage makes the next certificate and publishes its authority.
	stage step = "stage"
	// promote serves the next certificate.
	promote step = "promote"
)

// decide returns the next step, and after what time to decide again.
func decide(data map[string][]byte, now time.Time, published func(authority []byte) bool) (step, time.Duration) {
	served, staged := parse(data, ""), parse(data, nextPrefix)
	if staged != nil && !now.Before(staged.NotAfter) {
		staged = nil
	}
	if served == nil || !now.Before(served.NotAfter) {
		if staged != nil {
			return promote, 0
		}
		return replace, 0
	}
	if staged == nil {
		if wait := served.NotAfter.Add(-renewal).Sub(now); wait > 0 {
			return keep, wait
		}
		return stage, 0
	}
	if !now.Before(served.NotAfter.Add(-lastResort)) {
		return promote, 0
	}
	if wait := staged.NotBefore.Add(settling).Sub(now); wait > 0 {
		return keep, min(wait, settling)
	}
	if !published(data[nextPrefix+certresources.CACert]) {
		return keep, publication
	}
	return promote, 0
}

// change returns the keys of the Secret that a step sets, or removes with nil.
func (c *certificate) change(ctx context.Context, next step, data map[string][]byte) (map[string][]byte, error) {
	change := make(map[string][]byte)
	if next == promote {
		for _, key := range []string{certresources.ServerKey, certresources.ServerCert, certresources.CACert} {
			change[key], change[nextPrefix+key] = data[nextPrefix+key], nil
		}
		change[previousKey] = data[certresources.CACert]
		return change, nil
	}
	key, cert, ca, err := c.create(ctx, c.now().Add(lifetime))
	if err != nil {
		return nil, fmt.Errorf("failed to create a certificate: %w", err)
	}
	prefix := ""
	if next == stage {
		prefix = nextPrefix
	} else {
		change[previousKey] = data[certresources.CACert]
	}
	change[prefix+certresources.ServerKey], change[prefix+certresources.ServerCert], change[prefix+certresources.CACert] = key, cert, ca
	return change, nil
}

// parse returns the certificate under the keys with a prefix, or nil if there is
// none that can be served and that the authority beside it has signed.
func parse(data map[string][]byte, prefix string) *x509.Certificate {
	pair, err := tls.X509KeyPair(data[prefix+certresources.ServerCert], data[prefix+certresources.ServerKey])
	if err != nil {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data[prefix+certresources.CACert]) {
		return nil
	}
	cert := pair.Leaf
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: cert.NotAfter.Add(-time.Second)}); err != nil {
		return nil
	}
	return cert
}

// bundle is what the API server is to trust, by the Secret: the authorities of what
// is served, of what is served next, and of what a replica with a stale cache may
// still serve. It is empty while nothing is served.
func bundle(data map[string][]byte) []byte {
	if len(data[certresources.CACert]) == 0 {
		return nil
	}
	var all []byte
	for _, key := range []string{certresources.CACert, nextPrefix + certresources.CACert, previousKey} {
		authority := bytes.TrimSpace(data[key])
		if len(authority) > 0 && !bytes.Contains(all, authority) {
			all = append(append(all, authority...), '\n')
		}
	}
	return all
}
