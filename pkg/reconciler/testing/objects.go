// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package testing

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// ServiceOption changes a Service under construction.
type ServiceOption func(*servingv1.Service)

// Service returns a Knative Service with one container, whose image has a tag, and whose
// newest Revision is Ready.
func Service(namespace, name string, options ...ServiceOption) *servingv1.Service {
	svc := &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), ResourceVersion: "7", Generation: 1,
		},
	}
	svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: "ghcr.io/acme/app:v1"}}
	WithConfigurationsReady(corev1.ConditionTrue)(svc)
	for _, option := range options {
		option(svc)
	}
	return svc
}

// WithConfigurationsReady sets whether the newest Revision is Ready. A Revision that is
// not Ready never was, and is newer than the one that Service sets.
func WithConfigurationsReady(status corev1.ConditionStatus) ServiceOption {
	return func(svc *servingv1.Service) {
		svc.Status.ObservedGeneration = svc.Generation
		svc.Status.Conditions = duckv1.Conditions{
			{Type: servingv1.ServiceConditionConfigurationsReady, Status: status},
			{Type: apis.ConditionReady, Status: status},
		}
		svc.Status.LatestCreatedRevisionName = svc.Name + "-00002"
		if status == corev1.ConditionTrue {
			svc.Status.LatestCreatedRevisionName = svc.Name + "-00001"
			svc.Status.LatestReadyRevisionName = svc.Status.LatestCreatedRevisionName
		}
	}
}

// NoLongerReady makes the newest Revision fail after it was Ready.
func NoLongerReady(svc *servingv1.Service) {
	latest := svc.Status.LatestReadyRevisionName
	WithConfigurationsReady(corev1.ConditionFalse)(svc)
	svc.Status.LatestCreatedRevisionName = latest
}

// WithPullSecrets sets the list of pull secrets.
func WithPullSecrets(names ...string) ServiceOption {
	return func(svc *servingv1.Service) { svc.Spec.Template.Spec.ImagePullSecrets = refs(names) }
}

// WithAnnotation sets an annotation of the Service.
func WithAnnotation(key, value string) ServiceOption {
	return func(svc *servingv1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

// WithImage sets the image.
func WithImage(image string) ServiceOption {
	return func(svc *servingv1.Service) { svc.Spec.Template.Spec.Containers[0].Image = image }
}

// WithTemplateName sets the name of the Revision.
func WithTemplateName(name string) ServiceOption {
	return func(svc *servingv1.Service) { svc.Spec.Template.Name = name }
}

// WithServiceAccount sets the ServiceAccount.
func WithServiceAccount(name string) ServiceOption {
	return func(svc *servingv1.Service) { svc.Spec.Template.Spec.ServiceAccountName = name }
}

// WithWrite records a write by the controller or the webhook in the managed fields.
func WithWrite(at time.Time) ServiceOption {
	return func(svc *servingv1.Service) {
		svc.ManagedFields = append(svc.ManagedFields, managed(pullsecrets.FieldManager, at))
	}
}

// WithOwnersWrite records a write by the Service's owner in the managed fields.
func WithOwnersWrite(at time.Time) ServiceOption {
	return func(svc *servingv1.Service) { svc.ManagedFields = append(svc.ManagedFields, managed("kubectl", at)) }
}

// NamespaceOption changes a Namespace under construction.
type NamespaceOption func(*corev1.Namespace)

// Namespace returns a Namespace.
func Namespace(name string, options ...NamespaceOption) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	for _, option := range options {
		option(ns)
	}
	return ns
}

// WithNamespaceAnnotation sets an annotation of the Namespace.
func WithNamespaceAnnotation(key, value string) NamespaceOption {
	return func(ns *corev1.Namespace) { metav1.SetMetaDataAnnotation(&ns.ObjectMeta, key, value) }
}

// WithNamespaceLabel sets a label of the Namespace.
func WithNamespaceLabel(key, value string) NamespaceOption {
	return func(ns *corev1.Namespace) { metav1.SetMetaDataLabel(&ns.ObjectMeta, key, value) }
}

// WithNamespaceWrite records a write by the Namespace's owner in the managed fields.
func WithNamespaceWrite(at time.Time) NamespaceOption {
	return func(ns *corev1.Namespace) { ns.ManagedFields = append(ns.ManagedFields, managed("kubectl", at)) }
}

// ServiceAccount returns a ServiceAccount with pull secrets.
func ServiceAccount(namespace, name string, annotations map[string]string, secrets ...string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		ImagePullSecrets: refs(secrets),
	}
}

// ClusterPullSecretOption changes a ClusterPullSecret under construction.
type ClusterPullSecretOption func(*v1alpha1.ClusterPullSecret)

// ClusterPullSecret returns a ClusterPullSecret that is granted to every namespace, and
// whose source pullsecrets-sources/NAME was valid at version 7.
func ClusterPullSecret(name string, options ...ClusterPullSecretOption) *v1alpha1.ClusterPullSecret {
	cps := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 1}}
	cps.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
	cps.Spec.NamespaceSelector = &metav1.LabelSelector{}
	cps.SetDefaults(context.Background())
	cps.Status.InitializeConditions()
	cps.Status.MarkSourceReady()
	cps.Status.Source, cps.Status.ObservedGeneration = &v1alpha1.SourceStatus{ResourceVersion: "7"}, 1
	for _, option := range options {
		option(cps)
	}
	return cps
}

func refs(names []string) []corev1.LocalObjectReference {
	var all []corev1.LocalObjectReference
	for _, name := range names {
		all = append(all, corev1.LocalObjectReference{Name: name})
	}
	return all
}

func managed(manager string, at time.Time) metav1.ManagedFieldsEntry {
	t := metav1.NewTime(at)
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &t}
}
