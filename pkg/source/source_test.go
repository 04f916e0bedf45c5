// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
)

var ref = v1alpha1.SecretReference{Namespace: "sources", Name: "ghcr"}

func secret(registry string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, ResourceVersion: "7"},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":"robot","password":"canary"}}}`, registry)},
	}
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		reason string
		edit   func(*corev1.Secret)
		target any
	}{
		{"good", func(*corev1.Secret) {}, nil},
		{"of another name", func(s *corev1.Secret) { s.Name = "other" }, new(*NotFoundError)},
		{"of another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, new(*dockerconfig.WrongTypeError)},
		{"malformed", func(s *corev1.Secret) { s.Data[corev1.DockerConfigJsonKey] = []byte("x") }, new(*dockerconfig.InvalidError)},
		{"a copy", func(s *corev1.Secret) {
			s.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr"}
		}, new(*CopyError)},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s := secret("docker.io")
			test.edit(s)
			facts, err := NewReader(fake.NewClientset(s)).Read(t.Context(), Scope{Ref: ref})
			if test.target == nil {
				if err != nil || facts.ResourceVersion != "7" || facts.Digest == "" || len(facts.Registries) != 2 || len(facts.Credentials) != 2 {
					t.Errorf("Read = %+v, %v; want the facts of what copies hold", facts, err)
				}
				return
			}
			if !errors.As(err, test.target) {
				t.Errorf("Read says %v, want a %T", err, test.target)
			}
		})
	}
}

// Concurrent callers for one version share one read, and the credential is dropped when
// the last of them releases it.
func TestHoldIsShared(t *testing.T) {
	var reads atomic.Int32
	arrived := make(chan struct{})
	r := NewReader(nil)
	r.get = func(context.Context, v1alpha1.SecretReference) (*corev1.Secret, error) {
		reads.Add(1)
		<-arrived
		return secret("ghcr.io"), nil
	}
	const holders = 20
	var all sync.WaitGroup
	releases := make(chan func(), holders)
	for range holders {
		all.Go(func() {
			config, facts, release, err := r.Hold(t.Context(), Scope{Ref: ref}, "7")
			if err != nil || !config.Covers("ghcr.io/acme/app") || facts.ResourceVersion != "7" {
				t.Errorf("Hold = %v, %+v, %v", config, facts, err)
				return
			}
			releases <- release
		})
	}
	close(arrived)
	all.Wait()
	if got := reads.Load(); got != 1 {
		t.Errorf("The source was read %d times, want once", got)
	}
	close(releases)
	for release := range releases {
		if len(r.held) != 1 {
			t.Fatal("The credential was dropped while a caller held it")
		}
		release()
		release() // Twice is once.
	}
	if len(r.held) != 0 {
		t.Errorf("%d credentials are still held", len(r.held))
	}
	if _, err := r.Facts(t.Context(), Scope{Ref: ref}, "7"); err != nil || reads.Load() != 1 {
		t.Errorf("Facts that are known were read again: %d reads, %v", reads.Load(), err)
	}
	if _, err := r.Facts(t.Context(), Scope{Ref: ref}, "8"); err != nil || reads.Load() != 2 || len(r.held) != 0 {
		t.Errorf("Facts of another version: %d reads, %d held, %v; want 2 and 0", reads.Load(), len(r.held), err)
	}
}

// A failed read is not shared with later callers, who retry.
func TestHoldAfterAFailure(t *testing.T) {
	fail := errors.New("away")
	r := NewReader(nil)
	r.get = func(context.Context, v1alpha1.SecretReference) (*corev1.Secret, error) {
		return secret("ghcr.io"), fail
	}
	if _, _, _, err := r.Hold(t.Context(), Scope{Ref: ref}, "7"); !errors.Is(err, fail) || len(r.held) != 0 {
		t.Errorf("Hold: %v, %d held; want the failure and nothing held", err, len(r.held))
	}
	fail = nil
	_, _, release, err := r.Hold(t.Context(), Scope{Ref: ref}, "7")
	if err != nil {
		t.Fatal(err)
	}
	release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	block := make(chan struct{})
	defer close(block)
	r.get = func(context.Context, v1alpha1.SecretReference) (*corev1.Secret, error) {
		<-block
		return nil, errors.New("late")
	}
	if _, _, _, err := r.Hold(ctx, Scope{Ref: ref}, "9"); !errors.Is(err, context.Canceled) {
		t.Errorf("Hold with a canceled context: %v", err)
	}
}

// Sources that no ClusterPullSecret refers to are forgotten.
func TestKeep(t *testing.T) {
	r := NewReader(nil)
	named := &v1alpha1.ClusterPullSecret{}
	named.Spec.SecretRef = ref
	other := v1alpha1.SecretReference{Namespace: "sources", Name: "quay"}
	for _, ref := range []v1alpha1.SecretReference{ref, other} {
		r.Know(Scope{Ref: ref}, "7", Facts{ResourceVersion: "7"})
	}
	r.Keep([]*v1alpha1.ClusterPullSecret{named, named})
	if _, known := r.Known(Scope{Ref: ref}, "7"); !known || len(r.known) != 1 {
		t.Errorf("%d sources are known, that which is named among them: %t; want that one alone", len(r.known), known)
	}
}

// Two ClusterPullSecrets with one source and different registries have different contents,
// whatever the order and the repetition of the registries.
func TestScopes(t *testing.T) {
	scoped := func(registries ...string) Scope {
		cps := &v1alpha1.ClusterPullSecret{}
		cps.Spec.SecretRef, cps.Spec.Registries = ref, registries
		return ScopeOf(cps)
	}
	if scoped("ghcr.io/b", "ghcr.io/a", "ghcr.io/b") != scoped("ghcr.io/a", "ghcr.io/b") || scoped() != (Scope{Ref: ref}) {
		t.Error("the order of registries matters")
	}
	r := NewReader(fake.NewClientset(secret("ghcr.io")))
	digests := map[string]bool{}
	for _, scope := range []Scope{scoped(), scoped("ghcr.io/a"), scoped("ghcr.io/a", "ghcr.io/b")} {
		config, facts, release, err := r.Hold(t.Context(), scope, "7")
		if err != nil || !config.Covers("ghcr.io/a/app") {
			t.Fatalf("Hold(%v) = %v, %v", scope, config, err)
		}
		digests[facts.Digest] = true
		if known, ok := r.Known(scope, "7"); !ok || known.Digest != facts.Digest || config.Covers("ghcr.io/other/app") != (scope == scoped()) {
			t.Errorf("of %v, %v is known: %+v, %t", scope, config, known, ok)
		}
		release()
	}
	if len(digests) != 3 {
		t.Errorf("%d different digests, want 3", len(digests))
	}
	if _, err := r.Read(t.Context(), scoped("quay.io")); !errors.As(err, new(*dockerconfig.UncoveredError)) {
		t.Errorf("for a registry that is not covered, Read says %v", err)
	}
}
