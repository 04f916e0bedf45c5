// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/reconciler/revision/resources"
	"pullsecrets.dev/pkg/trim"
)

// notReserved selects the Revisions that traffic can reach, and new ones. Knative labels the
// others, of which it keeps many for each Service, as reserve (metasync.go of
// knative.dev/serving/pkg/reconciler/labeler v0.50.0).
const notReserved = serving.RoutingStateLabelKey + "!=" + string(servingv1.RoutingStateReserve)

// revisions holds what is kept of Revisions, by namespace and Service. It is the store of a
// reflector: an informer would keep whole objects, of more than a kilobyte each.
type revisions struct {
	// changed is called with a Service if what is kept of its Revisions changed.
	changed func(types.NamespacedName)

	mu     sync.RWMutex
	synced bool
	known  map[string]map[string][]resources.Revision
	// owners are the Services of the known Revisions: the owner of a Revision can change its
	// label.
	owners map[types.NamespacedName]string
}

var (
	_ cache.ReflectorStore    = (*revisions)(nil)
	_ cache.TransformingStore = (*revisions)(nil)
)

// of returns the Revisions of a Service, which must not be changed. It reports whether they
// have been listed yet.
func (r *revisions) of(service types.NamespacedName) ([]resources.Revision, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known[service.Namespace][service.Name], r.synced
}

// services returns the names of the Services of a namespace with a Revision that satisfies
// the condition.
func (r *revisions) services(namespace string, is func(*resources.Revision) bool) []types.NamespacedName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []types.NamespacedName
	for name, all := range r.known[namespace] {
		for i := range all {
			if is(&all[i]) {
				found = append(found, types.NamespacedName{Namespace: namespace, Name: name})
				break
			}
		}
	}
	return found
}

// Add implements [cache.ReflectorStore].
func (r *revisions) Add(object any) error { return r.Update(object) }

// Update implements [cache.ReflectorStore]. A Revision that does not belong to a Service is
// ignored.
func (r *revisions) Update(object any) error {
	from, ok := object.(*servingv1.Revision)
	if !ok {
		return nil
	}
	r.drop(keyOf(from), resources.ServiceOf(from))
	if resources.ServiceOf(from) != "" && r.put(from) {
		r.changed(serviceOf(from))
	}
	return nil
}

// put stores a Revision, and reports whether anything changed.
func (r *revisions) put(from *servingv1.Revision) bool {
	kept := resources.RevisionOf(from)
	service := serviceOf(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.known[service.Namespace][service.Name]
	i := slices.IndexFunc(all, func(other resources.Revision) bool { return other.Name == kept.Name })
	if i >= 0 && reflect.DeepEqual(all[i], kept) {
		return false
	}
	// Readers hold the old slice.
	all = slices.Clone(all)
	if i >= 0 {
		all[i] = kept
	} else {
		all = append(all, kept)
	}
	r.set(service, slices.Clip(all))
	if r.owners == nil {
		r.owners = make(map[types.NamespacedName]string)
	}
	r.owners[keyOf(from)] = service.Name
	return true
}

// set requires the lock.
func (r *revisions) set(service types.NamespacedName, all []resources.Revision) {
	if len(all) == 0 {
		delete(r.known[service.Namespace], service.Name)
		if len(r.known[service.Namespace]) == 0 {
			delete(r.known, service.Namespace)
		}
		return
	}
	if r.known == nil {
		r.known = make(map[string]map[string][]resources.Revision)
	}
	if r.known[service.Namespace] == nil {
		r.known[service.Namespace] = make(map[string][]resources.Revision)
	}
	r.known[service.Namespace][service.Name] = all
}

// drop forgets a Revision, unless it belongs to this Service.
func (r *revisions) drop(revision types.NamespacedName, unless string) {
	r.mu.Lock()
	name, known := r.owners[revision]
	if !known || name == unless {
		r.mu.Unlock()
		return
	}
	delete(r.owners, revision)
	service := types.NamespacedName{Namespace: revision.Namespace, Name: name}
	all := slices.DeleteFunc(slices.Clone(r.known[service.Namespace][service.Name]), func(other resources.Revision) bool { return other.Name == revision.Name })
	r.set(service, slices.Clip(all))
	r.mu.Unlock()
	r.changed(service)
}

// Delete implements [cache.ReflectorStore].
func (r *revisions) Delete(object any) error {
	if from, ok := object.(*servingv1.Revision); ok {
		r.drop(keyOf(from), "")
	}
	return nil
}

// Replace implements [cache.ReflectorStore].
func (r *revisions) Replace(objects []any, _ string) error {
	r.mu.Lock()
	before := r.known
	r.known, r.owners = nil, make(map[types.NamespacedName]string, len(objects))
	for _, object := range objects {
		if from, ok := object.(*servingv1.Revision); ok && resources.ServiceOf(from) != "" {
			service := serviceOf(from)
			r.set(service, append(r.known[service.Namespace][service.Name], resources.RevisionOf(from)))
			r.owners[keyOf(from)] = service.Name
		}
	}
	var all []types.NamespacedName
	for _, known := range []map[string]map[string][]resources.Revision{before, r.known} {
		for namespace, services := range known {
			for name := range services {
				all = append(all, types.NamespacedName{Namespace: namespace, Name: name})
			}
		}
	}
	r.synced = true
	r.mu.Unlock()
	for _, service := range all {
		r.changed(service)
	}
	return nil
}

// Resync implements [cache.ReflectorStore].
func (r *revisions) Resync() error { return nil }

// Transformer implements [cache.TransformingStore], so that the objects of the first list
// need little memory.
func (r *revisions) Transformer() cache.TransformFunc { return trim.Object }

func serviceOf(from *servingv1.Revision) types.NamespacedName {
	return types.NamespacedName{Namespace: from.Namespace, Name: resources.ServiceOf(from)}
}
