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
)

// tally is what became of the copies of a ClusterPullSecret.
type tally struct {
	counts v1alpha1.NamespaceCounts
	// missing are the namespaces that want a copy and have none that is up to date.
	missing []string
	// older serves some of the namespaces under the same name; the first by name,
	// where several do.
	older string
}

// A verdict is what became of the copy in one namespace that is selected.
type verdict struct {
	// older serves the namespace under the same name, and this one does not.
	older          string
	wanted, synced bool
}

// verdicts are those of one ClusterPullSecret, with their sum. They are kept, so that a
// copy that comes costs a look at its namespace and not at all of them.
type verdicts struct {
	of          basis
	byNamespace map[string]verdict
	counts      v1alpha1.NamespaceCounts
	missing     sets.Set[string]
	// beaten counts the namespaces that each older one serves.
	beaten map[string]int
	// changed are the namespaces to look at again.
	changed sets.Set[string]
}

func newVerdicts(of basis) verdicts {
	return verdicts{
		of: of, byNamespace: make(map[string]verdict), missing: sets.New[string](), beaten: make(map[string]int), changed: sets.New[string](),
	}
}

// basis is what verdicts depend on beside the namespaces: the settings, the
// ClusterPullSecret's own spec, and the version of the source that copies are compared
// with.
type basis struct {
	settings   *config.Config
	generation int64
	version    string
}

// tallies keeps the verdicts of each ClusterPullSecret. Events mark what has changed,
// and the reconciler judges that anew.
type tallies struct{ *memory.Store[verdicts] }

func keyFor(name string) types.NamespacedName { return types.NamespacedName{Name: name} }

// touch marks a namespace in which something has happened, or to which, that concerns a
// ClusterPullSecret.
func (l tallies) touch(name, namespace string) {
	l.Do(keyFor(name), func(v *verdicts) bool {
		if v.byNamespace == nil {
			return false // All of them are judged anyway.
		}
		v.changed.Insert(namespace)
		return true
	})
}

// forget drops what is known of a ClusterPullSecret, so that all of its namespaces are
// judged anew.
func (l tallies) forget(name string) { l.Forget(keyFor(name)) }

// take returns the verdicts of a ClusterPullSecret and the namespaces to judge anew, or
// false if that is all of them.
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

// tally looks at the namespaces where something has happened, and sums up.
func (r *Reconciler) tally(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (tally, error) {
	of := basis{settings: config.FromContext(ctx), generation: cps.Generation}
	if cps.Status.Source != nil {
		of.version = cps.Status.Source.ResourceVersion
	}
	v, names, known := r.tallies.take(cps.Name, of)
	if !known {
		// Only namespaces that are selected have a verdict.
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
		one, selected, err := r.judge(ctx, cps, name)
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

// drop takes the verdict of a namespace out, if there is one.
func (v *verdicts) drop(namespace string) {
	if one, known := v.byNamespace[namespace]; known {
		delete(v.byNamespace, namespace)
		v.add(namespace, one, -1)
	}
}

// add counts a verdict in, or out with n below zero.
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

// sum costs no look at any namespace but those whose copies are missing. It is stable:
// whichever namespace comes first, the outcome is the same.
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

// judge returns the verdict of one namespace, and reports whether it is selected at all.
func (r *Reconciler) judge(ctx context.Context, cps *v1alpha1.ClusterPullSecret, name string) (v verdict, selected bool, err error) {
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
	v.synced = v.wanted && r.synced(cps, namespace)
	return v, true, nil
}

// synced reports whether a namespace has a copy of the source as it is now.
func (r *Reconciler) synced(cps *v1alpha1.ClusterPullSecret, namespace *corev1.Namespace) bool {
	name := grant.SecretName(cps)
	if grant.IsSource(cps, namespace.Name, name) {
		return true
	}
	copied, err := r.secrets.Secrets(namespace.Name).Get(name)
	return err == nil && cps.Status.Source != nil && !grant.TakenOver(&copied.ObjectMeta) &&
		grant.HasCopyMetadata(&copied.ObjectMeta, cps, cps.Status.Source.ResourceVersion)
}
