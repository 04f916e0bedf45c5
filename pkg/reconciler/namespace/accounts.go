// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/freshread"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/trim"
)

// topicAccount is the topic under which Events about a ServiceAccount are reported.
const topicAccount = "serviceaccount"

// accounts binds the ServiceAccounts of a Namespace: it adds the declared entries to
// their pull secrets, and removes exactly those entries when they are no longer declared.
type accounts struct {
	kube   kubernetes.Interface
	lister corev1listers.ServiceAccountLister
	// grants reads the ClusterPullSecrets from the API server. When one is deleted, every
	// namespace that it selected needs them.
	grants   *freshread.Shared[struct{}, grant.Catalog]
	reporter *events.Reporter

	// written holds the history of writes of each ServiceAccount, by Namespace.
	written memory.Table[string, *history]
}

// history is the record of the writes of one ServiceAccount. It only prevents loops, so
// it may be lost with the process.
type history struct {
	uid     types.UID
	added   contest.Additions
	contest contest.Contest
	// replaced is the resourceVersion that the last write replaced.
	replaced string
	// rejected is the last patch that the API server rejected, including the
	// resourceVersion, and denial is the Event that reported it.
	rejected []byte
	denial   events.Event
}

// declared is what a Namespace and the ClusterPullSecrets declare for ServiceAccounts.
type declared struct {
	namespace annotation.Namespace
	grants    grant.Grants
}

// list computes the list of a ServiceAccount. The error describes a damaged ledger.
func (d declared) list(account *corev1.ServiceAccount) (merge.Result, error) {
	return resources.Bind(account, d.namespace.SecretsFor(account.Name), d.grants)
}

// removes reports whether a ServiceAccount loses an entry.
func (d declared) removes(account *corev1.ServiceAccount) bool {
	result, _ := d.list(account)
	return len(result.Taken) > 0
}

// converge writes every ServiceAccount whose list differs from what is declared. A
// failure of one does not stop the others.
func (a *accounts) converge(ctx context.Context, namespace *corev1.Namespace, grants grant.Grants, o *outcome) error {
	all, err := a.lister.ServiceAccounts(namespace.Name).List(labels.Everything())
	if err != nil {
		return fmt.Errorf("failed to list the ServiceAccounts of namespace %s: %w", namespace.Name, err)
	}
	all = slices.DeleteFunc(all, func(account *corev1.ServiceAccount) bool { return !account.DeletionTimestamp.IsZero() })
	d := declared{annotation.ForNamespace(namespace.Annotations), grants}
	if slices.ContainsFunc(all, d.removes) {
		// A stale cache may not show the declaration yet by which the webhook has just
		// bound a new ServiceAccount.
		fresh, err := a.readDeclared(ctx, namespace.Name, grants.Unknown)
		if fresh == nil || err != nil {
			return err
		}
		d = *fresh
	}
	var errs []error
	for _, account := range all {
		errs = append(errs, a.bind(ctx, account, d, o))
	}
	return errors.Join(errs...)
}

// readDeclared reads what is declared from the API server, apart from ClusterPullSecrets if
// they cannot be read. It returns nil if the ServiceAccounts must not be changed.
func (a *accounts) readDeclared(ctx context.Context, name string, unknown bool) (*declared, error) {
	namespace, err := a.kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read Namespace %s: %w", name, err)
	}
	if !namespace.DeletionTimestamp.IsZero() || config.FromContext(ctx).Excludes(name, namespace.Labels) {
		return nil, nil
	}
	if unknown {
		return &declared{annotation.ForNamespace(namespace.Annotations), grant.Unknown().For(namespace.Labels)}, nil
	}
	catalog, err := a.grants.Get(ctx, struct{}{})
	if err != nil {
		return nil, fmt.Errorf("failed to list the ClusterPullSecrets: %w", err)
	}
	return &declared{annotation.ForNamespace(namespace.Annotations), catalog.For(namespace.Labels)}, nil
}

// readGrants returns the shared list of all ClusterPullSecrets.
func readGrants(client versioned.Interface) *freshread.Shared[struct{}, grant.Catalog] {
	return &freshread.Shared[struct{}, grant.Catalog]{Read: func(ctx context.Context, _ struct{}) (grant.Catalog, error) {
		list, err := client.PullsecretsV1alpha1().ClusterPullSecrets().List(ctx, metav1.ListOptions{})
		if err != nil {
			return grant.Catalog{}, err
		}
		all := make([]*v1alpha1.ClusterPullSecret, 0, len(list.Items))
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
		return grant.NewCatalog(all), nil
	}}
}

// bind reconciles one ServiceAccount, and reports problems to its owner.
func (a *accounts) bind(ctx context.Context, account *corev1.ServiceAccount, d declared, o *outcome) error {
	result, damaged := d.list(account)
	reports, err := a.update(ctx, account, result, o)
	if damaged != nil {
		reports = append(reports, events.InvalidLedger(damaged))
	}
	for _, problem := range annotation.Misplaced(annotation.OnServiceAccount, account.Annotations, account.Labels) {
		reports = append(reports, events.InvalidAnnotation(problem))
	}
	if _, all := a.reporter.Report(controller.GetEventRecorder(ctx), account, topicAccount, reports); !all {
		o.requeueAfter(events.RetryAfter)
	}
	return err
}

// update writes the due changes, or returns the Events that say why it does not.
func (a *accounts) update(ctx context.Context, account *corev1.ServiceAccount, result merge.Result, o *outcome) ([]events.Event, error) {
	if !result.Changed() {
		return nil, nil
	}
	if back, left := a.contested(account, result); left > 0 {
		o.requeueAfter(left)
		return []events.Event{events.BindingContested(back)}, nil
	}
	changes := events.Changes(result)
	if len(result.Added) > 0 && trim.IsFull(account) || result.TooLong() {
		return []events.Event{events.BindingDenied(changes, events.ErrNoRoom)}, nil
	}
	patch, err := resources.MakeAccountPatch(account, result)
	if err != nil {
		return nil, fmt.Errorf("failed to encode the patch of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	if denial, rejected := a.wasRejected(account, patch); rejected {
		return []events.Event{denial}, nil
	}
	written, err := a.kube.CoreV1().ServiceAccounts(account.Namespace).Patch(ctx, account.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case events.Refused(err):
		denial := events.BindingDenied(changes, err)
		a.reject(account, patch, denial)
		return []events.Event{denial}, nil
	case err != nil:
		return nil, fmt.Errorf("failed to patch the pull secrets of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	a.wrote(account, written.ResourceVersion, result)
	o.bound = append(o.bound, events.Binding{Account: account.Name, Result: result})
	return nil, nil
}

// recall calls do with the history of a ServiceAccount, which is empty if the
// ServiceAccount was recreated. The history is kept if do returns true.
func (a *accounts) recall(account *corev1.ServiceAccount, do func(h *history) (keep bool)) {
	a.written.Do(byNamespace(account.Namespace), func(all map[string]*history) {
		h := all[account.Name]
		if h == nil || h.uid != account.UID {
			h = &history{uid: account.UID}
		}
		if do(h) {
			all[account.Name] = h
		}
	})
}

// contested returns the entries that are removed again and again, and how long to leave
// the ServiceAccount alone, or zero. What lacks in a stale cache that does not show the last
// write yet was removed by nobody.
func (a *accounts) contested(account *corev1.ServiceAccount, result merge.Result) (back []merge.Entry, left time.Duration) {
	a.recall(account, func(h *history) bool {
		if h.replaced != "" && h.replaced == account.ResourceVersion {
			return false
		}
		if back = h.added.Again(result); len(back) > 0 {
			left = h.contest.Left(time.Now())
		}
		return len(back) > 0
	})
	return back, left
}

// wrote records a write, after which the ServiceAccount has this resourceVersion. It is the same
// if the change was reverted in the same request.
func (a *accounts) wrote(account *corev1.ServiceAccount, version string, result merge.Result) {
	a.recall(account, func(h *history) bool {
		h.rejected, h.denial = nil, events.Event{}
		if len(h.added.Again(result)) > 0 {
			h.contest.Note(time.Now())
		}
		h.added.Wrote(result)
		if h.replaced = ""; version != account.ResourceVersion {
			h.replaced = account.ResourceVersion
		}
		return true
	})
}

// reject records a patch that the API server rejected permanently.
func (a *accounts) reject(account *corev1.ServiceAccount, patch []byte, denial events.Event) {
	a.recall(account, func(h *history) bool {
		h.rejected, h.denial = patch, denial
		return true
	})
}

// wasRejected reports whether the API server rejected the same patch before, with the
// Event that reported it.
func (a *accounts) wasRejected(account *corev1.ServiceAccount, patch []byte) (denial events.Event, rejected bool) {
	a.recall(account, func(h *history) bool {
		denial, rejected = h.denial, bytes.Equal(h.rejected, patch)
		return rejected
	})
	return denial, rejected
}

// forget drops the history of a ServiceAccount that was deleted.
func (a *accounts) forget(object any) {
	o, err := kmeta.DeletionHandlingAccessor(object)
	if err != nil {
		return
	}
	a.reporter.ForgetObject(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}, topicAccount)
	a.written.Do(byNamespace(o.GetNamespace()), func(all map[string]*history) { delete(all, o.GetName()) })
}
