// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
)

// tally summarizes the copies of a ClusterPullSecret.
type tally struct {
	counts v1alpha1.NamespaceCounts
	// missing are the namespaces that ask for a copy and have none that is up to date.
	missing []string
	// older is the ClusterPullSecret that serves some of the namespaces under the same
	// name. If there are several, it is the first by name.
	older string
}

// verdict is the state of the copy in one selected namespace.
type verdict struct {
	// older is the ClusterPullSecret that serves the namespace under the same name
	// instead, or empty.
	older          string
	wanted, synced bool
}

// verdicts holds the verdicts of one ClusterPullSecret and their sum. They are kept, so
// that an event of one copy costs the inspection of one namespace.
type verdicts struct {
	of          basis
	byNamespace map[string]verdict
	counts      v1alpha1.NamespaceCounts
	missing     sets.Set[string]
	// beaten counts the namespaces that each older ClusterPullSecret serves.
	beaten map[string]int
	// changed are the namespaces to judge again.
	changed sets.Set[string]
}

func newVerdicts(of basis) verdicts {
	return verdicts{
		of: of, byNamespace: make(map[string]verdict), missing: sets.New[string](), beaten: make(map[string]int), changed: sets.New[string](),
	}
}

// basis is what all verdicts depend on: the settings, the spec of the ClusterPullSecret,
// and the version of the source that copies are compared with. The digest of their contents
// is empty if this process has not read that version. A change of spec.registries changes the
// digest and not the version.
type basis struct {
	settings        *config.Config
	generation      int64
	version, digest string
}

// tallies holds the verdicts of each ClusterPullSecret. Events mark namespaces as
// changed, and the reconciler judges them again.
type tallies struct{ *memory.Store[verdicts] }

func keyFor(name string) types.NamespacedName { return types.NamespacedName{Name: name} }

// markChanged marks a namespace to be judged again for a ClusterPullSecret.
func (l tallies) markChanged(name, namespace string) {
	l.Do(keyFor(name), func(v *verdicts) bool {
		if v.byNamespace == nil {
			return false // All namespaces are judged anyway.
		}
		v.changed.Insert(namespace)
		return true
	})
}

// forget drops the verdicts of a ClusterPullSecret, so that all of its namespaces are
// judged again.
func (l tallies) forget(name string) { l.Forget(keyFor(name)) }

// take returns the verdicts of a ClusterPullSecret and the namespaces to judge again.
// known is false if all of them must be judged.
func (l tallies) take(name string, of basis) (v *verdicts, changed []string, known bool) {
	l.Do(keyFor(name), func(kept *verdicts) bool {
		if known = kept.byNamespace != nil && kept.of == of; known {
			changed, kept.changed = kept.changed.UnsortedList(), sets.New[string]()
		} else {
			*kept = newVerdicts(of)
		}
		v = kept
		return true
	})
	return v, changed, known
}

// tally judges the namespaces that changed and returns the summary.
func (r *Reconciler) tally(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (tally, error) {
	of := basis{settings: config.FromContext(ctx), generation: cps.Generation}
	if cps.Status.Source != nil {
		of.version = cps.Status.Source.ResourceVersion
		known, _ := r.sources.Known(source.ScopeOf(cps), of.version)
		of.digest = known.Digest
	}
	v, names, known := r.tallies.take(cps.Name, of)
	if !known {
		// Only selected namespaces have a verdict.
		selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
		if err != nil {
			return v.sum(), nil //nolint:nilerr // A selector that does not parse grants nothing.
		}
		all, err := r.namespaces.List(selector)
		if err != nil {
			r.tallies.forget(cps.Name)
			return tally{}, fmt.Errorf("failed to list Namespaces: %w", err)
		}
		for _, namespace := range all {
			names = append(names, namespace.Name)
		}
	}
	for _, name := range names {
		one, selected, err := r.judge(ctx, cps, name, of)
		if err != nil {
			r.tallies.forget(cps.Name)
			return tally{}, err
		}
		v.drop(name)
		if selected {
			v.set(name, one)
		}
	}
	return v.sum(), nil
}

// set adds the verdict of a namespace that has none.
func (v *verdicts) set(namespace string, one verdict) {
	v.byNamespace[namespace] = one
	v.add(namespace, one, 1)
}

// drop removes the verdict of a namespace, if there is one.
func (v *verdicts) drop(namespace string) {
	if one, known := v.byNamespace[namespace]; known {
		delete(v.byNamespace, namespace)
		v.add(namespace, one, -1)
	}
}

// add counts a verdict n times, where n is 1 or -1.
func (v *verdicts) add(namespace string, one verdict, n int32) {
	v.counts.Selected += n
	switch {
	case one.older != "":
		if v.beaten[one.older] += int(n); v.beaten[one.older] == 0 {
			delete(v.beaten, one.older)
		}
	case !one.wanted:
	case one.synced:
		v.counts.Wanted += n
		v.counts.Synced += n
	default:
		v.counts.Wanted += n
		if n > 0 {
			v.missing.Insert(namespace)
		} else {
			v.missing.Delete(namespace)
		}
	}
}

// sum returns the summary. Its cost depends on the missing copies only. It is stable: the
// order in which namespaces are judged does not matter.
func (v *verdicts) sum() tally {
	t := tally{counts: v.counts}
	for older := range v.beaten {
		if t.older == "" || older < t.older {
			t.older = older
		}
	}
	if v.missing.Len() > 0 {
		t.missing = slices.Sorted(maps.Keys(v.missing))
	}
	return t
}

// judge returns the verdict of one namespace, and reports whether the namespace is
// selected.
func (r *Reconciler) judge(ctx context.Context, cps *v1alpha1.ClusterPullSecret, name string, of basis) (v verdict, selected bool, err error) {
	namespace, err := r.namespaces.Get(name)
	if apierrors.IsNotFound(err) || err == nil && !namespace.DeletionTimestamp.IsZero() {
		return v, false, nil
	}
	if err != nil {
		return v, false, fmt.Errorf("failed to get Namespace %s: %w", name, err)
	}
	services, err := r.services.Services(name).List(labels.Everything())
	if err != nil {
		return v, false, fmt.Errorf("failed to list the Services of namespace %s: %w", name, err)
	}
	older, serves, wanted, err := r.catalog.DueOf(cps, namespace, services, config.FromContext(ctx).Excludes(name, namespace.Labels))
	if err != nil || older != "" || !serves {
		return verdict{older: older}, older != "", err
	}
	v.wanted = wanted
	v.synced = v.wanted && r.synced(cps, namespace, of)
	return v, true, nil
}

// synced reports whether a namespace has a copy of the current version of the source.
func (r *Reconciler) synced(cps *v1alpha1.ClusterPullSecret, namespace *corev1.Namespace, of basis) bool {
	name := grant.SecretName(cps)
	if grant.IsSource(cps, namespace.Name, name) {
		return true
	}
	copied, err := r.secrets.Secrets(namespace.Name).Get(name)
	return err == nil && cps.Status.Source != nil && !grant.TakenOver(&copied.ObjectMeta) &&
		grant.HasCopyMetadata(&copied.ObjectMeta, cps, of.version) &&
		(of.digest == "" || string(copied.Data[corev1.DockerConfigJsonKey]) == of.digest)
}
