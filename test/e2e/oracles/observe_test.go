// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/e2e/model"
)

func base64Of(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// observe reads the state that the model describes, in terms of the script.
func (s *stage) observe(ctx context.Context) (model.Observation, error) {
	o := model.Observation{}
	for _, ns := range model.Namespaces {
		observed, err := s.observeNamespace(ctx, ns)
		if err != nil {
			return nil, err
		}
		o[ns] = observed
	}
	return o, nil
}

func (s *stage) observeNamespace(ctx context.Context, ns string) (model.Observed, error) {
	o := model.Observed{Services: map[string]model.List{}, Accounts: map[string]model.List{}, Secrets: map[string]model.Secret{}, Referred: model.Set{}}
	list, err := s.Dynamic.Resource(services).Namespace(s.ns(ns)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, err
	}
	for _, object := range list.Items {
		o.Services[object.GetName()] = s.listOf(&object, "spec", "template", "spec", "imagePullSecrets")
	}
	list, err = s.Dynamic.Resource(serviceAccounts).Namespace(s.ns(ns)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, err
	}
	for _, object := range list.Items {
		o.Accounts[object.GetName()] = s.listOf(&object, "imagePullSecrets")
	}
	revisions, err := s.Serving.ServingV1().Revisions(s.ns(ns)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, err
	}
	for _, revision := range revisions.Items {
		for _, ref := range revision.Spec.ImagePullSecrets {
			o.Referred[s.short(ref.Name)] = true
		}
	}
	for _, name := range model.Credentials {
		secret, err := s.Kube.CoreV1().Secrets(s.ns(ns)).Get(ctx, s.name(name), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return o, err
		}
		o.Secrets[name] = model.Secret{
			Value:    password(secret.Data[corev1.DockerConfigJsonKey]),
			Labelled: secret.Labels[pullsecrets.ManagedByLabel] == pullsecrets.ManagedByValue && secret.Labels[pullsecrets.ClusterPullSecretLabel] != "",
		}
	}
	return o, nil
}

func (s *stage) listOf(object *unstructured.Unstructured, path ...string) model.List {
	l := model.List{Generation: int(object.GetGeneration()), Ledger: map[string]string{}}
	refs, _, _ := unstructured.NestedSlice(object.Object, path...)
	for _, ref := range refs {
		name, _, _ := unstructured.NestedString(ref.(map[string]any), "name")
		l.Names = append(l.Names, s.short(name))
	}
	var ledger map[string]string
	if text := object.GetAnnotations()[pullsecrets.AddedAnnotation]; text != "" && json.Unmarshal([]byte(text), &ledger) != nil {
		l.Ledger["unreadable: "+text] = ""
	}
	for name, origin := range ledger {
		l.Ledger[s.short(name)] = origin
	}
	return l
}

// settle waits until the model's check passes. A violation ends it immediately.
func (s *stage) settle(ctx context.Context) error {
	for deadline := time.Now().Add(timeout); ; {
		o, err := s.observe(ctx)
		if err != nil {
			return err
		}
		if broken := s.world.Violations(o); len(broken) > 0 {
			return fmt.Errorf("%s", strings.Join(broken, "\n"))
		}
		missing := s.world.Check(o)
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s still:\n%s", timeout, strings.Join(missing, "\n"))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(glance):
		}
	}
}

// finish waits until all has settled and lets another user send everything again: that
// must never be rejected and must create no Revision.
func (s *stage) finish(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.world.Apply(model.Op{Verb: "settle"})
	before, err := s.observe(ctx)
	if err != nil {
		return err
	}
	for ns, n := range s.world.Namespaces {
		if n.Exclude != "" && n.Exclude != "false" {
			continue // The webhook is not called there.
		}
		for name, service := range n.Services {
			if err := s.reapply(ctx, ns, name); err != nil {
				return fmt.Errorf("unchanged %s of Service %s/%s by another user was rejected: %w", service.Writer, ns, name, err)
			}
			after, err := s.observeNamespace(ctx, ns)
			if err != nil {
				return err
			}
			was, is := before[ns].Services[name], after.Services[name]
			if len(service.Lost) > 0 { // Admission restores the ledger, and the user may remove a name.
				continue
			}
			if fmt.Sprint(was) != fmt.Sprint(is) {
				return fmt.Errorf("unchanged %s of Service %s/%s by another user changed it: %+v was %+v", service.Writer, ns, name, is, was)
			}
		}
	}
	return s.settle(ctx)
}
