// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package trim reduces the memory of caches: of each object, informers keep only what the
// programs read. Annotations of tenants are truncated here, before any other use.
package trim

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
)

// Object is a transform for informers (cache.TransformFunc) of Services, Revisions, Namespaces,
// ServiceAccounts and Secrets. Cached objects of the first four are never written back,
// because every write is a patch, so nothing is lost. A cached Secret is a copy, which the
// controller owns as a whole.
//
// An informer may transform an object twice, and does so with the objects of its first
// list. A trimmed object is not changed.
func Object(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok && isTrimmed(o) {
		return object, nil
	}
	switch o := object.(type) {
	case *servingv1.Service:
		return trimService(o), nil
	case *servingv1.Revision:
		return trimRevision(o), nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: trimMeta(annotation.OnNamespace, o.ObjectMeta, o.Labels, whoDeclares)}, nil
	case *corev1.Secret:
		return trimSecret(o), nil
	case *corev1.ServiceAccount:
		t := &corev1.ServiceAccount{ObjectMeta: trimMeta(annotation.OnServiceAccount, o.ObjectMeta, unused(annotation.OnServiceAccount, true, o.Labels), ownersOfAccountList), ImagePullSecrets: o.ImagePullSecrets}
		markFull(&t.ObjectMeta, o.Annotations)
		return t, nil
	}
	return object, nil
}

// mark is the deletion grace period of trimmed objects. No object on the API server has
// it: only the API server sets grace periods, and none is negative.
const mark = -1

func isTrimmed(o metav1.Object) bool {
	period := o.GetDeletionGracePeriodSeconds()
	return period != nil && *period == mark
}

// full marks a trimmed Service or ServiceAccount whose annotations had no room for a
// ledger. No object on the API server has it.
const full = "trim." + pullsecrets.GroupName + "/full"

// IsFull reports whether the annotations of a Service or a ServiceAccount, trimmed or not,
// have no room for a ledger.
func IsFull(o metav1.Object) bool {
	_, marked := o.GetAnnotations()[full]
	return marked || isFull(o.GetAnnotations())
}

// isFull counts the existing ledger. One that is too long is read as empty and would be
// replaced.
func isFull(annotations map[string]string) bool {
	return !merge.HasRoom(annotations, merge.CutLedger(annotations[pullsecrets.AddedAnnotation]))
}

func markFull(trimmed *metav1.ObjectMeta, annotations map[string]string) {
	if isFull(annotations) {
		metav1.SetMetaDataAnnotation(trimmed, full, "")
	}
}

func trimService(o *servingv1.Service) *servingv1.Service {
	t := &servingv1.Service{ObjectMeta: trimMeta(annotation.OnService, o.ObjectMeta, unused(annotation.OnService, true, o.Labels), ownersOfList)}
	markFull(&t.ObjectMeta, o.Annotations)
	t.Generation = o.Generation
	t.Spec.Template.Name = o.Spec.Template.Name
	t.Spec.Template.Annotations = unused(annotation.OnTemplate, false, o.Spec.Template.Annotations)
	t.Spec.Template.Labels = unused(annotation.OnTemplate, true, o.Spec.Template.Labels)
	spec, from := &t.Spec.Template.Spec, &o.Spec.Template.Spec
	spec.ServiceAccountName = from.ServiceAccountName
	spec.ImagePullSecrets = from.ImagePullSecrets
	spec.Containers, spec.InitContainers, spec.Volumes = images(from.Containers), images(from.InitContainers), imageVolumes(from.Volumes)
	t.Status.ObservedGeneration = o.Status.ObservedGeneration
	t.Status.Conditions = o.Status.Conditions
	t.Status.LatestReadyRevisionName = o.Status.LatestReadyRevisionName
	t.Status.LatestCreatedRevisionName = o.Status.LatestCreatedRevisionName
	return t
}

// trimRevision keeps what coverage depends on, and the conditions that say why a Revision is
// not Ready. Of the digests, only the number is kept.
func trimRevision(o *servingv1.Revision) *servingv1.Revision {
	t := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{
		Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion,
		CreationTimestamp: o.CreationTimestamp, DeletionTimestamp: o.DeletionTimestamp, DeletionGracePeriodSeconds: new(int64(mark)),
	}}
	for _, key := range []string{serving.ServiceLabelKey, serving.RoutingStateLabelKey} {
		if value, ok := o.Labels[key]; ok {
			metav1.SetMetaDataLabel(&t.ObjectMeta, key, value)
		}
	}
	t.Spec.ServiceAccountName, t.Spec.ImagePullSecrets = o.Spec.ServiceAccountName, o.Spec.ImagePullSecrets
	t.Spec.Containers, t.Spec.InitContainers = namedImages(o.Spec.Containers), namedImages(o.Spec.InitContainers)
	for i := range o.Spec.Volumes {
		if from := o.Spec.Volumes[i].Image; from != nil {
			t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{
				Name: o.Spec.Volumes[i].Name, VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: from.Reference}},
			})
		}
	}
	t.Status.Conditions = o.Status.Conditions
	if n := len(o.Status.ContainerStatuses); n > 0 {
		t.Status.ContainerStatuses = make([]servingv1.ContainerStatus, n)
	}
	if n := len(o.Status.InitContainerStatuses); n > 0 {
		t.Status.InitContainerStatuses = make([]servingv1.ContainerStatus, n)
	}
	return t
}

func namedImages(containers []corev1.Container) []corev1.Container {
	trimmed := images(containers)
	for i := range trimmed {
		trimmed[i].Name = containers[i].Name
	}
	return trimmed
}

// trimSecret replaces data by digests, so that no credential stays in a cache. Applied
// configurations are removed, because they may contain one too. Of them, and of the
// managed fields, only the owner of the data is kept, if there is one.
func trimSecret(o *corev1.Secret) *corev1.Secret {
	t := &corev1.Secret{ObjectMeta: *o.ObjectMeta.DeepCopy(), Type: o.Type, Immutable: o.Immutable}
	t.ManagedFields, t.DeletionGracePeriodSeconds = grant.Keeper(grant.KeptBy(&o.ObjectMeta)), new(int64(mark))
	delete(t.Annotations, corev1.LastAppliedConfigAnnotation)
	for key, value := range o.Data {
		if t.Data == nil {
			t.Data = make(map[string][]byte, len(o.Data))
		}
		t.Data[key] = []byte(dockerconfig.DigestOf(value))
	}
	return t
}

func images(containers []corev1.Container) []corev1.Container {
	var trimmed []corev1.Container
	for _, c := range containers {
		trimmed = append(trimmed, corev1.Container{Image: c.Image})
	}
	return trimmed
}

// imageVolumes keeps the references of image volumes.
func imageVolumes(volumes []corev1.Volume) []corev1.Volume {
	var trimmed []corev1.Volume
	for i := range volumes {
		if from := volumes[i].Image; from != nil {
			trimmed = append(trimmed, corev1.Volume{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: from.Reference}}})
		}
	}
	return trimmed
}

// unused returns the keys of our group that have no effect at a place, so that their
// owners can be informed. Their values are not needed.
func unused(place annotation.Place, label bool, keys map[string]string) map[string]string {
	var kept map[string]string
	for _, key := range annotation.Unused(place, label, keys) {
		if kept == nil {
			kept = make(map[string]string)
		}
		kept[key] = ""
	}
	return kept
}

func trimMeta(place annotation.Place, o metav1.ObjectMeta, labels map[string]string, managed func(metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry) metav1.ObjectMeta {
	t := metav1.ObjectMeta{
		Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion,
		DeletionTimestamp: o.DeletionTimestamp, DeletionGracePeriodSeconds: new(int64(mark)), Labels: labels,
		Annotations: unused(place, false, o.Annotations),
	}
	for key, value := range o.Annotations {
		if _, ineffective := t.Annotations[key]; ineffective {
			continue
		}
		switch key {
		case pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.ServiceAccountsAnnotation:
			value = annotation.Cut(value)
		case pullsecrets.AddedAnnotation:
			value = merge.CutLedger(value)
		case serving.UpdaterAnnotation, merge.EnforceMountableSecrets:
		case corev1.LastAppliedConfigAnnotation:
			if value = trimApplied(value, o.Annotations[pullsecrets.AddedAnnotation]); value == "" {
				continue
			}
		default:
			continue
		}
		if t.Annotations == nil {
			t.Annotations = make(map[string]string)
		}
		t.Annotations[key] = value
	}
	for _, entry := range o.ManagedFields {
		if kept := managed(entry); kept != nil {
			t.ManagedFields = append(t.ManagedFields, *kept)
		}
	}
	return t
}

// maxApplied is the maximum size of the names in a last-applied-configuration, with their
// JSON.
const maxApplied = merge.MaxLedger

// boundApplied drops the last of very many names. Names in the ledger come first: for
// these it matters most that their owner has them in a manifest, and they always fit,
// because the ledger has the same limit.
func boundApplied(list []corev1.LocalObjectReference, ledger string) []corev1.LocalObjectReference {
	size := 0
	for i := range list {
		size += len(list[i].Name) + len(`{"name":""},`)
	}
	if size <= maxApplied {
		return list
	}
	ours, _ := merge.ParseLedger(ledger)
	slices.SortStableFunc(list, func(a, b corev1.LocalObjectReference) int {
		_, first := ours[a.Name]
		_, second := ours[b.Name]
		switch {
		case first == second:
			return 0
		case first:
			return -1
		}
		return 1
	})
	list = slices.Compact(list)
	size = 0
	for i := range list {
		if size += len(list[i].Name) + len(`{"name":""},`); size > maxApplied {
			return list[:i]
		}
	}
	return list
}

// trimApplied keeps the pull secrets of the last-applied-configuration of an object with
// this ledger.
func trimApplied(text, ledger string) string {
	if !strings.Contains(text, `"imagePullSecrets"`) {
		return ""
	}
	type list = []corev1.LocalObjectReference
	var applied struct {
		ImagePullSecrets list `json:"imagePullSecrets,omitempty"`
		Spec             struct {
			Template struct {
				Spec struct {
					ImagePullSecrets list `json:"imagePullSecrets,omitempty"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if json.Unmarshal([]byte(text), &applied) != nil {
		return ""
	}
	applied.ImagePullSecrets = boundApplied(applied.ImagePullSecrets, ledger)
	applied.Spec.Template.Spec.ImagePullSecrets = boundApplied(applied.Spec.Template.Spec.ImagePullSecrets, ledger)
	trimmed, err := json.Marshal(applied)
	if err != nil {
		return ""
	}
	return string(trimmed)
}

// whoDeclares keeps who wrote our annotations or labels on a Namespace, and when. Other
// writes are irrelevant.
func whoDeclares(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	if entry.FieldsV1 == nil || !strings.Contains(string(entry.FieldsV1.Raw), `"f:`+pullsecrets.GroupName+`/`) {
		return nil
	}
	return whoAndWhen(entry)
}

// whoAndWhen keeps an entry without its fields.
func whoAndWhen(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	entry.FieldsV1 = nil
	return &entry
}

// ownersOfList keeps who owns an item of the list, with that part of their fields, and
// when each manager wrote last, without statuses.
func ownersOfList(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	if entry.Subresource != "" {
		return nil
	}
	if entry.FieldsV1 == nil || !strings.Contains(string(entry.FieldsV1.Raw), `"f:imagePullSecrets"`) {
		return whoAndWhen(entry)
	}
	type fields struct {
		Spec struct {
			Template struct {
				Spec struct {
					ImagePullSecrets json.RawMessage `json:"f:imagePullSecrets,omitempty"`
				} `json:"f:spec"`
			} `json:"f:template"`
		} `json:"f:spec"`
	}
	var owned fields
	if json.Unmarshal(entry.FieldsV1.Raw, &owned) != nil {
		return nil
	}
	raw, err := json.Marshal(owned)
	if err != nil {
		return nil
	}
	entry.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	return &entry
}

// ownersOfAccountList keeps who owns the list of a ServiceAccount, and by which operation.
func ownersOfAccountList(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	if !merge.OwnsAccountList(entry) {
		return nil
	}
	return &metav1.ManagedFieldsEntry{
		Manager: entry.Manager, Operation: entry.Operation, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:imagePullSecrets":{}}`)},
	}
}
