// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/serving/pkg/apis/serving"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// maxObject limits the size of a patched object. etcd accepts 1.5 MiB by default, and the
// API server stores more than the request contains, above all managedFields. A larger
// Service is left unchanged.
const maxObject = 1 << 20

// operation is one operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// makePatch returns the operations that set the list and the ledger of an object, or none
// if they are set.
func makePatch(o *object, list []any, ledger string) []operation {
	var ops []operation
	have, ok := o.holder()["imagePullSecrets"]
	switch items, _ := have.([]any); {
	case len(list) == 0 && len(items) > 0:
		ops = append(ops, operation{Op: "remove", Path: o.listPath()})
	case len(list) > 0 && (!ok || !reflect.DeepEqual(items, list)):
		ops = append(ops, operation{Op: "add", Path: o.listPath(), Value: list})
	}
	path := "/metadata/annotations/" + strings.ReplaceAll(pullsecrets.AddedAnnotation, "/", "~1")
	was, ok := o.Metadata.Annotations[pullsecrets.AddedAnnotation]
	switch {
	case ledger == "" && ok:
		ops = append(ops, operation{Op: "remove", Path: path})
	case ledger != "" && ledger != was && o.Metadata.Annotations == nil:
		ops = append(ops, operation{Op: "add", Path: "/metadata/annotations", Value: map[string]string{pullsecrets.AddedAnnotation: ledger}})
	case ledger != "" && ledger != was:
		ops = append(ops, operation{Op: "add", Path: path, Value: ledger})
	}
	return ops
}

// makeNotePatch restores Knative's record of who changed a Service last. The request
// contains one.
func makeNotePatch(before map[string]string) []operation {
	path := "/metadata/annotations/" + strings.ReplaceAll(serving.UpdaterAnnotation, "/", "~1")
	if modifier, noted := before[serving.UpdaterAnnotation]; noted {
		return []operation{{Op: "add", Path: path, Value: modifier}}
	}
	return []operation{{Op: "remove", Path: path}}
}

// verify applies a patch as the API server will, and checks the result. A patch that does
// not apply would cause an error 500 whatever the failure policy says, and the webhook
// must not cause the rejection of an object. Only the affected parts of the object are
// patched, so the cost does not depend on its size. size is the size of the whole object,
// and ledger is the expected one.
func verify(o *object, size int, ops []operation, ledger string) ([]byte, error) {
	if !merge.HasRoom(o.Metadata.Annotations, ledger) {
		return nil, errors.New("the annotations are too large")
	}
	text, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("failed to encode the patch: %w", err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, fmt.Errorf("failed to decode the patch: %w", err)
	}
	before, err := json.Marshal(o.skeleton())
	if err != nil {
		return nil, fmt.Errorf("failed to encode the object: %w", err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		return nil, fmt.Errorf("failed to apply the patch: %w", err)
	}
	if size+len(after)-len(before) > maxObject {
		return nil, errors.New("the object is too large")
	}
	read := decode
	if o.account != nil {
		read = decodeAccount
	}
	patched, err := read(after)
	if err != nil {
		return nil, err
	}
	if patched.ledger() != ledger {
		return nil, errors.New("the patch does not set the ledger")
	}
	names, err := patched.names()
	if err != nil {
		return nil, err
	}
	if unique := sets.New(names...); unique.Len() != len(names) || unique.Has("") {
		return nil, errors.New("the list has repeated or empty names")
	}
	return text, nil
}

// entries returns the items of a list of names. Items that the request or the old object
// contains are kept unchanged.
func entries(names []string, from ...*object) []any {
	known := make(map[string]any)
	for _, o := range from {
		if o == nil {
			continue
		}
		items, _ := o.items()
		for _, item := range items {
			entry, _ := item.(map[string]any)
			name, _ := entry["name"].(string)
			if _, ok := known[name]; !ok {
				known[name] = item
			}
		}
	}
	var list []any
	for _, name := range names {
		if item, ok := known[name]; ok {
			list = append(list, item)
			continue
		}
		list = append(list, map[string]any{"name": name})
	}
	return list
}
