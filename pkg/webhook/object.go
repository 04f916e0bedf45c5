// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/template"
)

// object is a Service or a ServiceAccount as JSON. Only the parts that admission depends
// on are decoded into types. The template is kept as it is, so that fields that these
// types do not know take part in comparisons and are never dropped.
type object struct {
	Metadata struct {
		Name              string                      `json:"name"`
		GenerateName      string                      `json:"generateName"`
		DeletionTimestamp *metav1.Time                `json:"deletionTimestamp"`
		Annotations       map[string]string           `json:"annotations"`
		Labels            map[string]string           `json:"labels"`
		ManagedFields     []metav1.ManagedFieldsEntry `json:"managedFields"`
	} `json:"metadata"`
	Spec struct {
		Template map[string]any `json:"template"`
	} `json:"spec"`
	// raw is the whole object.
	raw []byte
	// account holds the fields of a ServiceAccount other than metadata, and is nil for a
	// Service.
	account map[string]any
}

// decode decodes a Service. It fails if the object does not have the structure of a
// Service, which the API server rejects with a better message.
func decode(raw []byte) (*object, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if _, ok := o.Spec.Template["spec"].(map[string]any); !ok {
		return nil, fmt.Errorf("spec.template.spec is not an object")
	}
	o.raw = raw
	return &o, nil
}

// decodeAccount decodes a ServiceAccount.
func decodeAccount(raw []byte) (*object, error) {
	var o struct {
		object
		ImagePullSecrets any `json:"imagePullSecrets"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	o.account = map[string]any{}
	if o.ImagePullSecrets != nil {
		o.account["imagePullSecrets"] = o.ImagePullSecrets
	}
	return &o.object, nil
}

// holder returns the object that contains the list of pull secrets.
func (o *object) holder() map[string]any {
	if o.account != nil {
		return o.account
	}
	return o.podSpec()
}

// listPath returns the JSON pointer of the list of pull secrets.
func (o *object) listPath() string {
	if o.account != nil {
		return "/imagePullSecrets"
	}
	return "/spec/template/spec/imagePullSecrets"
}

func (o *object) podSpec() map[string]any {
	spec, _ := o.Spec.Template["spec"].(map[string]any)
	return spec
}

// serviceAccount returns the serviceAccountName of the template.
func (o *object) serviceAccount() string {
	name, _ := o.podSpec()["serviceAccountName"].(string)
	return name
}

// images returns the images that the Service's Pods need, unordered: those of the
// template's containers and image volumes, and the queue-proxy's.
func (o *object) images() []grant.Image {
	images := []grant.Image{{QueueProxy: true}}
	for _, field := range []string{"initContainers", "containers"} {
		containers, _ := o.podSpec()[field].([]any)
		for _, item := range containers {
			container, _ := item.(map[string]any)
			if image, ok := container["image"].(string); ok {
				images = append(images, grant.Image{Reference: image})
			}
		}
	}
	volumes, _ := o.podSpec()["volumes"].([]any)
	for _, item := range volumes {
		volume, _ := item.(map[string]any)
		from, _ := volume["image"].(map[string]any)
		if reference, ok := from["reference"].(string); ok {
			images = append(images, grant.Image{Reference: reference, KubeletAlone: true})
		}
	}
	return grant.Images(images)
}

// revisionName returns the metadata.name of the template.
func (o *object) revisionName() string {
	metadata, _ := o.Spec.Template["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// items returns the entries of the list.
func (o *object) items() ([]any, error) {
	value, ok := o.holder()["imagePullSecrets"]
	if !ok || value == nil {
		return nil, nil
	}
	items, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("imagePullSecrets is not a list")
	}
	return items, nil
}

// names returns the names in the list.
func (o *object) names() ([]string, error) {
	items, err := o.items()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range items {
		entry, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("an item of imagePullSecrets is not an object")
		}
		name, ok := entry["name"].(string)
		if !ok && entry["name"] != nil {
			return nil, fmt.Errorf("a name in imagePullSecrets is not a string")
		}
		names = append(names, name)
	}
	return names, nil
}

// skeleton returns the object with only those parts that a patch changes. Its size is
// limited, except for the list.
func (o *object) skeleton() map[string]any {
	metadata, spec := map[string]any{}, map[string]any{}
	if o.Metadata.Annotations != nil {
		annotations := map[string]string{}
		if ledger, ok := o.Metadata.Annotations[pullsecrets.AddedAnnotation]; ok {
			annotations[pullsecrets.AddedAnnotation] = merge.CutLedger(ledger)
		}
		metadata["annotations"] = annotations
	}
	if list, ok := o.holder()["imagePullSecrets"]; ok {
		spec["imagePullSecrets"] = list
	}
	if o.account != nil {
		spec["metadata"] = metadata
		return spec
	}
	return map[string]any{"metadata": metadata, "spec": map[string]any{"template": map[string]any{"spec": spec}}}
}

func (o *object) ledger() string { return o.Metadata.Annotations[pullsecrets.AddedAnnotation] }

// side returns the Service as pkg/merge represents it.
func (o *object) side() (merge.Side, error) {
	names, err := o.names()
	if err != nil {
		return merge.Side{}, err
	}
	// The valid items of a damaged ledger count; the reconciler reports the damage.
	ledger, _ := merge.ParseLedger(o.ledger())
	return merge.Side{
		Current: merge.CurrentOf(names, ledger, o.Metadata.ManagedFields, o.Metadata.Annotations),
		Name:    o.revisionName(),
		Secrets: o.Metadata.Annotations[pullsecrets.SecretsAnnotation],
		Inject:  o.Metadata.Annotations[pullsecrets.InjectAnnotation],
	}, nil
}

// stored returns the list of the old object of a request, which is nil for a new one. What
// cannot be read is empty: then the API server rejects the request, or nothing is changed.
func (o *object) stored() merge.Current {
	if o == nil {
		return merge.Current{}
	}
	side, err := o.side()
	if err != nil {
		return merge.Current{}
	}
	return side.Current
}

// asTemplate returns the Service as pkg/template represents it.
func (o *object) asTemplate() template.Service {
	return template.Service{Object: o.raw, Template: o.Spec.Template}
}

// notedBy reports whether Knative recorded that this user changed the old object, which
// it does if the spec changed.
func (o *object) notedBy(user string, old *object) bool {
	modifier := o.Metadata.Annotations[serving.UpdaterAnnotation]
	return modifier == user && modifier != old.Metadata.Annotations[serving.UpdaterAnnotation]
}
