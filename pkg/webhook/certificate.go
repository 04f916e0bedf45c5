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

// The Secret holds the served certificate under the keys of knative.dev/pkg, whose server
// reads them. The next certificate is staged under the same keys with the prefix next.
// The previous authority is kept.
const (
	nextPrefix  = "next-"
	previousKey = "previous-" + certresources.CACert
)

const (
	// lifetime is the validity of a certificate and its authority.
	lifetime = 7 * 24 * time.Hour
	// renewal is how long before expiry the next certificate is staged.
	renewal = 24 * time.Hour
	// stagingTime is how long the next certificate stays staged, so that every API server
	// has seen its authority in the webhook configurations, and to tolerate clock skew.
	stagingTime = 10 * time.Minute
	// forcedPromotion is how long before expiry the next certificate is served even if
	// its authority is not published.
	forcedPromotion = time.Hour
	// publishedInterval is the interval between checks whether the authority is
	// published.
	publishedInterval = 5 * time.Second
)

// authorities creates a certificate of the webhook's Service and its authority.
type authorities func(ctx context.Context, notAfter time.Time) (key, cert, ca []byte, err error)

// certificate manages the certificate that the webhook serves. The controller in
// knative.dev/pkg replaces certificate and authority at once: until the new authority is
// in the configurations, the API server trusts no replica. This one publishes the next
// authority, then serves the next certificate, and removes the previous authority at the
// following rotation.
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
		// The manifest creates it, which causes an event.
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

// step is a change of the Secret.
type step string

const (
	// keep changes nothing.
	keep step = "keep"
	// replace creates a certificate and serves it immediately, because there is no valid
	// one.
	replace step = "replace"
	// stage creates the next certificate and publishes its authority.
	stage step = "stage"
	// promote serves the next certificate.
	promote step = "promote"
)

// decide returns the next step, and the delay before the next decision.
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
	if !now.Before(served.NotAfter.Add(-forcedPromotion)) {
		return promote, 0
	}
	if wait := staged.NotBefore.Add(stagingTime).Sub(now); wait > 0 {
		return keep, min(wait, stagingTime)
	}
	if !published(data[nextPrefix+certresources.CACert]) {
		return keep, publishedInterval
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

// parse returns the certificate under the keys with a prefix, or nil if it cannot be
// served or is not signed by the authority beside it.
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

// bundle returns the authorities that the API server must trust: those of the served
// certificate, of the next one, and of the previous one, which a replica with a stale
// cache may still serve. It is empty if no certificate is served.
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
