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

func secret(version, registry string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, ResourceVersion: version},
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
			s := secret("7", "docker.io")
			test.edit(s)
			facts, err := NewReader(fake.NewClientset(s)).Read(t.Context(), ref)
			if test.target == nil {
				if err != nil || facts.ResourceVersion != "7" || facts.Digest == "" || len(facts.Registries) != 2 {
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
		return secret("7", "ghcr.io"), nil
	}
	const holders = 20
	var all sync.WaitGroup
	releases := make(chan func(), holders)
	for range holders {
		all.Go(func() {
			config, facts, release, err := r.Hold(t.Context(), ref, "7")
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
	if _, err := r.Facts(t.Context(), ref, "7"); err != nil || reads.Load() != 1 {
		t.Errorf("Facts that are known were read again: %d reads, %v", reads.Load(), err)
	}
	if _, err := r.Facts(t.Context(), ref, "8"); err != nil || reads.Load() != 2 || len(r.held) != 0 {
		t.Errorf("Facts of another version: %d reads, %d held, %v; want 2 and 0", reads.Load(), len(r.held), err)
	}
}

// A failed read is not shared with later callers, who retry.
func TestHoldAfterAFailure(t *testing.T) {
	fail := errors.New("away")
	r := NewReader(nil)
	r.get = func(context.Context, v1alpha1.SecretReference) (*corev1.Secret, error) {
		return secret("7", "ghcr.io"), fail
	}
	if _, _, _, err := r.Hold(t.Context(), ref, "7"); !errors.Is(err, fail) || len(r.held) != 0 {
		t.Errorf("Hold: %v, %d held; want the failure and nothing held", err, len(r.held))
	}
	fail = nil
	_, _, release, err := r.Hold(t.Context(), ref, "7")
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
	if _, _, _, err := r.Hold(ctx, ref, "9"); !errors.Is(err, context.Canceled) {
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
		r.Know(ref, "7", Facts{ResourceVersion: "7"})
	}
	r.Keep(Named([]*v1alpha1.ClusterPullSecret{named, named}))
	if _, known := r.Known(ref, "7"); !known || len(r.known) != 1 {
		t.Errorf("%d sources are known, that which is named among them: %t; want that one alone", len(r.known), known)
	}
}
