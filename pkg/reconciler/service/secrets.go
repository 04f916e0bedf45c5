// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/memory"
)

// secretTypes returns the types of Secrets. The reconciler never reads more of a Secret
// than its name and type.
type secretTypes interface {
	// TypesOf returns the types of those of the named Secrets that exist. If retry is not
	// zero, it is not known yet whether the others exist and are usable, and the caller
	// should ask again after that time.
	TypesOf(ctx context.Context, service types.NamespacedName, began time.Time, names []string) (known map[string]corev1.SecretType, retry time.Duration, err error)
}

// usable reports whether a Secret of the type can be used for pulling.
func usable(secretType corev1.SecretType) bool {
	return secretType == corev1.SecretTypeDockerConfigJson || secretType == corev1.SecretTypeDockercfg
}

const (
	// usableFor is how long a usable Secret is assumed to stay usable.
	usableFor = 10 * time.Second
	// readEvery is the shortest time between two reads of a namespace.
	readEvery = 2 * time.Second
	// readShare bounds the time spent on a namespace with many Secrets: reading them takes
	// at most 1/readShare of it.
	readShare = 20
)

// secretViews holds one view of the Secrets of each namespace, which its Services share.
// After an opt-in, hundreds of Services need the same few Secrets at once, and a tenant can
// make its Services ask as often as it likes.
//
// A problem with a Secret is reported only from a read that began after the Service first
// asked. A Service that asks before the next read is allowed gets the time to ask again.
type secretViews struct {
	read func(ctx context.Context, namespace string) (map[string]corev1.SecretType, error)

	mu    sync.Mutex
	views map[string]*secretView
	// order are the views by the beginning of their reads, the oldest first.
	order []*secretView
	// asked is when Services that wait for an answer first asked.
	asked map[types.NamespacedName]time.Time
}

// secretView is one read of the Secrets of a namespace. After done is closed, only types
// changes, under the lock.
type secretView struct {
	namespace string
	began     time.Time
	done      chan struct{}
	// next is when the namespace may be read again.
	next  time.Time
	types map[string]corev1.SecretType
	err   error
}

func newSecretViews(m *memory.Memory, read func(context.Context, string) (map[string]corev1.SecretType, error)) *secretViews {
	s := &secretViews{read: read, views: make(map[string]*secretView), asked: make(map[types.NamespacedName]time.Time)}
	m.Add(s)
	return s
}

// TypesOf implements secretTypes.
func (s *secretViews) TypesOf(ctx context.Context, service types.NamespacedName, began time.Time, names []string) (map[string]corev1.SecretType, time.Duration, error) {
	now := time.Now()
	s.mu.Lock()
	since, waits := s.asked[service]
	if !waits {
		since = began
	}
	v := s.views[service.Namespace]
	if v != nil {
		if known, ok := s.answer(v, since, now, names); ok {
			delete(s.asked, service)
			s.mu.Unlock()
			return known, 0, nil
		}
	}
	if v == nil || v.finished() && !now.Before(v.next) {
		v = s.begin(ctx, service.Namespace, now)
	}
	s.mu.Unlock()
	select {
	case <-v.done:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.answer(v, since, now, names)
	if ok || v.err != nil && !v.began.Before(since) {
		delete(s.asked, service)
		return known, 0, v.err
	}
	s.asked[service] = since
	return known, max(time.Until(v.next), time.Millisecond), nil
}

// answer returns the types that a view has for names, and whether the answer is complete.
// The caller holds the lock.
func (s *secretViews) answer(v *secretView, since, now time.Time, names []string) (map[string]corev1.SecretType, bool) {
	known := make(map[string]corev1.SecretType, len(names))
	if !v.finished() || v.err != nil || now.Sub(v.began) >= usableFor {
		return known, false
	}
	whole := true
	// Once the namespace may be read again, only a new read reports a problem.
	fresh := !v.began.Before(since) && now.Before(v.next)
	for _, name := range names {
		secretType, exists := v.types[name]
		if exists && (fresh || usable(secretType)) {
			known[name] = secretType
		} else if !fresh {
			whole = false
		}
	}
	return known, whole
}

// begin starts a read of a namespace. The caller holds the lock.
func (s *secretViews) begin(ctx context.Context, namespace string, now time.Time) *secretView {
	// Each view is dropped once, so the amortized cost is constant.
	for len(s.order) > 0 && s.order[0].finished() && now.Sub(s.order[0].began) >= usableFor && !now.Before(s.order[0].next) {
		if old := s.order[0]; s.views[old.namespace] == old {
			delete(s.views, old.namespace)
		}
		s.order = s.order[1:]
	}
	v := &secretView{namespace: namespace, began: now, done: make(chan struct{})}
	s.views[namespace] = v
	s.order = append(s.order, v)
	// The read serves other callers too, so it is not cancelled with this one.
	go s.fill(context.WithoutCancel(ctx), v)
	return v
}

func (s *secretViews) fill(ctx context.Context, v *secretView) {
	known, err := s.read(ctx, v.namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	v.types, v.err = known, err
	v.next = v.began.Add(max(readEvery, readShare*time.Since(v.began)))
	close(v.done)
}

func (v *secretView) finished() bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

// Forget implements [memory.Keeper].
func (s *secretViews) Forget(service types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, service)
}

// ForgetThose implements [memory.Keeper].
func (s *secretViews) ForgetThose(are func(types.NamespacedName) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.asked, func(key types.NamespacedName, _ time.Time) bool { return are(key) })
}

// observe records a copy that was created, or with an empty type one that was deleted.
func (s *secretViews) observe(namespace, name string, secretType corev1.SecretType) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[namespace]
	switch {
	case v == nil || !v.finished() || v.err != nil:
	case secretType == "":
		delete(v.types, name)
	default:
		v.types[name] = secretType
	}
}

const tables = "application/json;as=Table;v=v1;g=meta.k8s.io"

// secretTable reads the Secrets of a namespace as a table, as kubectl get does. A row holds
// the name and the type and no data, so no credential reaches this process.
func secretTable(client rest.Interface) func(context.Context, string) (map[string]corev1.SecretType, error) {
	return func(ctx context.Context, namespace string) (map[string]corev1.SecretType, error) {
		raw, err := client.Get().Namespace(namespace).Resource("secrets").
			SetHeader("Accept", tables).Param("includeObject", string(metav1.IncludeNone)).
			Do(ctx).Raw()
		if err != nil {
			return nil, fmt.Errorf("list the Secrets of namespace %s: %w", namespace, err)
		}
		var table metav1.Table
		if err := json.Unmarshal(raw, &table); err != nil {
			return nil, fmt.Errorf("parse the API server's table of Secrets of namespace %s: %w", namespace, err)
		}
		return typesIn(table, namespace)
	}
}

func typesIn(table metav1.Table, namespace string) (map[string]corev1.SecretType, error) {
	columns := map[string]int{}
	for i, column := range table.ColumnDefinitions {
		columns[column.Name] = i
	}
	nameAt, named := columns["Name"]
	typeAt, typed := columns["Type"]
	if !named || !typed {
		return nil, fmt.Errorf("the API server's table of Secrets of namespace %s has no Name or no Type", namespace)
	}
	known := make(map[string]corev1.SecretType, len(table.Rows))
	for _, row := range table.Rows {
		if len(row.Cells) <= max(nameAt, typeAt) {
			return nil, fmt.Errorf("the API server's table of Secrets of namespace %s has a row without Name or Type", namespace)
		}
		name, _ := row.Cells[nameAt].(string)
		secretType, _ := row.Cells[typeAt].(string)
		known[name] = corev1.SecretType(secretType)
	}
	return known, nil
}
