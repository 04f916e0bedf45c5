// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"knative.dev/pkg/logging"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/memory"
)

// named holds what is known of the Secrets that Revisions and ServiceAccounts name and that
// are no copies: which registries they have credentials for, and a digest. A Secret is read
// once, and again when the watch reports that it changed.
type named struct {
	get func(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error)
	// used reports whether a Service that this process leads for uses a Secret.
	used func(types.NamespacedName) bool
	// changed is called with a namespace if the contents of one of its Secrets changed.
	changed func(namespace string)
	// budget limits reads, so that no tenant delays another by Secrets that flap.
	budget *fair.Budget
	// stale are the Secrets that are to be read again.
	stale workqueue.TypedDelayingInterface[types.NamespacedName]

	mu    sync.Mutex
	known map[types.NamespacedName]*secret
	// size is the memory for the Secrets of each namespace.
	size map[string]int
	// swept is when unused Secrets of a full namespace were last removed.
	swept map[string]time.Time
	// unsure are the namespaces with Secrets that may no longer be used.
	unsure sets.Set[string]
}

// secret is what is known of a Secret.
type secret struct {
	// reading is held during a read, so that concurrent callers share it.
	reading sync.Mutex
	facts
	read bool
	// events counts what the watch reported, and asked who asked for the entry. One that was
	// asked for while it was found out what is used may be in use by now.
	events, asked int
}

// facts are the result of a read.
type facts struct {
	coverage.Secret
	kind    corev1.SecretType
	version string
	// digest is that of the credentials. It is for comparison and must not be shown.
	digest string
}

// Limits of reads: in total, and for each namespace.
var (
	readsOfAll  = fair.Rate{PerSecond: 50, Burst: 500}
	readsOfEach = fair.Rate{PerSecond: 0.5, Burst: 50}
)

const (
	// readAfter is the delay before a Secret is read whose namespace has used up its reads.
	readAfter = 10 * time.Second
	// maxNamed is the memory for the Secrets of a namespace. Further Secrets are not read.
	maxNamed = 1 << 20
	// sweepEvery is the shortest time between two sweeps of a namespace, and the time between
	// two of those that are unsure.
	sweepEvery = time.Minute
)

// newNamed returns a named that is part of a memory and knows nothing.
func newNamed(m *memory.Memory, get func(context.Context, types.NamespacedName) (*corev1.Secret, error)) *named {
	n := &named{
		get: get, budget: fair.NewBudget(readsOfAll, readsOfEach, time.Now),
		stale: workqueue.NewTypedDelayingQueue[types.NamespacedName](),
		known: make(map[types.NamespacedName]*secret), size: make(map[string]int), swept: make(map[string]time.Time),
		unsure: sets.New[string](),
	}
	m.Add(n)
	return n
}

// of returns what is known of a Secret, and reads it if nothing is. If it cannot be read yet,
// after is when to ask again.
func (n *named) of(ctx context.Context, key types.NamespacedName) (found facts, after time.Duration, err error) {
	s, room := n.entry(key)
	if !room {
		return facts{}, 0, nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	n.mu.Lock()
	found, known := s.facts, s.read
	n.mu.Unlock()
	switch {
	case known:
		return found, 0, nil
	case !n.budget.Take(key.Namespace):
		return facts{}, readAfter, nil
	}
	found, _, err = n.fill(ctx, key, s)
	return found, 0, err
}

// entry returns the entry of a Secret, and reports whether there is room for it.
func (n *named) entry(key types.NamespacedName) (*secret, bool) {
	s := n.put(key)
	if s == nil && n.sweep(key.Namespace) {
		s = n.put(key)
	}
	return s, s != nil
}

// put returns the entry of a Secret, or nil if there is none and no room for it.
func (n *named) put(key types.NamespacedName) *secret {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.known[key]
	if s == nil && n.size[key.Namespace] < maxNamed {
		s = &secret{}
		n.known[key] = s
		n.size[key.Namespace] += costOf(key, &s.facts)
		// What uses it may be gone by now.
		n.unsure.Insert(key.Namespace)
	}
	if s != nil {
		s.asked++
	}
	return s
}

// fill reads a Secret, and reports whether its contents changed. The caller holds s.reading.
func (n *named) fill(ctx context.Context, key types.NamespacedName, s *secret) (facts, bool, error) {
	n.mu.Lock()
	events := s.events
	n.mu.Unlock()
	found, err := n.inspect(ctx, key)
	if err != nil {
		return facts{}, false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[key] != s {
		return found, true, nil // It was dropped.
	}
	n.size[key.Namespace] -= costOf(key, &s.facts)
	if n.size[key.Namespace]+costOf(key, &found) > maxNamed+costOf(key, &facts{}) {
		found = facts{kind: found.kind, version: found.version, digest: found.digest}
	}
	n.size[key.Namespace] += costOf(key, &found)
	changed := !s.read || s.State != found.State || s.digest != found.digest || s.kind != found.kind || !s.Expires.Equal(&found.Expires)
	s.facts, s.read = found, true
	if s.events != events {
		n.stale.Add(key)
	}
	return found, changed, nil
}

// inspect reads a Secret and drops its credentials.
func (n *named) inspect(ctx context.Context, key types.NamespacedName) (facts, error) {
	object, err := n.get(ctx, key)
	if apierrors.IsNotFound(err) {
		return facts{Secret: coverage.Secret{State: coverage.Absent}}, nil
	}
	if err != nil {
		return facts{}, fmt.Errorf("read Secret %s: %w", key, err)
	}
	f := facts{kind: object.Type, version: object.ResourceVersion}
	f.State, f.Facts = coverage.Known, dockerconfig.Inspect(object.Type, object.Data)
	f.Expires, _ = annotation.Expires(object.Annotations)
	switch object.Type {
	case corev1.SecretTypeDockerConfigJson:
		f.digest = dockerconfig.DigestOf(object.Data[corev1.DockerConfigJsonKey])
	case corev1.SecretTypeDockercfg:
		f.digest = dockerconfig.DigestOf(object.Data[corev1.DockerConfigKey])
	}
	return f, nil
}

// costOf returns about how much memory an entry takes.
func costOf(key types.NamespacedName, f *facts) int {
	const entry = int(unsafe.Sizeof(dockerconfig.Entry{}))
	return int(unsafe.Sizeof(secret{})) + 2*(len(key.Namespace)+len(key.Name)) + len(f.digest) + f.Facts.Size() + entry*len(f.Facts.Entries)
}

// observe takes from the watch that a Secret was written, or with an empty version that it is
// gone. Other Secrets than those that are known cost nothing.
func (n *named) observe(key types.NamespacedName, version string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.known[key]; s != nil && (!s.read || s.version != version) {
		s.events++
		n.stale.Add(key)
	}
}

// compare takes all pull Secrets of a type with their versions from the watch.
func (n *named) compare(kind corev1.SecretType, versions map[types.NamespacedName]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, s := range n.known {
		version, exists := versions[key]
		if exists && s.version != version || !exists && s.kind == kind {
			s.events++
			n.stale.Add(key)
		}
	}
}

// run reads Secrets that changed, and drops those that nothing uses, until the context ends.
func (n *named) run(ctx context.Context) {
	go wait.Until(n.sweepUnsure, sweepEvery, ctx.Done())
	go func() {
		<-ctx.Done()
		n.stale.ShutDown()
	}()
	for {
		key, stopped := n.stale.Get()
		if stopped {
			return
		}
		n.refresh(ctx, key)
		n.stale.Done(key)
	}
}

// refresh reads a Secret again, if anything still uses it. The budget comes first: a tenant
// decides how much must be compared to find out what is used.
func (n *named) refresh(ctx context.Context, key types.NamespacedName) {
	n.mu.Lock()
	c := candidate{key: key, secret: n.known[key]}
	if c.secret != nil {
		c.asked = c.secret.asked
	}
	n.mu.Unlock()
	if c.secret == nil {
		return
	}
	if !n.budget.Take(key.Namespace) {
		n.stale.AddAfter(key, readAfter)
		return
	}
	if !n.used(key) {
		n.mu.Lock()
		gone := n.dropUnasked(c)
		n.mu.Unlock()
		if gone {
			return
		}
	}
	c.reading.Lock()
	_, changed, err := n.fill(ctx, key, c.secret)
	c.reading.Unlock()
	if err != nil {
		logging.FromContext(ctx).Warnw("Failed to read a named Secret that changed", "error", err)
		n.stale.AddAfter(key, readAfter)
	}
	if changed {
		n.changed(key.Namespace)
	}
}
