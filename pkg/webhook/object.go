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

// object is a Service, or a ServiceAccount, as JSON has it. Only the parts that
// admission decides by are decoded into types; the template stays as it is, so that
// fields which no type here knows take part in comparisons and are never dropped.
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
	// account is what of a ServiceAccount is not metadata, and nil for a Service.
	account map[string]any
}

// decode reads a Service. An error means that the object has not the shape of
// one, which the API server's own schema will say better.
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

// decodeAccount reads a ServiceAccount.
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

// holder is what the list of pull secrets is in, and listPath where in the object
// the list is, as a JSON pointer.
func (o *object) holder() map[string]any {
	if o.account != nil {
		return o.account
	}
	return o.podSpec()
}

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

// serviceAccount is the template's serviceAccountName.
func (o *object) serviceAccount() string {
	name, _ := o.podSpec()["serviceAccountName"].(string)
	return name
}

// images are the images that the Service's Pods need: those of the template's
// containers and image volumes, and the queue-proxy's, in no special order.
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

// revisionName is the template's metadata.name.
func (o *object) revisionName() string {
	metadata, _ := o.Spec.Template["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// items are the entries of the list, as they are.
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

// names are the names in the list.
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

// skeleton is the object without all that a patch of ours is not about. Its length is
// bounded but for the list.
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

// side is the Service as the pure core sees it.
func (o *object) side() (merge.Side, error) {
	names, err := o.names()
	if err != nil {
		return merge.Side{}, err
	}
	// A damaged ledger counts as far as it is good; the reconciler reports it.
	ledger, _ := merge.ParseLedger(o.ledger())
	return merge.Side{
		Current: merge.CurrentOf(names, ledger, o.Metadata.ManagedFields, o.Metadata.Annotations),
		Name:    o.revisionName(),
		Secrets: o.Metadata.Annotations[pullsecrets.SecretsAnnotation],
		Inject:  o.Metadata.Annotations[pullsecrets.InjectAnnotation],
	}, nil
}

// asTemplate is the Service as Knative sees it.
func (o *object) asTemplate() template.Service {
	return template.Service{Object: o.raw, Template: o.Spec.Template}
}

// notedBy reports whether Knative has noted that this user changed the old object,
// which it does when it finds another spec.
func (o *object) notedBy(user string, old *object) bool {
	modifier := o.Metadata.Annotations[serving.UpdaterAnnotation]
	return modifier == user && modifier != old.Metadata.Annotations[serving.UpdaterAnnotation]
}
