// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
)

// topicAccount is what is reported of a ServiceAccount.
const topicAccount = "serviceaccount"

// accounts binds the ServiceAccounts of a Namespace: they get what is declared for
// them into their pull secrets, and lose again exactly that.
type accounts struct {
	kube     kubernetes.Interface
	lister   corev1listers.ServiceAccountLister
	reporter *events.Reporter

	mu       sync.Mutex
	contests map[types.NamespacedName]*bound
}

// bound is what is remembered of the writes of one ServiceAccount.
type bound struct {
	uid     types.UID
	added   sets.Set[string]
	contest contest.Contest
}

// converge writes every ServiceAccount whose list is not what it should be, as far
// as each goes.
func (a *accounts) converge(ctx context.Context, namespace *corev1.Namespace, grants grant.Grants, o *outcome) error {
	all, err := a.lister.ServiceAccounts(namespace.Name).List(labels.Everything())
	if err != nil {
		return fmt.Errorf("failed to list the ServiceAccounts of namespace %s: %w", namespace.Name, err)
	}
	declared := annotation.ForNamespace(namespace.Annotations)
	var errs []error
	for _, account := range all {
		var secrets []string
		if declared.ServiceAccounts.All || slices.Contains(declared.ServiceAccounts.Names, account.Name) {
			secrets = declared.Secrets
		}
		errs = append(errs, a.bind(ctx, account, secrets, grants.Bound(account.Name), o))
	}
	return errors.Join(errs...)
}

func (a *accounts) bind(ctx context.Context, account *corev1.ServiceAccount, secrets []string, always []merge.Grant, o *outcome) error {
	if !account.DeletionTimestamp.IsZero() {
		return nil
	}
	result, damaged := resources.Bind(account, secrets, always)
	var reports []events.Event
	if damaged != nil {
		reports = append(reports, events.InvalidLedger(damaged))
	}
	if back, left := a.contested(account, result); left > 0 {
		reports = append(reports, events.BindingContested(back))
		o.lookAgain(left)
		result = merge.Result{}
	}
	if _, all := a.reporter.Report(controller.GetEventRecorder(ctx), account, topicAccount, reports); !all {
		o.lookAgain(untold)
	}
	if !result.Changed() {
		return nil
	}
	return a.write(ctx, account, result)
}

func (a *accounts) write(ctx context.Context, account *corev1.ServiceAccount, result merge.Result) error {
	patch, err := resources.MakeAccountPatch(account, result)
	if err != nil {
		return fmt.Errorf("failed to make the patch of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	_, err = a.kube.CoreV1().ServiceAccounts(account.Namespace).Patch(ctx, account.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to patch the pull secrets of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	a.wrote(account, result)
	recorder := controller.GetEventRecorder(ctx)
	for _, e := range events.Happened(result) {
		recorder.Event(account, e.Type, e.Reason, e.Message)
	}
	return nil
}

// recall returns what is known of a ServiceAccount, which is nothing if it was made
// anew. The caller holds the lock.
func (a *accounts) recall(account *corev1.ServiceAccount) *bound {
	key := types.NamespacedName{Namespace: account.Namespace, Name: account.Name}
	b := a.contests[key]
	if b == nil || b.uid != account.UID {
		b = &bound{uid: account.UID, added: sets.New[string]()}
		if a.contests == nil {
			a.contests = make(map[types.NamespacedName]*bound)
		}
		a.contests[key] = b
	}
	return b
}

// contested returns which entries somebody keeps removing, and how long the
// ServiceAccount is left alone for that.
func (a *accounts) contested(account *corev1.ServiceAccount, result merge.Result) ([]merge.Entry, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.recall(account)
	back := b.putBack(result)
	if len(back) == 0 {
		return nil, 0
	}
	return back, b.contest.Left(time.Now())
}

// putBack lists what would be added although it was added before.
func (b *bound) putBack(result merge.Result) []merge.Entry {
	return slices.DeleteFunc(slices.Clone(result.Added), func(e merge.Entry) bool { return !b.added.Has(e.Name) })
}

// wrote notes a write.
func (a *accounts) wrote(account *corev1.ServiceAccount, result merge.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.recall(account)
	if len(b.putBack(result)) > 0 {
		b.contest.Note(time.Now())
	}
	for _, e := range result.Added {
		b.added.Insert(e.Name)
	}
	for _, e := range result.Taken {
		b.added.Delete(e.Name)
	}
}

// forget drops what is known of a namespace that is gone.
func (a *accounts) forget(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.contests {
		if key.Namespace == namespace {
			delete(a.contests, key)
			a.reporter.Forget(key, topicAccount)
		}
	}
}
