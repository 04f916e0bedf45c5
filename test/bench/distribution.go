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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
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
	// bareName is the name of the Secrets that the bare client writes.
	bareName = "bare"
)

// distribution compares the controller with a loop that only sends the writes: of all
// copies of a credential, their rotation, their revocation, and the copies in new
// Namespaces. The loop shows the maximum that the cluster allows, so everything else is
// the same: the encoding, the ServiceAccount with its rights and policies, and a
// controller that is stopped meanwhile. A second loop has the controller's watches, too.
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
		notef("distribution: creating %d Namespaces", size.namespaces-d.namespaces)
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
	if err := d.ready(ctx); err != nil {
		return err
	}
	return profile(ctx, e, s.profile, func() error {
		const round = -1 // No other round has this number.
		for _, do := range []func(context.Context, int) (time.Duration, error){d.distribute, d.rotate, d.revoke} {
			if _, err := do(ctx, round); err != nil {
				return err
			}
		}
		return nil
	})
}

// distributor creates Namespaces and distributes a credential to them, with the
// controller and with the bare client.
type distributor struct {
	*env.Env
	admin       kubernetes.Interface
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
	if d.admin, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if d.cps, err = versioned.NewForConfig(config); err != nil {
		return nil, err
	}
	controller, err := e.AsServiceAccount(ctx, pullsecrets.SystemNamespace, "controller")
	if err != nil {
		return nil, err
	}
	config = unlimitedConfig(controller)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	d.bare, err = kubernetes.NewForConfig(config)
	return d, err
}

// ready restarts the controller and returns once it reconciles.
func (d *distributor) ready(ctx context.Context) error {
	if err := d.Processes.Restart(ctx, "controller", nil); err != nil {
		return err
	}
	const name = "bench-ready"
	client := d.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	// The Secret does not exist. A controller that reports this has synced its caches.
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{grantedLabel: "nowhere"}}
	if _, err := client.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		found, err := client.Get(ctx, name, metav1.GetOptions{})
		return err == nil && found.Status.ObservedGeneration > 0, err
	})
	if err != nil {
		return fmt.Errorf("wait for the controller: %w", err)
	}
	return d.withdraw(ctx, name)
}

// withdraw deletes a ClusterPullSecret and returns when it is gone.
func (d *distributor) withdraw(ctx context.Context, name string) error {
	client := d.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return d.gone(ctx, name)
}

func (d *distributor) gone(ctx context.Context, name string) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		_, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// namespacePrefix is the name prefix of the Namespaces that every round uses.
const namespacePrefix = "bench-copies-"

func namespaceName(i int) string { return fmt.Sprintf("%s%04d", namespacePrefix, i) }

// makeGranted creates a Namespace that gets copies.
func (d *distributor) makeGranted(ctx context.Context, name string) error {
	_, err := d.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{grantedLabel: "true"}},
	}, metav1.CreateOptions{})
	return err
}

// grow creates Namespaces until there are n, and waits until Kubernetes has created their
// default objects.
func (d *distributor) grow(ctx context.Context, n int) error {
	err := fleet.Each(ctx, n-d.namespaces, 16, func(ctx context.Context, i int) error { return d.makeGranted(ctx, namespaceName(d.namespaces+i)) })
	if err != nil {
		return err
	}
	d.namespaces = n
	return d.settled(ctx)
}

// settled waits until Kubernetes no longer works on the Namespaces.
func (d *distributor) settled(ctx context.Context) error {
	return waitForDefaults(ctx, d.admin, d.namespaces+d.extra)
}

// step is one measured operation. Each side runs it: run takes the number of the round and
// returns the duration.
type step struct {
	name       string
	each       int // number of copies
	ours, bare func(ctx context.Context, round int) (time.Duration, error)
	speeds     [sides][]float64 // one per round, in copies per second
}

// side writes the objects.
type side int

const (
	controllerSide side = iota
	bareSide
	// watchingSide is the bare client with the watches that the controller has on what is
	// written. They are a cost of the API server that no controller can avoid.
	watchingSide
	sides
)

func (s side) String() string {
	return [...]string{"controller", "bare client", "bare client that watches"}[s]
}

func (d *distributor) measure(ctx context.Context, rounds, newNamespaces int, out io.Writer) error {
	steps := []*step{
		{name: "first distribution", each: d.namespaces, ours: d.distribute, bare: d.bareDistribute},
		{name: "rotation, to the last copy", each: d.namespaces, ours: d.rotate, bare: d.bareRotate},
		{name: "ServiceAccounts", each: d.namespaces, ours: d.bind, bare: d.bareBind},
		{name: "new Namespaces", each: newNamespaces, ours: d.newNamespaces(newNamespaces), bare: d.bareNewNamespaces(newNamespaces)},
		{name: "revocation", each: d.namespaces + newNamespaces, ours: d.revoke, bare: d.bareRevoke},
	}
	for round := range rounds {
		// The sides take turns in going first.
		for turn := range sides {
			if err := d.side(ctx, round, (turn+side(round))%sides, steps); err != nil {
				return err
			}
		}
		if err := d.clear(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nCopies and ServiceAccounts of %d Namespaces, %d at a time (objects per second, median of %d rounds)\n", d.namespaces, d.concurrency, rounds)
	for _, reference := range []side{bareSide, watchingSide} {
		fmt.Fprintf(out, "  %-28s %12s %26s %8s   %s\n", "", controllerSide, reference, "ratio", "rounds")
		for _, s := range steps {
			ours, theirs := s.speeds[controllerSide], s.speeds[reference]
			var ratios []float64
			for round := range rounds {
				ratios = append(ratios, ours[round]/theirs[round])
			}
			fmt.Fprintf(out, "  %-28s %12.0f %26.0f %8.2f   %.2f to %.2f\n",
				s.name, median(ours), median(theirs), median(ratios), slices.Min(ratios), slices.Max(ratios))
		}
	}
	fmt.Fprintf(out, "  API writes per object and step: 1, as counted in each round\n")
	return nil
}

// side runs all steps of one side.
func (d *distributor) side(ctx context.Context, round int, who side, steps []*step) error {
	prepare := d.stopped
	if who == controllerSide {
		prepare = d.ready
	}
	if err := prepare(ctx); err != nil {
		return err
	}
	if who == watchingSide {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		if err := d.watch(ctx); err != nil {
			return err
		}
	}
	for _, s := range steps {
		notef("distribution: %d Namespaces, round %d, %s by the %s", d.namespaces, round+1, s.name, who)
		run := s.bare
		if who == controllerSide {
			run = s.ours
		}
		took, err := run(ctx, round)
		if err != nil {
			return fmt.Errorf("%s by the %s: %w", s.name, who, err)
		}
		s.speeds[who] = append(s.speeds[who], float64(s.each)/took.Seconds())
	}
	return nil
}

// watch has the watches that the controller has on the objects that are written, until the
// context ends.
func (d *distributor) watch(ctx context.Context) error {
	all := informers.NewSharedInformerFactory(d.bare, 0)
	copies := informers.NewSharedInformerFactoryWithOptions(d.bare, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = pullsecrets.ManagedByLabel + "=" + pullsecrets.ManagedByValue + "," + pullsecrets.ClusterPullSecretLabel
	}))
	all.Core().V1().Namespaces().Informer()
	all.Core().V1().ServiceAccounts().Informer()
	copies.Core().V1().Secrets().Informer()
	for _, factory := range []informers.SharedInformerFactory{all, copies} {
		factory.Start(ctx.Done())
		for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
			if !synced {
				return fmt.Errorf("the watch of %s did not start", kind)
			}
		}
	}
	return nil
}

// stopped stops the controller, which would otherwise delete the bare client's Secrets as
// copies without a grant.
func (d *distributor) stopped(ctx context.Context) error { return d.Processes.Stop(ctx, "controller") }

func (d *distributor) name(round int) string {
	return fmt.Sprintf("bench-%d-%d", d.namespaces, round+1)
}

// credential returns the data of a source, and so of each copy.
func credential(password string) map[string][]byte {
	return map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"username":"robot","password":%q}}}`, password)}
}

// byController runs do, which makes the controller write n objects of a resource, and returns
// how long the writes take. It fails unless each object is one write and the controller
// writes nothing else but the status of the ClusterPullSecret, its finalizer and Events.
func (d *distributor) byController(ctx context.Context, verb, resource string, n int, do func() error) (time.Duration, error) {
	mark, err := d.Audit.Mark()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	took, err := lastOf(ctx, d.Env, mark, n, start, verb+" of "+resource, func(all env.Requests) env.Requests {
		return all.By(pullsecrets.ControllerUser).Of(resource).Verbs(verb)
	})
	if err != nil {
		return 0, err
	}
	requests, err := d.Audit.Since(mark)
	if err != nil {
		return 0, err
	}
	writes := requests.By(pullsecrets.ControllerUser).Writes()
	written := writes.Of(resource)
	first := slices.MinFunc(written, func(a, b env.Request) int { return a.At.Compare(b.At) })
	notef("distribution: the first %s was answered after %s, the last after %s", verb, first.At.Sub(start).Round(time.Millisecond), took.Round(time.Millisecond))
	told := len(writes.Of("clusterpullsecrets.pullsecrets.dev"))
	if passed := time.Since(start); told > 10+int(passed.Seconds()) {
		return 0, fmt.Errorf("the status was written %d times in %s, want about once a second", told, passed.Round(time.Second))
	}
	own := told + len(writes.Of("events"))
	if len(written) != n || len(written.Verbs(verb)) != n || len(writes) != n+own {
		return 0, fmt.Errorf("want %d writes of %s, each a %s, got %d; %d writes in total, of which %d are of the ClusterPullSecret and Events",
			n, resource, verb, len(written), len(writes), own)
	}
	return took, nil
}
