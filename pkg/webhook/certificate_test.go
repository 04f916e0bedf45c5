// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/system"

	. "pullsecrets.dev/pkg/reconciler/testing"
)

const served, staged = "", nextPrefix

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pair returns the three keys of a certificate that is valid from a given time.
func pair(t *testing.T, prefix string, notBefore time.Time) map[string][]byte {
	t.Helper()
	key, cert, ca, err := create(notBefore, notBefore.Add(lifetime))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{prefix + "server-key.pem": key, prefix + "server-cert.pem": cert, prefix + "ca-cert.pem": ca}
}

// create does what knative.dev/pkg does, at a given time.
func create(notBefore, notAfter time.Time) (key, cert, ca []byte, err error) {
	template := func(isCA bool) *x509.Certificate {
		serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
		return &x509.Certificate{SerialNumber: serial, NotBefore: notBefore, NotAfter: notAfter, IsCA: isCA, BasicConstraintsValid: true, DNSNames: []string{"webhook"}}
	}
	authority, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	private, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := template(true)
	caDER, err3 := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	certDER, err4 := x509.CreateCertificate(rand.Reader, template(false), root, private.Public(), authority)
	keyDER, err5 := x509.MarshalPKCS8PrivateKey(private)
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("PRIVATE KEY", keyDER), encode("CERTIFICATE", certDER), encode("CERTIFICATE", caDER), errors.Join(err1, err2, err3, err4, err5)
}

func joined(all ...map[string][]byte) map[string][]byte {
	data := make(map[string][]byte)
	for _, m := range all {
		maps.Copy(data, m)
	}
	return data
}

func TestDecide(t *testing.T) {
	now := pair(t, served, start)
	end := start.Add(lifetime)
	late := end.Add(-renewal)
	next := pair(t, staged, late)
	other := pair(t, served, start)
	for _, tt := range []struct {
		reason      string
		data        map[string][]byte
		at          time.Time
		unpublished bool
		want        step
		wait        time.Duration
	}{
		{reason: "an empty Secret", at: start, want: replace},
		{reason: "a Secret without its key", data: joined(now, map[string][]byte{"server-key.pem": nil}), at: start, want: replace},
		{reason: "a certificate of another authority", data: joined(now, map[string][]byte{"ca-cert.pem": other["ca-cert.pem"]}), at: start, want: replace},
		{reason: "a fresh certificate", data: now, at: start, want: keep, wait: lifetime - renewal},
		{reason: "a day before expiry", data: now, at: late, want: stage},
		{reason: "the next certificate has just been staged", data: joined(now, next), at: late, want: keep, wait: stagingTime},
		{reason: "the clock is set back", data: joined(now, next), at: start, want: keep, wait: stagingTime},
		{reason: "staged long enough, but not published", data: joined(now, next), at: late.Add(stagingTime), unpublished: true, want: keep, wait: publishedInterval},
		{reason: "staged long enough", data: joined(now, next), at: late.Add(stagingTime), want: promote},
		{reason: "not published, and shortly before expiry", data: joined(now, next), at: end.Add(-forcedPromotion), unpublished: true, want: promote},
		{reason: "the staged certificate is damaged", data: joined(now, next, map[string][]byte{"next-server-cert.pem": []byte("x")}), at: late, want: stage},
		{reason: "the served certificate expired while no replica ran", data: now, at: end, want: replace},
		{reason: "the served certificate expired, the next one did not", data: joined(now, next), at: end, want: promote},
		{reason: "both certificates expired", data: joined(now, next), at: late.Add(lifetime), want: replace},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			got, wait := decide(tt.data, tt.at, func([]byte) bool { return !tt.unpublished })
			if got != tt.want || wait != tt.wait {
				t.Errorf("decide() = %s, %s; want %s, %s", got, wait, tt.want, tt.wait)
			}
		})
	}
}

// Every served certificate verifies against every published bundle, in any order in which
// the controllers and replicas with stale caches act.
func TestEveryReplicaIsTrustedAtAnyTime(t *testing.T) {
	for seed := range uint64(10) {
		random := mathrand.New(mathrand.NewPCG(seed, 0)) //nolint:gosec // The test must be reproducible.
		at := start
		secret := pair(t, served, at)
		published := bundle(secret)
		replicas := []map[string][]byte{secret, secret}
		c := &certificate{now: func() time.Time { return at }, create: func(_ context.Context, notAfter time.Time) ([]byte, []byte, []byte, error) {
			return create(at, notAfter)
		}}
		var rotations int
		for range 500 {
			switch random.IntN(4) {
			case 0:
				at = at.Add(time.Duration(random.IntN(int(10 * time.Minute))))
				if wait := parse(secret, served).NotAfter.Add(-renewal).Sub(at); wait > 0 {
					// Nothing happens in between, and the caches are updated.
					at = at.Add(wait)
					published, replicas[0], replicas[1] = bundle(secret), secret, secret
				}
			case 1:
				trusts := func(ca []byte) bool {
					return (&configuration{webhooks: []registered{{bundle: published}}}).trusts(ca)
				}
				next, _ := decide(secret, at, trusts)
				if next == keep {
					break
				}
				if next == replace {
					t.Fatalf("seed %d: at %s the certificate is replaced without overlap", seed, at)
				}
				if next == promote {
					rotations++
					// A cache is never stale for as long as a rotation takes.
					replicas[0], replicas[1] = secret, secret
				}
				change, err := c.change(t.Context(), next, secret)
				if err != nil {
					t.Fatal(err)
				}
				secret = joined(secret, change)
			case 2:
				published = bundle(secret)
			case 3:
				replicas[random.IntN(2)] = secret
			}
			for i, replica := range append(replicas, secret) {
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(published)
				if _, err := parse(replica, served).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at}); err != nil {
					t.Fatalf("seed %d: at %s replica %d is not trusted: %v", seed, at, i, err)
				}
			}
		}
		if rotations < 2 {
			t.Fatalf("seed %d: %d rotations, want some", seed, rotations)
		}
	}
}

func TestCertificate(t *testing.T) {
	fixed := func(context.Context, time.Time) (key, cert, ca []byte, err error) {
		return []byte("k"), []byte("c"), []byte("a"), nil
	}
	patch := func(text string) []clientgotesting.PatchActionImpl {
		action := clientgotesting.PatchActionImpl{Name: "certs", PatchType: types.MergePatchType, Patch: []byte(text)}
		action.Namespace = system.Namespace()
		return []clientgotesting.PatchActionImpl{action}
	}
	secret := func(data map[string][]byte) *corev1.Secret {
		s := certificateSecret(data)
		s.ResourceVersion = "7"
		return s
	}
	failing := []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.GetVerb() == "patch", nil, errors.New("unavailable")
	}}
	now, late := start, start.Add(lifetime-renewal)
	data := pair(t, served, start)
	const first = `{"data":{"ca-cert.pem":"YQ==","previous-ca-cert.pem":null,"server-cert.pem":"Yw==","server-key.pem":"aw=="},"metadata":{"resourceVersion":"7"}}`
	const second = `{"data":{"next-ca-cert.pem":"YQ==","next-server-cert.pem":"Yw==","next-server-key.pem":"aw=="},"metadata":{"resourceVersion":"7"}}`
	key := fmt.Sprintf("%s/certs", system.Namespace())
	at := map[string]time.Time{"the next one": late, "the API server fails": late}
	knativetesting.TableTest{
		{Name: "the first one", Key: key, Objects: []runtime.Object{secret(nil)}, WantPatches: patch(first)},
		{Name: "nothing to do", Key: key, Objects: []runtime.Object{secret(data)}, WantErr: true}, // It is requeued.
		{Name: "the next one", Key: key, Objects: []runtime.Object{secret(data)}, WantPatches: patch(second)},
		{Name: "no Secret", Key: key},
		{Name: "the API server fails", Key: key, Objects: []runtime.Object{secret(data)}, WantPatches: patch(second), WithReactors: failing, WantErr: true},
	}.Test(t, MakeFactory(func(ctx context.Context, listers *Listers, row *knativetesting.TableRow) controller.Reconciler {
		clock := now
		if other, ok := at[row.Name]; ok {
			clock = other
		}
		key := types.NamespacedName{Namespace: system.Namespace(), Name: "certs"}
		return &certificate{
			LeaderAwareFuncs: promoted(key), key: key, kube: kubeclient.Get(ctx),
			secrets:   corev1listers.NewSecretLister(listers.Indexer(&corev1.Secret{})),
			published: func([]byte) bool { return true },
			create:    fixed, now: func() time.Time { return clock },
		}
	}))
}
