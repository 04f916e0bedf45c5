// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// grantedLabel is set on Namespaces that get copies.
	grantedLabel = "bench.test/granted"
	// bareName is the name of the Secrets that the bare client writes, beside the
	// copies and in the same namespaces.
	bareName = "bare"
)

// distribution compares the controller with a loop that only sends the writes: of
// all copies of a credential, of their rotation, of their revocation, and of those in
// new Namespaces.
func distribution(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	d, err := newDistributor(ctx, e)
	if err != nil {
		return err
	}
	for _, size := range []struct{ namespaces, rounds int }{
		{s.fewNamespaces, s.rounds}, {s.manyNamespaces, s.distributionRounds},
	} {
		notef("distribution: making %d Namespaces", size.namespaces-d.namespaces)
		if err := d.grow(ctx, size.namespaces); err != nil {
			return err
		}
		if size.rounds == 0 {
			continue
		}
		if err := d.measure(ctx, size.rounds, s.newNamespaces, out); err != nil {
			return err
		}
	}
	if s.profile == "" {
		return nil
	}
	return profile(ctx, e, s.profile, func() error {
		const round = -1 // It is no other's.
		for _, do := range []func(context.Context, int) (time.Duration, error){d.distribute, d.rotate, d.revoke} {
			if _, err := do(ctx, round); err != nil {
				return err
			}
		}
		return nil
	})
}

// A distributor makes Namespaces and distributes a credential to them, both by the
// controller and bare.
type distributor struct {
	*env.Env
	bare        kubernetes.Interface
	cps         versioned.Interface
	concurrency int
	namespaces  int
	extra       int
}

func newDistributor(ctx context.Context, e *env.Env) (*distributor, error) {
	d := &distributor{Env: e}
	var err error
	if d.concurrency, err = threads(ctx, e); err != nil {
		return nil, err
	}
	config := unlimitedConfig(e)
	if d.bare, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	d.cps, err = versioned.NewForConfig(config)
	return d, err
}

// namespacePrefix is what the names of the Namespaces begin with that every round is
// about.
const namespacePrefix = "bench-copies-"

func namespaceName(i int) string { return fmt.Sprintf("%s%04d", namespacePrefix, i) }

// makeGranted makes a Namespace that gets copies.
func (d *distributor) makeGranted(ctx context.Context, name string) error {
	_, err := d.bare.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{grantedLabel: "true"}},
	}, metav1.CreateOptions{})
	return err
}

// grow makes Namespaces until there are n, and waits until Kubernetes has made in
// them what it makes in each.
func (d *distributor) grow(ctx context.Context, n int) error {
	err := fleet.Each(ctx, n-d.namespaces, 16, func(ctx context.Context, i int) error { return d.makeGranted(ctx, namespaceName(d.namespaces+i)) })
	if err != nil {
		return err
	}
	d.namespaces = n
	return d.settled(ctx)
}

// settled waits until every Namespace has its ServiceAccount and its ConfigMap.
func (d *distributor) settled(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, time.Second, 2*patience, true, func(ctx context.Context) (bool, error) {
		accounts, err := d.bare.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=default"})
		if err != nil {
			return false, err
		}
		certificates, err := d.bare.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=kube-root-ca.crt"})
		if err != nil {
			return false, err
		}
		want := d.namespaces + d.extra
		return len(accounts.Items) >= want && len(certificates.Items) >= want, nil
	})
}

// A step is one of the things that are measured, once by the controller and once
// bare; each is called with the number of the round.
type step struct {
	name       string
	ours, bare func(ctx context.Context, round int) (time.Duration, error)
	each       int // how many copies it is about
	speeds     [3][]float64
}

func (d *distributor) measure(ctx context.Context, rounds, newNamespaces int, out io.Writer) error {
	steps := []*step{
		{name: "first distribution", ours: d.distribute, bare: d.bareDistribute, each: d.namespaces},
		{name: "rotation, to the last copy", ours: d.rotate, bare: d.bareRotate, each: d.namespaces},
		{name: "new Namespaces", ours: d.newNamespaces(newNamespaces), bare: d.bareNewNamespaces(newNamespaces), each: newNamespaces},
		{name: "revocation", ours: d.revoke, bare: d.bareRevoke, each: d.namespaces + newNamespaces},
	}
	for round := range rounds {
		for _, s := range steps {
			notef("distribution: %d Namespaces, round %d, %s", d.namespaces, round+1, s.name)
			if err := s.run(ctx, round); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		if err := d.clear(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nCopies in %d Namespaces, %d at a time (copies per second, median of %d rounds)\n", d.namespaces, d.concurrency, rounds)
	fmt.Fprintf(out, "  %-28s %12s %12s %8s   %s\n", "", "controller", "bare client", "ratio", "rounds")
	for _, s := range steps {
		lowest, highest := slices.Min(s.speeds[2]), slices.Max(s.speeds[2])
		fmt.Fprintf(out, "  %-28s %12.0f %12.0f %8.2f   %.2f to %.2f\n", s.name, median(s.speeds[0]), median(s.speeds[1]), median(s.speeds[2]), lowest, highest)
	}
	fmt.Fprintf(out, "  API writes per copy and step: 1, as counted in each round\n")
	return nil
}

// run measures both sides, each of which goes first in every other round.
func (s *step) run(ctx context.Context, round int) error {
	var took [2]time.Duration
	sides := []int{0, 1}
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		var err error
		if took[side], err = []func(context.Context, int) (time.Duration, error){s.ours, s.bare}[side](ctx, round); err != nil {
			return err
		}
	}
	ours, bare := float64(s.each)/took[0].Seconds(), float64(s.each)/took[1].Seconds()
	for i, speed := range []float64{ours, bare, ours / bare} {
		s.speeds[i] = append(s.speeds[i], speed)
	}
	return nil
}

func (d *distributor) name(round int) string {
	return fmt.Sprintf("bench-%d-%d", d.namespaces, round+1)
}

// credential is what a source, and so each copy, holds.
func credential(password string) map[string][]byte {
	return map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"username":"robot","password":%q}}}`, password)}
}

// byController does what makes the controller write n copies, and returns how long
// that takes it. It fails unless each is one write, and nothing else is written but
// the status of the ClusterPullSecret, its finalizer and Events.
func (d *distributor) byController(ctx context.Context, verb string, n int, do func() error) (time.Duration, error) {
	mark, err := d.Audit.Mark()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	took, err := lastOf(ctx, d.Env, mark, n, start, verb+" of copies", func(all env.Requests) env.Requests {
		return all.By(env.ControllerUser).Of("secrets").Verbs(verb)
	})
	if err != nil {
		return 0, err
	}
	requests, err := d.Audit.Since(mark)
	if err != nil {
		return 0, err
	}
	writes := requests.By(env.ControllerUser).Writes()
	copies := writes.Of("secrets")
	first := slices.MinFunc(copies, func(a, b env.Request) int { return a.At.Compare(b.At) })
	notef("distribution: the first %s was answered after %s, the last after %s", verb, first.At.Sub(start).Round(time.Millisecond), took.Round(time.Millisecond))
	own := len(writes.Of("clusterpullsecrets.pullsecrets.dev")) + len(writes.Of("events"))
	if len(copies) != n || len(copies.Verbs(verb)) != n || len(writes) != n+own {
		return 0, fmt.Errorf("want %d writes of copies, each a %s, and got %d; in all %d writes, of which %d of the ClusterPullSecret and its Events",
			n, verb, len(copies), len(writes), own)
	}
	return took, nil
}

// bareWrites sends n requests from as many goroutines as the controller has.
func (d *distributor) bareWrites(ctx context.Context, n int, write func(ctx context.Context, i int) error) (time.Duration, error) {
	start := time.Now()
	err := fleet.Each(ctx, n, d.concurrency, write)
	return time.Since(start), err
}

func (d *distributor) distribute(ctx context.Context, round int) (time.Duration, error) {
	name := d.name(round)
	_, err := d.bare.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("one"),
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	return d.byController(ctx, "create", d.namespaces, func() error {
		object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
		object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
		object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{grantedLabel: "true"}}
		object.Spec.Always = &v1alpha1.Always{}
		_, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{})
		return err
	})
}

// bareSecret is what a copy is, but for its labels, lest the controller takes it for
// one.
func bareSecret(password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        bareName,
			Labels:      map[string]string{pullsecrets.ManagedByLabel: "bench", "bench.test/cluster-pull-secret": "bench"},
			Annotations: map[string]string{pullsecrets.SourceResourceVersionAnnotation: "12345"},
		},
		Type: corev1.SecretTypeDockerConfigJson, Data: credential(password),
	}
}

func (d *distributor) bareDistribute(ctx context.Context, _ int) (time.Duration, error) {
	return d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
		_, err := d.bare.CoreV1().Secrets(namespaceName(i)).Create(ctx, bareSecret("one"), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
}

func (d *distributor) rotate(ctx context.Context, round int) (time.Duration, error) {
	return d.byController(ctx, "update", d.namespaces, func() error {
		_, err := d.bare.CoreV1().Secrets(pullsecrets.SourcesNamespace).Update(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: d.name(round)}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("two"),
		}, metav1.UpdateOptions{})
		return err
	})
}

func (d *distributor) bareRotate(ctx context.Context, _ int) (time.Duration, error) {
	all, err := d.bareSecrets(ctx)
	if err != nil {
		return 0, err
	}
	return d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
		updated := bareSecret("two")
		updated.ResourceVersion, updated.UID = all[namespaceName(i)].ResourceVersion, all[namespaceName(i)].UID
		_, err := d.bare.CoreV1().Secrets(namespaceName(i)).Update(ctx, updated, metav1.UpdateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
}

func (d *distributor) bareSecrets(ctx context.Context) (map[string]*corev1.Secret, error) {
	list, err := d.bare.CoreV1().Secrets("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + bareName})
	if err != nil {
		return nil, err
	}
	all := make(map[string]*corev1.Secret, len(list.Items))
	for i := range list.Items {
		all[list.Items[i].Namespace] = &list.Items[i]
	}
	return all, nil
}

func (d *distributor) revoke(ctx context.Context, round int) (time.Duration, error) {
	client := d.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	took, err := d.byController(ctx, "delete", d.namespaces+d.extra, func() error { return client.Delete(ctx, d.name(round), metav1.DeleteOptions{}) })
	if err != nil {
		return 0, err
	}
	return took, wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		_, err := client.Get(ctx, d.name(round), metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func (d *distributor) bareRevoke(ctx context.Context, _ int) (time.Duration, error) {
	all, err := d.bareSecrets(ctx)
	if err != nil {
		return 0, err
	}
	secrets := slices.Collect(maps.Values(all))
	return d.bareWrites(ctx, len(secrets), func(ctx context.Context, i int) error {
		secret := secrets[i]
		return d.bare.CoreV1().Secrets(secret.Namespace).Delete(ctx, bareName, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
		})
	})
}

// newNamespaces makes Namespaces and waits until the controller has made the copy in
// the last one. The bare client makes as many, and writes each Secret itself.
func (d *distributor) newNamespaces(n int) func(context.Context, int) (time.Duration, error) {
	return func(ctx context.Context, round int) (time.Duration, error) {
		took, err := d.byController(ctx, "create", n, func() error {
			return fleet.Each(ctx, n, d.concurrency, func(ctx context.Context, i int) error {
				return d.makeGranted(ctx, fmt.Sprintf("%s-new-%d", d.name(round), i))
			})
		})
		d.extra += n
		return took, err
	}
}

func (d *distributor) bareNewNamespaces(n int) func(context.Context, int) (time.Duration, error) {
	return func(ctx context.Context, round int) (time.Duration, error) {
		return d.bareWrites(ctx, n, func(ctx context.Context, i int) error {
			name := fmt.Sprintf("%s-bare-%d", d.name(round), i)
			_, err := d.bare.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench.test/bare": "true"}},
			}, metav1.CreateOptions{})
			if err == nil {
				_, err = d.bare.CoreV1().Secrets(name).Create(ctx, bareSecret("two"), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
			}
			return err
		})
	}
}

// clear takes the new Namespaces of a round out of the next one, so that each is
// about as many.
func (d *distributor) clear(ctx context.Context) error {
	list, err := d.bare.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: grantedLabel})
	if err != nil {
		return err
	}
	none, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{grantedLabel: nil}}})
	if err != nil {
		return err
	}
	for _, namespace := range list.Items {
		if strings.HasPrefix(namespace.Name, namespacePrefix) {
			continue
		}
		if _, err := d.bare.CoreV1().Namespaces().Patch(ctx, namespace.Name, types.MergePatchType, none, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	d.extra = 0
	return nil
}
