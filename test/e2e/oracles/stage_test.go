// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/e2e/model"
	"pullsecrets.dev/test/env"
)

const (
	// timeout is how long to wait for an expected state. It costs time only if a test
	// fails.
	timeout = 75 * time.Second
	glance  = 100 * time.Millisecond
	// host is a registry for which Knative skips tag resolution.
	host     = "registry.example.com"
	byDigest = host + "/app@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	editor   = "e2e-editor"
)

// stage runs one script: a world and the real objects behind its names.
type stage struct {
	*env.Env
	bob    *env.Env
	cps    versioned.Interface
	prefix string
	world  *model.World
	done   model.Script
}

func newStage(ctx context.Context, t *testing.T) (*stage, error) {
	e := env.Get(t)
	cps, err := versioned.NewForConfig(e.Config)
	if err != nil {
		return nil, err
	}
	bob, err := e.As("bob", "system:masters")
	if err != nil {
		return nil, err
	}
	s := &stage{Env: e, bob: bob, cps: cps, prefix: "m" + rand.String(6), world: model.New()}
	for _, credential := range model.Credentials {
		if err := s.keepSource(ctx, credential, "v0"); err != nil {
			return s, err
		}
	}
	for _, name := range model.Namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns(name)}}
		if _, err := e.Kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			return s, err
		}
		for _, account := range model.Accounts[1:] {
			if err := s.account(ctx, name, account, nil); err != nil {
				return s, err
			}
		}
		err := wait.PollUntilContextTimeout(ctx, glance, timeout, true, func(ctx context.Context) (bool, error) {
			_, err := e.Kube.CoreV1().ServiceAccounts(s.ns(name)).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, nil
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// strike deletes the objects of the stage.
func (s *stage) strike(ctx context.Context) {
	for _, name := range model.Namespaces {
		_ = s.Kube.CoreV1().Namespaces().Delete(ctx, s.ns(name), metav1.DeleteOptions{})
	}
	for _, name := range model.Credentials {
		_ = s.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(ctx, s.name(name), metav1.DeleteOptions{})
		_ = s.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(ctx, s.name(name), metav1.DeleteOptions{})
	}
}

func (s *stage) ns(name string) string { return s.prefix + "-" + name }

// name returns the real name of a pull secret: those of credentials are unique to the
// stage.
func (s *stage) name(name string) string {
	if slices.Contains(model.Credentials, name) {
		return s.prefix + "-" + name
	}
	return name
}

// short returns the name in the script.
func (s *stage) short(name string) string { return strings.TrimPrefix(name, s.prefix+"-") }

func (s *stage) names(list []string) []string {
	full := make([]string, 0, len(list))
	for _, name := range list {
		full = append(full, s.name(name))
	}
	return full
}

func refs(names []string) []any {
	list := make([]any, 0, len(names))
	for _, name := range names {
		list = append(list, map[string]any{"name": name})
	}
	return list
}

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Nothing here is unknown to JSON.
	}
	return text
}

// dockerConfig returns a credential for a registry.
func dockerConfig(registry, password string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte("user:" + password))
	return encode(map[string]any{"auths": map[string]any{registry: map[string]any{"auth": auth}}})
}

// password returns the password in a docker config.
func password(config []byte) string {
	var parsed struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return "unreadable"
	}
	for _, entry := range parsed.Auths {
		auth, _ := base64.StdEncoding.DecodeString(entry.Auth)
		_, password, _ := strings.Cut(string(auth), ":")
		return password
	}
	return "empty"
}

// keepSource creates or replaces the source; the value "" makes it invalid.
func (s *stage) keepSource(ctx context.Context, credential, value string) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: s.name(credential)},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(host, value)},
	}
	if value == "" {
		secret.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"` + host + `":{"auth":"?"}}}`)
	}
	client := s.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace)
	_, err := client.Update(ctx, secret, metav1.UpdateOptions{FieldManager: editor})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, secret, metav1.CreateOptions{FieldManager: editor})
	}
	return err
}

// credential performs an operation on a ClusterPullSecret.
func (s *stage) credential(ctx context.Context, name, what string) error {
	client := s.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	switch what {
	case "create":
		object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: s.name(name)}}
		object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: s.name(name)}
		object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{s.label(name): "on"}}
		var last error
		err := wait.PollUntilContextTimeout(ctx, glance, timeout, true, func(ctx context.Context) (bool, error) {
			_, last = client.Create(ctx, object, metav1.CreateOptions{FieldManager: editor})
			if apierrors.IsAlreadyExists(last) {
				return false, nil // The previous one is still being deleted.
			}
			return last == nil, last
		})
		return errors.Join(err, last)
	case "delete":
		return client.Delete(ctx, s.name(name), metav1.DeleteOptions{})
	}
	var always any
	if what == "always" {
		always = map[string]any{"services": true, "serviceAccounts": []any{"runner"}}
	}
	_, err := client.Patch(ctx, s.name(name), types.MergePatchType, encode(map[string]any{"spec": map[string]any{"always": always}}), metav1.PatchOptions{FieldManager: editor})
	return err
}

// label returns the label that a credential's selector matches.
func (s *stage) label(credential string) string { return "e2e.test/grant-" + s.name(credential) }

// manifest returns the user's manifest of the Service.
func (s *stage) manifest(ns, name string) *unstructured.Unstructured {
	service := s.world.Namespaces[ns].Services[name]
	spec := map[string]any{"containers": []any{map[string]any{
		"image": byDigest,
		"env":   []any{map[string]any{"name": "VERSION", "value": fmt.Sprint(service.Version)}},
	}}}
	if len(service.Own) > 0 {
		spec["imagePullSecrets"] = refs(s.names(service.Own))
	} else if service.Writer == "patch" {
		spec["imagePullSecrets"] = nil // A merge patch without the field would remove nothing.
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": s.ns(ns)},
		"spec":     map[string]any{"template": map[string]any{"spec": spec}},
	}}
	annotations := map[string]string{}
	if len(service.Secrets) > 0 {
		annotations[pullsecrets.SecretsAnnotation] = strings.Join(s.names(service.Secrets), ",")
	}
	if service.Inject != "" {
		annotations[pullsecrets.InjectAnnotation] = service.Inject
	}
	if len(annotations) > 0 {
		object.SetAnnotations(annotations)
	}
	return object
}
