// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// known is the schema of a template.
var known = schemaOf(reflect.TypeFor[servingv1.RevisionTemplateSpec](), map[reflect.Type]*schema{})

// schema describes the fields of a type. A nil schema accepts any value.
type schema struct {
	// fields are those of a struct, by their names in lower case, because encoding/json
	// ignores case.
	fields map[string]*schema
	// items is the type of the elements of a list or a map.
	items *schema
}

// schemaOf returns the schema of a type. Types with their own decoder, such as quantities,
// accept any value.
func schemaOf(t reflect.Type, seen map[reflect.Type]*schema) *schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := seen[t]; ok {
		return s
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	s := &schema{}
	switch t.Kind() {
	case reflect.Struct:
		seen[t] = s
		s.fields = map[string]*schema{}
		s.addFields(t, seen)
	case reflect.Slice, reflect.Map:
		seen[t] = s
		s.items = schemaOf(t.Elem(), seen)
	default:
		return nil
	}
	return s
}

func (s *schema) addFields(t reflect.Type, seen map[reflect.Type]*schema) {
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && (name == "" || options == "inline"):
			s.addFields(field.Type, seen)
		case name != "" && name != "-":
			s.fields[strings.ToLower(name)] = schemaOf(field.Type, seen)
		}
	}
}

// unknown returns the part of a value that is not in the schema, or nil. A part of empty
// values does not count, because a program that knows the field most likely omits it.
func (s *schema) unknown(value any) any {
	if s == nil {
		return nil
	}
	rest := map[string]any{}
	add := func(key string, part any) {
		if !empty(part) {
			rest[key] = part
		}
	}
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			field, ok := s.fields[strings.ToLower(key)]
			switch {
			case s.fields == nil:
				add(key, s.items.unknown(item))
			case ok:
				add(key, field.unknown(item))
			default:
				add(key, item)
			}
		}
	case []any:
		for i, item := range v {
			add(strconv.Itoa(i), s.items.unknown(item))
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return rest
}

// empty reports whether a value consists only of null, "", 0 and false.
func empty(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, item := range v {
			if !empty(item) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	default:
		return v == nil || reflect.ValueOf(v).IsZero()
	}
}
