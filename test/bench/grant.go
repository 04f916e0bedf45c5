// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// grants measures how long it takes from a new ClusterPullSecret until each of its Namespaces
// has its copy and a ServiceAccount that is bound to it, as tools for whole clusters do.
func grants(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	d, err := newDistributor(ctx, e)
	if err != nil {
		return err
	}
	notef("grants: creating %d Namespaces", s.grantNamespaces)
	if err := d.grow(ctx, s.grantNamespaces); err != nil {
		return err
	}
	var first, ours, bares, ratios []float64
	for round := range s.grantRounds {
		var our grantTimes
		var bare time.Duration
		sides := []func() error{
			func() (err error) { our, err = d.grant(ctx, round); return err },
			func() (err error) { bare, err = d.bareGrant(ctx); return err },
		}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			notef("grants: round %d", round+1)
			if err := side(); err != nil {
				return err
			}
		}
		first, ours, bares = append(first, milliseconds(our.first)), append(ours, milliseconds(our.last)), append(bares, milliseconds(bare))
		ratios = append(ratios, our.last.Seconds()/bare.Seconds())
	}
	fmt.Fprintf(out, "\nFrom a new ClusterPullSecret to a copy and a bound ServiceAccount in each of %d Namespaces (median of %d rounds)\n", d.namespaces, s.grantRounds)
	fmt.Fprintf(out, "  %-44s %6.0f ms\n", "controller, the first copy", median(first))
	fmt.Fprintf(out, "  %-44s %6.0f ms\n", "controller, all", median(ours))
	fmt.Fprintf(out, "  %-44s %6.0f ms\n", "bare client, all", median(bares))
	fmt.Fprintf(out, "  %-44s %6.2f      rounds %.2f to %.2f\n", "time of the controller / bare client", median(ratios), slices.Min(ratios), slices.Max(ratios))
	return nil
}

// grantTimes are how long after the request the first write and the last one were answered.
type grantTimes struct{ first, last time.Duration }

// grant creates a ClusterPullSecret that binds ServiceAccounts, and withdraws it again, which
// is not measured.
func (d *distributor) grant(ctx context.Context, round int) (grantTimes, error) {
	var times grantTimes
	if err := d.ready(ctx); err != nil {
		return times, err
	}
	name := fmt.Sprintf("bench-grant-%d", round+1)
	if err := d.createSource(ctx, name); err != nil {
		return times, err
	}
	mark, err := d.Audit.Mark()
	if err != nil {
		return times, err
	}
	object := newGrant(name)
	object.Spec.Always.ServiceAccounts = []string{"default"}
	start := time.Now()
	if _, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return times, err
	}
	var created, bound env.Requests
	for _, wanted := range []struct {
		verb, resource string
		into           *env.Requests
	}{{"create", secretsResource, &created}, {"patch", accountsResource, &bound}} {
		_, err := lastOf(ctx, d.Env, mark, d.namespaces, start, wanted.verb+" of "+wanted.resource, func(all env.Requests) env.Requests {
			found := all.By(pullsecrets.ControllerUser).Of(wanted.resource).Verbs(wanted.verb)
			*wanted.into = append(*wanted.into, found...)
			return found
		})
		if err != nil {
			return times, err
		}
	}
	earlier := func(a, b env.Request) int { return a.At.Compare(b.At) }
	times.first = slices.MinFunc(created, earlier).At.Sub(start)
	times.last = max(slices.MaxFunc(created, earlier).At.Sub(start), slices.MaxFunc(bound, earlier).At.Sub(start))
	if err := d.withdraw(ctx, name); err != nil {
		return times, err
	}
	return times, wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		all, err := d.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
		return err == nil && !slices.ContainsFunc(all.Items, func(account corev1.ServiceAccount) bool {
			_, bound := account.Annotations[pullsecrets.AddedAnnotation]
			return bound
		}), err
	})
}

// bareGrant writes the same objects with the controller's concurrency, each Secret before the
// ServiceAccount of its Namespace, and deletes them again.
func (d *distributor) bareGrant(ctx context.Context) (time.Duration, error) {
	if err := d.stopped(ctx); err != nil {
		return 0, err
	}
	all, err := d.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
	if err != nil {
		return 0, err
	}
	versions := make(map[string]string, len(all.Items))
	for _, account := range all.Items {
		versions[account.Namespace] = account.ResourceVersion
	}
	bind := func(ctx context.Context, namespace string) error {
		patch := fmt.Appendf(nil, `{"imagePullSecrets":[{"name":%q}],"metadata":{"annotations":{%q:"{\"bare\":\"clusterpullsecret/bare\"}"},"resourceVersion":%q}}`,
			bareName, pullsecrets.AddedAnnotation, versions[namespace])
		_, err := d.bare.CoreV1().ServiceAccounts(namespace).Patch(ctx, "default", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
		return err
	}
	took, err := d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
		if _, err := d.bare.CoreV1().Secrets(namespaceName(i)).Create(ctx, bareSecret("one"), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager}); err != nil {
			return err
		}
		return bind(ctx, namespaceName(i))
	})
	if err != nil {
		return 0, err
	}
	for i := range d.namespaces {
		if err := d.admin.CoreV1().Secrets(namespaceName(i)).Delete(ctx, bareName, metav1.DeleteOptions{}); err != nil {
			return 0, err
		}
		if _, err := d.admin.CoreV1().ServiceAccounts(namespaceName(i)).Patch(ctx, "default", types.MergePatchType,
			fmt.Appendf(nil, `{"imagePullSecrets":null,"metadata":{"annotations":{%q:null}}}`, pullsecrets.AddedAnnotation), metav1.PatchOptions{}); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// newGrant returns a ClusterPullSecret that is granted to the Namespaces of the benchmark.
func newGrant(name string) *v1alpha1.ClusterPullSecret {
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{grantedLabel: "true"}}
	object.Spec.Always = &v1alpha1.Always{}
	return object
}
