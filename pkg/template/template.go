// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package template decides whether a request changes the template of a Knative Service.
Knative makes this decision: when a spec changed, it records who changed it, and when the
template changed, it creates a Revision. So both sides are converted to Knative's types,
get Knative's defaults, and are compared as Knative compares them
(serving/pkg/apis/serving/v1/service_defaults.go and
serving/pkg/apis/serving/metadata_validation.go):

  - a value that Knative's types do not serialize, such as an empty string, 0 or false,
    equals an absent one;
  - quantities are compared as quantities;
  - an absent field with a default equals its default;
  - any other absent field is a change.

The list of pull secrets is excluded; pkg/merge decides about it. Fields that this version
of Knative's types does not know are compared as JSON.
*/
package template

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// Settings are the settings of Knative for defaults of templates. They are shared and must
// not be changed.
type Settings struct{ config *config.Config }

// NewSettings returns Knative's settings. A part that is nil has Knative's defaults.
func NewSettings(defaults *config.Defaults, features *config.Features) Settings {
	// Knative sets missing parts of a configuration when it reads them. A complete
	// configuration is only read, so it can be shared.
	complete := config.FromContextOrDefaults(context.Background())
	if defaults != nil {
		complete.Defaults = defaults
	}
	if features != nil {
		complete.Features = features
	}
	return Settings{complete}
}

// Service is one side of a request.
type Service struct {
	// Object is the whole Service as JSON.
	Object []byte
	// Template is its spec.template, decoded. It is only read.
	Template map[string]any
}

// Changed reports whether Knative finds another template in the requested Service than in
// the old one, apart from the list of pull secrets.
//
// A Service that does not fit Knative's types is compared as JSON. This version of Knative
// rejects it, and another version may accept it. The same applies to a Service with a
// number that takes minutes to compare as a quantity.
func (s Settings) Changed(old, requested Service) bool {
	if reflect.DeepEqual(withoutPullSecrets(old.Template), withoutPullSecrets(requested.Template)) {
		return false
	}
	if immense(old.Template) || immense(requested.Template) {
		return true
	}
	before, err := decode(old.Object)
	if err != nil {
		return true
	}
	after, err := decode(requested.Object)
	if err != nil {
		return true
	}
	s.setDefaults(before, nil)
	s.setDefaults(after, before)
	return !equality.Semantic.DeepEqual(before.Spec.Template, after.Spec.Template) ||
		!reflect.DeepEqual(known.unknown(old.Template), known.unknown(requested.Template))
}

// exponent matches a quantity with an exponent of five or more digits, whose value has
// tens of thousands of digits.
var exponent = regexp.MustCompile(`^[+-]?[0-9.]+[eE][+-]?[0-9]{5}`)

// immense reports whether a template contains such a number.
func immense(value any) bool {
	switch v := value.(type) {
	case string:
		return exponent.MatchString(v)
	case []any:
		return slices.ContainsFunc(v, immense)
	case map[string]any:
		for _, of := range v {
			if immense(of) {
				return true
			}
		}
	}
	return false
}

// typed is the part of a Service that decides about Knative's template.
type typed struct {
	Metadata metav1.ObjectMeta           `json:"metadata"`
	Spec     servingv1.ConfigurationSpec `json:"spec"`
}

func decode(object []byte) (*typed, error) {
	var t typed
	if err := json.Unmarshal(object, &t); err != nil {
		return nil, err
	}
	t.Spec.Template.Spec.ImagePullSecrets = nil
	return &t, nil
}

// setDefaults sets the defaults of Knative's webhook. Knative sets them on the old Service
// too before it compares, so that a change of settings is not a change of the Service.
func (s Settings) setDefaults(t, old *typed) {
	ctx := config.ToContext(context.Background(), s.config)
	if old != nil {
		ctx = apis.WithinUpdate(ctx, old)
		ctx = servingv1.WithPreviousConfigurationSpec(ctx, &old.Spec)
	}
	ctx = apis.WithinParent(ctx, t.Metadata)
	t.Spec.SetDefaults(apis.WithinSpec(ctx))
}

// withoutPullSecrets copies only the two maps that contain the list.
func withoutPullSecrets(template map[string]any) map[string]any {
	spec, ok := template["spec"].(map[string]any)
	if _, has := spec["imagePullSecrets"]; !ok || !has {
		return template
	}
	rest, outer := maps.Clone(spec), maps.Clone(template)
	delete(rest, "imagePullSecrets")
	outer["spec"] = rest
	return outer
}
