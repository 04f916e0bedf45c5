// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package source reads the Secrets that ClusterPullSecrets copy from. It keeps digests and
// the names of registries. A credential is held only while copies of it are written, and is
// shared by all who write copies at the same time.
package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// Facts are what is known of a valid source.
type Facts struct {
	// ResourceVersion of the Secret that was read.
	ResourceVersion string
	// Digest of what copies hold. It is for comparison and must not be shown.
	Digest string
	// Credentials are digests of the single credentials, by registry. They must not be shown
	// either.
	Credentials map[string]string
	// Expiries is when they expire, by registry, where that is known.
	Expiries map[string]metav1.Time
	// Registries that copies have credentials for.
	Registries []string
	// Hidden means that the source has keys that are not among its registries, because they could
	// be misplaced credentials.
	Hidden bool
	// Remarks are likely mistakes in the source, without credentials.
	Remarks []string
	// Life is that of the credential that expires first, and ShownExpires is when the first one
	// of Registries does, or zero.
	Life         dockerconfig.Life
	ShownExpires metav1.Time
}

// Scope is what the contents of copies are made from: the source, and the part of it that is
// copied. Two ClusterPullSecrets with the same source may have different scopes.
type Scope struct {
	Ref v1alpha1.SecretReference
	// registries are those of spec.registries, sorted and separated by commas.
	registries string
}

// ScopeOf returns the scope of a ClusterPullSecret.
func ScopeOf(cps *v1alpha1.ClusterPullSecret) Scope {
	registries := slices.Compact(slices.Sorted(slices.Values(cps.Spec.Registries)))
	return Scope{cps.Spec.SecretRef, strings.Join(registries, ",")}
}

// scope returns the part of a config that copies hold.
func (s Scope) scope(config dockerconfig.Config) (dockerconfig.Config, error) {
	if s.registries == "" {
		return config, nil
	}
	return config.Scoped(strings.Split(s.registries, ","))
}

// NotFoundError reports that a source does not exist.
type NotFoundError struct{ Ref v1alpha1.SecretReference }

func (e *NotFoundError) Error() string { return fmt.Sprintf("Secret %s does not exist", e.Ref) }

// CopyError reports that a Secret is a copy and cannot be a source.
type CopyError struct{ ClusterPullSecret string }

func (e *CopyError) Error() string {
	return fmt.Sprintf("it is a copy that belongs to ClusterPullSecret %s", e.ClusterPullSecret)
}

// Reader reads sources.
type Reader struct {
	get func(ctx context.Context, ref v1alpha1.SecretReference) (*corev1.Secret, error)

	mu    sync.Mutex
	known map[Scope][]version
	held  map[key]*holding
}

// remembered is the number of versions of a scope that are kept. ClusterPullSecrets with
// the same scope may refer to several.
const remembered = 4

// version is the facts of a scope at the version in a ClusterPullSecret's status.
type version struct {
	name  string
	facts Facts
}

type key struct {
	scope   Scope
	version string
}

// holding is one read of a source and its users.
type holding struct {
	done   chan struct{}
	users  int
	config dockerconfig.Config
	facts  Facts
	err    error
}

// NewReader returns a reader that reads from the API server.
func NewReader(client kubernetes.Interface) *Reader {
	return &Reader{
		get: func(ctx context.Context, ref v1alpha1.SecretReference) (*corev1.Secret, error) {
			return client.CoreV1().Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		},
		known: make(map[Scope][]version),
		held:  make(map[key]*holding),
	}
}

// Read reads a source now. The error is a *NotFoundError, a *CopyError, one of
// dockerconfig, or the API server's.
func (r *Reader) Read(ctx context.Context, scope Scope) (Facts, error) {
	_, facts, err := r.read(ctx, scope)
	return facts, err
}

func (r *Reader) read(ctx context.Context, scope Scope) (dockerconfig.Config, Facts, error) {
	ref := scope.Ref
	secret, err := r.get(ctx, ref)
	if apierrors.IsNotFound(err) {
		return dockerconfig.Config{}, Facts{}, &NotFoundError{ref}
	}
	if err != nil {
		return dockerconfig.Config{}, Facts{}, fmt.Errorf("failed to read Secret %s: %w", ref, err)
	}
	if owner := grant.Owner(secret); owner != "" {
		return dockerconfig.Config{}, Facts{}, &CopyError{owner}
	}
	config, err := dockerconfig.Parse(secret.Type, secret.Data)
	hidden := config.HidesKeys()
	if err == nil {
		config, err = scope.scope(config)
	}
	if err != nil {
		return dockerconfig.Config{}, Facts{}, err
	}
	remarks := config.Remarks()
	expires, problem := annotation.Expires(secret.Annotations)
	if problem != nil {
		remarks = append(remarks, problem.Error())
	}
	config = config.WithHub()
	return config, Facts{
		ResourceVersion: secret.ResourceVersion, Digest: config.Digest(), Credentials: config.CredentialDigests(), Expiries: config.Expiries(expires), Registries: config.Registries(),
		Hidden: hidden, Remarks: remarks, Life: config.Life(expires), ShownExpires: config.ShownLife(expires).Expires,
	}, nil
}

// Facts returns the facts of a scope at a version, which is the resourceVersion in a
// ClusterPullSecret's status. Each version is read once.
func (r *Reader) Facts(ctx context.Context, scope Scope, resourceVersion string) (Facts, error) {
	if facts, ok := r.Known(scope, resourceVersion); ok {
		return facts, nil
	}
	_, facts, release, err := r.Hold(ctx, scope, resourceVersion)
	if err != nil {
		return Facts{}, err
	}
	release()
	return facts, nil
}

// Hold returns what copies of a scope hold at a version. The caller releases it as soon
// as the copy is written. Concurrent callers for the same version share one read, so that
// a rotation of thousands of copies does not read the source thousands of times.
func (r *Reader) Hold(ctx context.Context, scope Scope, resourceVersion string) (config dockerconfig.Config, facts Facts, release func(), err error) {
	k := key{scope, resourceVersion}
	r.mu.Lock()
	h, ok := r.held[k]
	if !ok {
		h = &holding{done: make(chan struct{})}
		r.held[k] = h
	}
	h.users++
	r.mu.Unlock()
	release = sync.OnceFunc(func() { r.release(k, h) })
	if !ok {
		// Other callers share the read, so it does not end with this context.
		go r.fill(context.WithoutCancel(ctx), k, h)
	}
	select {
	case <-h.done:
	case <-ctx.Done():
		release()
		return dockerconfig.Config{}, Facts{}, nil, ctx.Err()
	}
	if h.err != nil {
		release()
		return dockerconfig.Config{}, Facts{}, nil, h.err
	}
	return h.config, h.facts, release, nil
}

func (r *Reader) fill(ctx context.Context, k key, h *holding) {
	h.config, h.facts, h.err = r.read(ctx, k.scope)
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.err == nil && h.facts.ResourceVersion == k.version {
		r.know(k.scope, k.version, h.facts)
	}
	if h.err != nil && r.held[k] == h {
		// The next caller retries.
		delete(r.held, k)
	}
	close(h.done)
}

func (r *Reader) release(k key, h *holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.users--; h.users == 0 && r.held[k] == h {
		delete(r.held, k)
	}
}

// Known returns the facts of a scope at a version if they are known.
func (r *Reader) Known(scope Scope, resourceVersion string) (Facts, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.known[scope] {
		if v.name == resourceVersion {
			return v.facts, true
		}
	}
	return Facts{}, false
}

// Know stores the facts of a scope at a version that the caller has read.
func (r *Reader) Know(scope Scope, resourceVersion string, facts Facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.know(scope, resourceVersion, facts)
}

// Keep forgets all scopes but those of these ClusterPullSecrets.
func (r *Reader) Keep(all []*v1alpha1.ClusterPullSecret) {
	scopes := sets.New[Scope]()
	for _, cps := range all {
		scopes.Insert(ScopeOf(cps))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.known, func(scope Scope, _ []version) bool { return !scopes.Has(scope) })
}

// know stores a version as the first one. It requires the lock.
func (r *Reader) know(scope Scope, resourceVersion string, facts Facts) {
	others := slices.DeleteFunc(r.known[scope], func(v version) bool { return v.name == resourceVersion })
	r.known[scope] = slices.Insert(others, 0, version{resourceVersion, facts})
	if len(r.known[scope]) > remembered {
		r.known[scope] = r.known[scope][:remembered]
	}
}

// CopiesOf returns the Secrets that are labeled as copies of a ClusterPullSecret.
func CopiesOf(lister corev1listers.SecretLister, name string) ([]*corev1.Secret, error) {
	copies, err := lister.List(labels.SelectorFromSet(grant.CopyLabels(name)))
	if err != nil {
		return nil, fmt.Errorf("failed to list the copies of ClusterPullSecret %s: %w", name, err)
	}
	return copies, nil
}

// Compare compares cached copies with a version of their source: whether any copy of that
// version holds the config with this digest, and whether any holds another one.
func Compare(copies []*corev1.Secret, version, digest string) (same, other bool) {
	for _, copied := range copies {
		if copied.Annotations[pullsecrets.SourceResourceVersionAnnotation] != version {
			continue
		}
		if string(copied.Data[corev1.DockerConfigJsonKey]) == digest {
			same = true
		} else {
			other = true
		}
	}
	return same, other
}

// Named returns the sources that ClusterPullSecrets refer to.
func Named(all []*v1alpha1.ClusterPullSecret) sets.Set[v1alpha1.SecretReference] {
	refs := sets.New[v1alpha1.SecretReference]()
	for _, cps := range all {
		refs.Insert(cps.Spec.SecretRef)
	}
	return refs
}
