// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/merge"
)

// manifests are objects of a file.
type manifests struct {
	settings explain.Settings
	// namespace is that of manifests that name none.
	namespace  string
	services   []*servingv1.Service
	namespaces map[string]*corev1.Namespace
	accounts   map[string]*corev1.ServiceAccount
	secrets    map[string]map[string]explain.Secret
}

// objectsIn returns the Services of manifests with what belongs to them. What is not in the
// manifests does not exist, except for Namespaces and ServiceAccounts without anything of note.
// Manifests without a namespace are in the given one.
func objectsIn(text []byte, namespace string, now metav1.Time) ([]*explain.Objects, explain.Settings, error) {
	m := manifests{
		namespace:  namespace,
		namespaces: map[string]*corev1.Namespace{}, accounts: map[string]*corev1.ServiceAccount{}, secrets: map[string]map[string]explain.Secret{},
	}
	m.settings.Config = config.Default()
	m.settings.Images, _ = knative.ImagesOf(nil)
	all, err := documentsIn(text)
	if err != nil {
		return nil, m.settings, err
	}
	for _, manifest := range all {
		if err := m.add(manifest); err != nil {
			return nil, m.settings, err
		}
	}
	var objects []*explain.Objects
	for _, svc := range m.services {
		o := &explain.Objects{Settings: m.settings, Service: svc, Namespace: m.namespaces[svc.Namespace], Secrets: m.secrets[svc.Namespace], Now: now}
		if o.Namespace == nil {
			o.Namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: svc.Namespace, Labels: map[string]string{corev1.LabelMetadataName: svc.Namespace}}}
		}
		o.Account = m.accounts[svc.Namespace+"/"+merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)]
		objects = append(objects, o)
	}
	return objects, m.settings, nil
}

// add adds a manifest of a kind that matters.
func (m *manifests) add(manifest map[string]any) error {
	kind, _ := manifest["kind"].(string)
	group, _, _ := strings.Cut(fmt.Sprint(manifest["apiVersion"]), "/")
	var err error
	switch group + " " + kind {
	case "v1 Namespace":
		var o corev1.Namespace
		if err = convert(manifest, &o); err == nil {
			metav1.SetMetaDataLabel(&o.ObjectMeta, corev1.LabelMetadataName, o.Name) // As the API server does.
			m.namespaces[o.Name] = &o
		}
	case "v1 ServiceAccount":
		var o corev1.ServiceAccount
		if err = convert(manifest, &o); err == nil {
			m.accounts[m.namespaceOf(o.Namespace)+"/"+o.Name] = &o
		}
	case "v1 Secret":
		var o corev1.Secret
		if err = convert(manifest, &o); err == nil {
			ns := m.namespaceOf(o.Namespace)
			if m.secrets[ns] == nil {
				m.secrets[ns] = map[string]explain.Secret{}
			}
			m.secrets[ns][o.Name] = factsOf(&o)
		}
	case "v1 ConfigMap":
		err = m.addSettings(manifest)
	case "serving.knative.dev Service":
		o := &servingv1.Service{}
		if err = convert(manifest, o); err == nil {
			o.Namespace = m.namespaceOf(o.Namespace)
			m.services = append(m.services, o)
		}
	case "pullsecrets.dev ClusterPullSecret":
		o := &v1alpha1.ClusterPullSecret{}
		if err = convert(manifest, o); err == nil {
			m.settings.Offered = append(m.settings.Offered, o)
		}
	}
	if err != nil {
		return fmt.Errorf("a %s in the file is not valid", kind) // The cause may quote a credential.
	}
	return nil
}

// addSettings adds one of the two ConfigMaps that matter.
func (m *manifests) addSettings(manifest map[string]any) error {
	var o corev1.ConfigMap
	if err := convert(manifest, &o); err != nil {
		return err
	}
	switch o.Name {
	case config.Name:
		c, err := config.NewFromConfigMap(&o)
		if err != nil {
			return err
		}
		m.settings.Config = c
	case knative.Deployment:
		images, err := knative.ImagesOf(&o)
		if err != nil {
			return err
		}
		m.settings.Images = images
	}
	return nil
}

// namespaceOf returns the namespace of a manifest, which may have none.
func (m *manifests) namespaceOf(namespace string) string { return cmp.Or(namespace, m.namespace) }
