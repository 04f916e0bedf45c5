// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// goodTenant is the namespace of the measured tenant.
	goodTenant = "bench-good-tenant"
	// goodServices is the number of Services in each backfill.
	goodServices = 8
	// neighbourRate is the value of backfill-per-minute, four times the default. With a
	// limit Services queue up, and one tenant could delay another. A rate that is much
	// higher keeps two cores busy with the turns of the hostile tenants.
	neighbourRate = "240"
	// turn is the time per Service at that rate, in seconds.
	turn = 60.0 / 240
	// admissions is the number of creations per round, of which the median is taken.
	admissions = 40
	// attackedBefore is how long the attacks run before something is measured.
	attackedBefore = 10 * time.Second
)

// neighbours measures how hostile tenants affect another tenant: the latency of its
// admission, backfill, rotation and revocation alone, beside hostile tenants in excluded
// namespaces, and beside hostile tenants that are not excluded. The excluded ones cost
// the API server the same requests, so the last ratio shows what the controller and the
// webhook add.
func neighbours(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	if err := limitBackfill(ctx, e, neighbourRate); err != nil {
		return err
	}
	g, err := newGoodTenant(ctx, e)
	if err != nil {
		return err
	}
	worlds := []struct {
		name   string
		beside func(ctx context.Context, round int) (stop func() error, err error)
	}{
		{"alone", func(context.Context, int) (func() error, error) { return func() error { return nil }, nil }},
		{"beside excluded", func(ctx context.Context, round int) (func() error, error) {
			return startAttacks(ctx, e, round, s.pace, true)
		}},
		{"beside hostile", func(ctx context.Context, round int) (func() error, error) {
			return startAttacks(ctx, e, round, s.pace, false)
		}},
	}
	took := make(map[string][][]float64, len(worlds))
	for round := range s.neighbourRounds {
		for i := range worlds {
			// The worlds take turns in going first.
			w := worlds[(i+round)%len(worlds)]
			notef("neighbours: round %d, %s", round+1, w.name)
			stop, err := w.beside(ctx, round)
			if err != nil {
				return err
			}
			var times []float64
			measure := func() (err error) {
				times, err = g.measure(ctx)
				return err
			}
			if s.profile != "" && round == 0 && i == len(worlds)-1 {
				timed := measure
				measure = func() error { return profile(ctx, e, s.profile, timed) }
			}
			busy, err := busyWhile(ctx, e, measure)
			if err := errors.Join(err, stop()); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took[w.name] = append(took[w.name], append(times, busy...))
		}
	}
	printNeighbours(out, s.neighbourRounds, []string{worlds[0].name, worlds[1].name, worlds[2].name}, took)
	return nil
}

// printNeighbours prints the medians of what each world took, by step and by program, and
// their ratios. worlds are alone, beside excluded and beside hostile tenants.
func printNeighbours(out io.Writer, rounds int, worlds []string, took map[string][][]float64) {
	fmt.Fprintf(out, "\nA tenant beside %d hostile ones (milliseconds, median of %d rounds)\n", len(hostilities), rounds)
	fmt.Fprintf(out, "  %-24s %10s %16s %16s %16s %16s\n", "", worlds[0], worlds[1], worlds[2], "hostile/alone", "hostile/excluded")
	rows := slices.Clone(goodSteps)
	for _, program := range programs {
		rows = append(rows, "CPU of "+program+", %")
	}
	for i, name := range rows {
		var medians []float64
		for _, world := range worlds {
			var of []float64
			for _, times := range took[world] {
				of = append(of, times[i])
			}
			medians = append(medians, median(of))
		}
		fmt.Fprintf(out, "  %-24s %10.0f %16.0f %16.0f %16.2f %16.2f\n", name, medians[0], medians[1], medians[2], medians[2]/medians[0], medians[2]/medians[1])
	}
	fmt.Fprintf(out, "  Of %s turns a minute, Services that are Ready have one in four where others never were: the backfill takes %.0f s then, and %.0f s alone, by the rate.\n",
		neighbourRate, 4*goodServices*turn, goodServices*turn)
}

func limitBackfill(ctx context.Context, e *env.Env, perMinute string) error {
	_, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, "config-pullsecrets", types.MergePatchType,
		fmt.Appendf(nil, `{"data":{"backfill-per-minute":%q}}`, perMinute), metav1.PatchOptions{})
	return err
}

// good is the measured tenant.
type good struct {
	*env.Env
	serving servingclient.Interface
	cps     versioned.Interface
	round   int
}

// goodSteps are the measured steps, in the order of measure.
var goodSteps = []string{"bare request, each", "admission, each", "distribution", "backfill of 8 Services", "rotation", "revocation"}

func newGoodTenant(ctx context.Context, e *env.Env) (*good, error) {
	g := &good{Env: e}
	var err error
	if g.serving, err = unlimited(e); err != nil {
		return nil, err
	}
	if g.cps, err = versioned.NewForConfig(unlimitedConfig(e)); err != nil {
		return nil, err
	}
	_, err = e.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: goodTenant, Labels: map[string]string{grantedLabel: "good"}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return g, makeReadyServices(ctx, e, goodTenant, goodServices)
}

// measure runs all steps once and returns their durations in milliseconds, in the order
// of goodSteps.
func (g *good) measure(ctx context.Context) ([]float64, error) {
	g.round++
	name := fmt.Sprintf("bench-good-%d", g.round)
	var took []float64
	for _, step := range []func(context.Context, string) (time.Duration, error){g.bare, g.admission, g.distribute, g.backfill, g.rotate, g.revoke} {
		d, err := step(ctx, name)
		if err != nil {
			return nil, err
		}
		took = append(took, float64(d.Microseconds())/1000)
	}
	return took, nil
}

var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// bare returns the median latency of creating a ConfigMap in a dry run.
func (g *good) bare(ctx context.Context, _ string) (time.Duration, error) {
	return medianOf(func(i int) error {
		_, err := g.Kube.CoreV1().ConfigMaps(goodTenant).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("new-%d", i)}}, dryRun)
		return err
	})
}

// admission returns the median latency of creating a Service in a dry run.
func (g *good) admission(ctx context.Context, _ string) (time.Duration, error) {
	return medianOf(func(i int) error {
		svc := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("new-%d", i)}}
		svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: fleet.Image}}
		_, err := g.serving.ServingV1().Services(goodTenant).Create(ctx, svc, dryRun)
		return err
	})
}

// medianOf returns the median latency of sequential requests.
func medianOf(request func(i int) error) (time.Duration, error) {
	var each []float64
	for i := range admissions {
		start := time.Now()
		if err := request(i); err != nil {
			return 0, err
		}
		each = append(each, float64(time.Since(start)))
	}
	return time.Duration(median(each)), nil
}

// distribute returns the time from the creation of a ClusterPullSecret until its copy
// exists.
func (g *good) distribute(ctx context.Context, name string) (time.Duration, error) {
	source, err := g.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("one"),
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{grantedLabel: "good"}}
	object.Spec.Always = &v1alpha1.Always{}
	start := time.Now()
	if _, err := g.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	return g.until(ctx, start, func() (bool, error) { return g.copyIs(ctx, source) })
}

// backfill returns the time from the annotation on the Namespace until all its Services
// have the pull secret.
func (g *good) backfill(ctx context.Context, name string) (time.Duration, error) {
	start := time.Now()
	if err := optIn(ctx, g.Env, goodTenant, name); err != nil {
		return 0, err
	}
	return g.until(ctx, start, func() (bool, error) {
		list, err := g.serving.ServingV1().Services(goodTenant).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(list.Items, func(svc servingv1.Service) bool {
			return !slices.ContainsFunc(svc.Spec.Template.Spec.ImagePullSecrets, func(ref corev1.LocalObjectReference) bool { return ref.Name == name })
		}), nil
	})
}

func (g *good) rotate(ctx context.Context, name string) (time.Duration, error) {
	start := time.Now()
	source, err := g.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Update(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("two"),
	}, metav1.UpdateOptions{})
	if err != nil {
		return 0, err
	}
	return g.until(ctx, start, func() (bool, error) { return g.copyIs(ctx, source) })
}

func (g *good) revoke(ctx context.Context, name string) (time.Duration, error) {
	start := time.Now()
	if err := g.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return 0, err
	}
	took, err := g.until(ctx, start, func() (bool, error) {
		_, err := g.Kube.CoreV1().Secrets(goodTenant).Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		return 0, err
	}
	return took, optIn(ctx, g.Env, goodTenant)
}

// copyIs reports whether the copy is of the given version of the source.
func (g *good) copyIs(ctx context.Context, source *corev1.Secret) (bool, error) {
	secret, err := g.Kube.CoreV1().Secrets(goodTenant).Get(ctx, source.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && secret.Annotations[pullsecrets.SourceResourceVersionAnnotation] == source.ResourceVersion, err
}

// until polls until the condition holds, often enough that the interval does not distort
// the result.
func (g *good) until(ctx context.Context, start time.Time, holds func() (bool, error)) (time.Duration, error) {
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(context.Context) (bool, error) { return holds() })
	return time.Since(start), err
}

// startAttacks creates the namespaces of the hostile tenants and starts the attacks, of
// which one of pace requests is sent, and returns while they run. stop ends the attacks,
// deletes what they created and returns their errors.
func startAttacks(ctx context.Context, e *env.Env, round, pace int, excluded bool) (stop func() error, err error) {
	client, err := unlimited(e)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	var (
		group  sync.WaitGroup
		mu     sync.Mutex
		failed error
		names  []string
	)
	stop = func() error {
		cancel()
		group.Wait()
		for _, name := range names {
			failed = errors.Join(failed, e.Kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}))
		}
		// Their removal must not disturb what is measured next.
		for _, name := range names {
			failed = errors.Join(failed, waitGone(ctx, e, name))
		}
		return failed
	}
	for _, h := range hostilities {
		namespace := fmt.Sprintf("bench-hostile-%s-%t-%d", h.name, excluded, round)
		labels := map[string]string{}
		if excluded {
			labels[pullsecrets.ExcludeLabel] = "true"
		}
		_, err := e.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels}}, metav1.CreateOptions{})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		names = append(names, namespace)
		t := &hostile{Env: e, serving: client, namespace: namespace}
		if err := h.prepare(ctx, t); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", h.name, err), stop())
		}
		group.Go(func() {
			if err := t.repeat(running, h.every*time.Duration(pace), h.act); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, fmt.Errorf("%s: %w", h.name, err))
			}
		})
	}
	// The first reconciliation of what was prepared is not what is measured.
	select {
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), stop())
	case <-time.After(attackedBefore):
	}
	return stop, nil
}

func waitGone(ctx context.Context, e *env.Env, namespace string) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := e.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}
