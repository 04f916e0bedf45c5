// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package trim_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/trim"
)

// canary is a credential that must not be in a cache.
const canary = "canary-7f3a"

// copyWithCanary returns a copy with the canary in every place where a Secret can contain
// one.
func copyWithCanary() *corev1.Secret {
	config := fmt.Sprintf(`{"auths":{"ghcr.io":{"username":"robot","password":%q}}}`, canary)
	encoded := base64.StdEncoding.EncodeToString([]byte(config))
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "ghcr", UID: "uid", ResourceVersion: "21", Finalizers: []string{"example.com/hold"},
			DeletionTimestamp: new(metav1.NewTime(time.Unix(1e9, 0))), DeletionGracePeriodSeconds: new(int64(0)),
			Labels: map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr"},
			Annotations: map[string]string{
				pullsecrets.SourceResourceVersionAnnotation: "7",
				"example.com/note":                          "kept, because an update writes it back",
				corev1.LastAppliedConfigAnnotation:          fmt.Sprintf(`{"data":{".dockerconfigjson":%q},"stringData":{"other":%q}}`, encoded, canary),
			},
			OwnerReferences: []metav1.OwnerReference{{Name: "owner"}},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kubectl", FieldsV1: &metav1.FieldsV1{Raw: fmt.Appendf(nil, `{"f:data":{"f:%s":{}}}`, canary)},
			}},
		},
		Type:       corev1.SecretTypeDockerConfigJson,
		Immutable:  new(true),
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(config), "other": []byte(canary)},
		StringData: map[string]string{"other": canary},
	}
}

// TestSecret checks that a trimmed Secret has everything that is needed to compare and
// write a copy, and no credential.
func TestSecret(t *testing.T) {
	secret := copyWithCanary()
	object, err := trim.Object(secret)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(copyWithCanary(), secret); diff != "" {
		t.Errorf("the object was changed (-before, +after):\n%s", diff)
	}
	want := copyWithCanary()
	want.ManagedFields, want.StringData, want.DeletionGracePeriodSeconds = grant.Keeper("kubectl"), nil, new(int64(-1))
	delete(want.Annotations, corev1.LastAppliedConfigAnnotation)
	for key, value := range want.Data {
		want.Data[key] = []byte(dockerconfig.DigestOf(value))
	}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{string(text), fmt.Sprintf("%+v", object)} {
		for _, spelling := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))} {
			if strings.Contains(kept, spelling) {
				t.Errorf("%s is kept: %s", spelling, kept)
			}
		}
	}
	for key, digest := range object.(*corev1.Secret).Data {
		if strings.Contains(string(digest), canary) {
			t.Errorf("%s is kept in %s", canary, key)
		}
	}
}

// A trimmed Secret shows whether a tool manages its data in a manifest.
func TestKeeperIsKept(t *testing.T) {
	edited := copyWithCanary()
	delete(edited.Annotations, corev1.LastAppliedConfigAnnotation)
	for want, secret := range map[string]*corev1.Secret{"kubectl": copyWithCanary(), "": edited} {
		object, err := trim.Object(secret)
		if err != nil {
			t.Fatal(err)
		}
		before, after := grant.KeptBy(&secret.ObjectMeta), grant.KeptBy(&object.(*corev1.Secret).ObjectMeta)
		if before != want || after != want {
			t.Errorf("The data is kept by %q, and in a cache by %q, want %q", before, after, want)
		}
	}
}

// The digest of a copy equals that of its config, so that both can be compared. A Secret
// without data has none.
func TestDigestOfACopy(t *testing.T) {
	config, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, copyWithCanary().Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason string
		data   map[string][]byte
		want   string
	}{
		{"a copy", map[string][]byte{corev1.DockerConfigJsonKey: config.Copy()}, config.Digest()},
		{"of nothing", nil, ""},
	} {
		object, err := trim.Object(&corev1.Secret{Data: test.data})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(object.(*corev1.Secret).Data[corev1.DockerConfigJsonKey]); got != test.want {
			t.Errorf("%s: the digest is %q, want %q", test.reason, got, test.want)
		}
	}
}

// An informer trims the objects of its first list twice. A digest of a digest would be
// another one, and every copy would be written again at every start.
func TestTrimmingIsIdempotent(t *testing.T) {
	large := map[string]string{"example.com/large": strings.Repeat("x", 256<<10)}
	for _, object := range []runtime.Object{
		copyWithCanary(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", Annotations: map[string]string{pullsecrets.SecretsAnnotation: "ghcr"}}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Annotations: map[string]string{pullsecrets.AddedAnnotation: "{}"}}},
		&servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "full", Annotations: large}},
	} {
		once, err := trim.Object(object)
		if err != nil {
			t.Fatal(err)
		}
		want := once.(runtime.Object).DeepCopyObject()
		twice, err := trim.Object(once)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, twice); diff != "" {
			t.Errorf("%T (-once, +twice):\n%s", object, diff)
		}
	}
}

// Trimmed objects are marked by a grace period that the API server never sets, so objects with
// any other one are trimmed.
func TestObjectsWithAGracePeriodAreTrimmed(t *testing.T) {
	for _, period := range []*int64{nil, new(int64(0)), new(int64(30))} {
		secret := copyWithCanary()
		secret.DeletionGracePeriodSeconds = period
		object, err := trim.Object(secret)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(object.(*corev1.Secret).Data["other"]), canary) {
			t.Errorf("With the grace period %v the credential is kept", period)
		}
	}
}

// Trimmed objects keep the owners of lists that are decided by ownership, including us.
func TestOwnersOfLists(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		entry("argo", `{"f:imagePullSecrets":{},"f:secrets":{}}`), entry("other", `{"f:secrets":{}}`), entry(pullsecrets.FieldManager, `{"f:imagePullSecrets":{}}`),
	}}}
	want := []metav1.ManagedFieldsEntry{entry("argo", `{"f:imagePullSecrets":{}}`), entry(pullsecrets.FieldManager, `{"f:imagePullSecrets":{}}`)}
	object, err := trim.Object(account)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, object.(*corev1.ServiceAccount).ManagedFields); diff != "" {
		t.Errorf("ServiceAccount (-want, +got):\n%s", diff)
	}
	const owned = `{"f:spec":{"f:template":{"f:spec":{"f:imagePullSecrets":{"k:{\"name\":\"x\"}":{}}}}}}`
	if object, err = trim.Object(&servingv1.Service{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{entry(pullsecrets.FieldManager, owned)}}}); err != nil {
		t.Fatal(err)
	}
	if kept := object.(*servingv1.Service).ManagedFields; len(kept) != 1 || kept[0].FieldsV1 == nil || string(kept[0].FieldsV1.Raw) != owned {
		t.Errorf("Of a Service %v is kept, want what the controller owns", kept)
	}
}
