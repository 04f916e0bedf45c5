// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"maps"

	"k8s.io/apimachinery/pkg/types"
)

// byNamespace keeps something for each of certain objects, and can forget a whole
// namespace without a look at the others, of which there may be thousands. The zero
// value is ready to use, by one at a time.
type byNamespace[T any] struct{ all map[string]map[string]T }

func (b *byNamespace[T]) get(name types.NamespacedName) (T, bool) {
	t, found := b.all[name.Namespace][name.Name]
	return t, found
}

func (b *byNamespace[T]) set(name types.NamespacedName, t T) {
	if b.all == nil {
		b.all = make(map[string]map[string]T)
	}
	if b.all[name.Namespace] == nil {
		b.all[name.Namespace] = make(map[string]T)
	}
	b.all[name.Namespace][name.Name] = t
}

func (b *byNamespace[T]) drop(name types.NamespacedName) {
	within := b.all[name.Namespace]
	if delete(within, name.Name); len(within) == 0 {
		delete(b.all, name.Namespace)
	}
}

func (b *byNamespace[T]) dropNamespace(namespace string) { delete(b.all, namespace) }

func (b *byNamespace[T]) dropNamespaces(are func(string) bool) {
	maps.DeleteFunc(b.all, func(namespace string, _ map[string]T) bool { return are(namespace) })
}
