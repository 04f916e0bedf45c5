// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	client "pullsecrets.dev/pkg/client/injection/client"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	_ "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret/fake"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

func factory() knativetesting.Factory {
	return MakeFactory(func(ctx context.Context, listers *Listers, row *knativetesting.TableRow) controller.Reconciler {
		all := catalog.New(listers.ClusterPullSecrets())
		kube := kubeclient.Get(ctx)
		m, err := newMetrics()
		if err != nil {
			panic(err)
		}
		var remembered memory.Memory
		reporter := newReporter(&remembered)
		r := &Reconciler{memory: &remembered, reporter: reporter, enqueueAfter: func(types.NamespacedName, time.Duration) {}, accounts: &accounts{
			kube: kube, grants: readGrants(client.Get(ctx)), lister: listers.ServiceAccounts(), reporter: reporter,
			written: memory.NewTable[string, *history](&remembered),
		}, copies: &copies{
			backoff: newBackoff(&remembered), recreations: newRecreations(&remembered), removals: newRemovals(&remembered), expectations: newExpectations(&remembered),
			kube: kube, serving: servingclient.Get(ctx), client: client.Get(ctx),
			catalog: all, sources: source.NewReader(kube), clusterPullSecrets: listers.ClusterPullSecrets(),
			secrets: listers.Copies(), services: listers.Services(), accounts: listers.ServiceAccounts(),
			labelsOf: func(ctx context.Context, namespace, name string) (map[string]string, error) {
				secret, err := kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return nil, err
				}
				return secret.Labels, nil
			},
			metrics: m,
		}}
		if prepare, ok := row.OtherTestData["prepare"].(func(*Reconciler)); ok {
			prepare(r)
		}
		return namespacereconciler.NewReconciler(ctx, logging.FromContext(ctx), kubeclient.Get(ctx), listers.Namespaces(),
			controller.GetEventRecorder(ctx), r, controller.Options{SkipStatusUpdates: true})
	})
}

func TestReconcileKind(t *testing.T) {
	knativetesting.TableTest{
		{Name: "no such Namespace", Key: "team"},
		{
			Name: "nothing to report", Key: "team",
			Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr"))},
		},
		{
			Name: "every invalid item is reported", Key: "team",
			Objects: []runtime.Object{Namespace("team",
				WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"),
				WithNamespaceAnnotation("pullsecrets.dev/inject", "yes"),
				WithNamespaceAnnotation("pullsecrets.dev/service-accounts", "a b"),
			)},
			WantEvents: []string{
				`Warning InvalidAnnotation Annotation pullsecrets.dev/secrets: "Ghcr" is not a DNS-1123 subdomain`,
				`Warning InvalidAnnotation Annotation pullsecrets.dev/inject: "yes" is not one of declared, auto and disabled; nothing is injected until corrected`,
				`Warning InvalidAnnotation Annotation pullsecrets.dev/service-accounts: "a b" is not a DNS-1123 subdomain`,
			},
		},
		{
			Name: "the profile inject-only: auto is reported", Key: "team",
			Objects:       []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/inject", "auto"))},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.profile = config.InjectOnly }},
			WantEvents:    []string{`Warning InvalidAnnotation Annotation pullsecrets.dev/inject: "auto" adds nothing: this installation has no ClusterPullSecrets (profile inject-only)`},
		},
		{
			Name: "excluded", Key: "kube-system",
			Objects: []runtime.Object{Namespace("kube-system", WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"))},
		},
		{
			Name: "opted in, and excluded by the configuration", Key: "kube-system",
			Objects:    []runtime.Object{Namespace("kube-system", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr"))},
			WantEvents: []string{`Warning InvalidAnnotation Namespace kube-system is excluded by excluded-namespaces: "kube-*" in ConfigMap config-pullsecrets; its annotations under pullsecrets.dev/ have no effect`},
		},
		{
			Name: "opted in, and a namespace of the installation", Key: "pullsecrets-system",
			Objects: []runtime.Object{Namespace("pullsecrets-system", WithNamespaceAnnotation("pullsecrets.dev/inject", "auto"),
				WithNamespaceLabel("pullsecrets.dev/exclude", "true"))},
			WantEvents: []string{`Warning InvalidAnnotation Namespace pullsecrets-system is excluded by the installation, which owns it; its annotations under pullsecrets.dev/ have no effect`},
		},
		{
			Name: "opted in, and excluded by its own label", Key: "team",
			Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr"), WithNamespaceLabel("pullsecrets.dev/exclude", "yes"))},
		},
		{
			Name: "misspelled or misplaced keys", Key: "team",
			Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secret", "ghcr"),
				WithNamespaceAnnotation("pullsecrets.dev/exclude", "true"), WithNamespaceLabel("pullsecrets.dev/secrets", "ghcr"))},
			WantEvents: []string{
				"Warning InvalidAnnotation Annotation pullsecrets.dev/exclude: has no effect on a Namespace; it is a label of a Namespace",
				"Warning InvalidAnnotation Annotation pullsecrets.dev/secret: unknown key; did you mean the annotation pullsecrets.dev/secrets?",
				"Warning InvalidAnnotation Label pullsecrets.dev/secrets: has no effect on a Namespace; it is an annotation of a Namespace or a Service",
			},
		},
	}.Test(t, factory())
}

func TestReportedOnce(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"))}}
	c, _, eventList := factory()(t, &row)
	for range 3 {
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Fatal(err)
		}
	}
	if got := eventList.Events(); len(got) != 1 {
		t.Errorf("events = %q, want one", got)
	}
}

// An error does not delay a requeue that is due sooner for another reason.
func TestErrorKeepsEarlierRequeue(t *testing.T) { synctest.Test(t, testErrorKeepsEarlierRequeue) }

func testErrorKeepsEarlierRequeue(t *testing.T) {
	const soon = time.Second
	var enqueued []time.Duration
	row := knativetesting.TableRow{
		// The source of ghcr does not exist, and the write of quay is pending.
		Objects: []runtime.Object{
			Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr,quay")), ClusterPullSecret("ghcr"), ClusterPullSecret("quay"),
		},
		OtherTestData: map[string]any{"prepare": func(r *Reconciler) {
			r.copies.expectations.Do(byNamespace("team"), func(writes map[string]*expectation) {
				writes["quay"] = &expectation{since: time.Now().Add(soon - expectationTimeout)}
			})
			r.enqueueAfter = func(key types.NamespacedName, after time.Duration) {
				if key.Name == "team" {
					enqueued = append(enqueued, after)
				}
			}
		}},
	}
	c, _, _ := factory()(t, &row)
	err := c.Reconcile(row.Ctx, "team")
	if again, _ := controller.IsRequeueKey(err); err == nil || again {
		t.Errorf("Reconcile() = %v, want the error", err)
	}
	if len(enqueued) != 1 || enqueued[0] != soon {
		t.Errorf("enqueued after %v, want once after %s", enqueued, soon)
	}
}

// A rejection by the API server is retried every ten minutes, any other error much
// sooner. Of several errors, the shortest delay counts.
func TestRetryAfter(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	quota := apierrors.NewForbidden(secrets, "ghcr", errors.New("exceeded quota"))
	policy := apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "ghcr", nil)
	outage := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{quota, retryInterval},
		{fmt.Errorf("failed to write the copy: %w", quota), retryInterval},
		{errors.Join(fmt.Errorf("failed: %w", quota), policy), retryInterval},
		{outage, statusTimeout},
		{fmt.Errorf("failed: %w", outage), statusTimeout},
		{apierrors.NewConflict(secrets, "ghcr", errors.New("changed")), statusTimeout},
		{errors.Join(errors.Join(quota, policy), fmt.Errorf("failed: %w", outage)), statusTimeout},
	} {
		if got := retryAfter(test.err); got != test.want {
			t.Errorf("retryAfter(%v) = %s, want %s", test.err, got, test.want)
		}
	}
}

// bucketOf is the bucket of one Namespace.
type bucketOf string

func (b bucketOf) Name() string { return string(b) }
func (b bucketOf) Has(key types.NamespacedName) bool {
	return key == types.NamespacedName{Name: string(b)}
}

// The state of Namespaces in a lost bucket is dropped, and other state is kept.
func TestDemoted(t *testing.T) {
	var remembered memory.Memory
	reporter := newReporter(&remembered)
	r := &Reconciler{
		memory: &remembered, copies: &copies{backoff: newBackoff(&remembered), recreations: newRecreations(&remembered), removals: newRemovals(&remembered), expectations: newExpectations(&remembered)},
		accounts: &accounts{written: memory.NewTable[string, *history](&remembered)},
	}
	in := func(namespace string) (*corev1.ServiceAccount, types.NamespacedName) {
		account := robot("")
		account.Namespace = namespace
		return account, types.NamespacedName{Namespace: namespace, Name: "ghcr"}
	}
	report := func(object events.Object) int {
		reported, _ := reporter.Report(record.NewFakeRecorder(1), object, topicAccount, []events.Event{events.BindingContested(nil)})
		return len(reported)
	}
	for _, namespace := range []string{"kept", "lost", "deleted"} {
		account, name := in(namespace)
		r.copies.backoff.wrote(name, "7")
		r.copies.removals.decided(namespace, []types.UID{"1"})
		r.copies.expectations.begin(name, neverMet)
		r.accounts.wrote(account, "after", added)
		report(account)
		report(events.InItsOwn(Namespace(namespace)))
	}
	remembered.Demote(bucketOf("lost"))
	if err := r.ObserveDeletion(t.Context(), types.NamespacedName{Name: "deleted"}); err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]bool{"kept": true, "lost": false, "deleted": false} {
		account, name := in(namespace)
		got := false
		r.copies.backoff.Do(byNamespace(namespace), func(copies map[string]contest.Backoff) { _, got = copies[name.Name] })
		if got != want {
			t.Errorf("%s: backoff kept: %t, want %t", namespace, got, want)
		}
		got = false
		r.copies.removals.Do(byNamespace(namespace), func(since map[types.UID]time.Time) { got = len(since) > 0 })
		if got != want {
			t.Errorf("%s: removal kept: %t, want %t", namespace, got, want)
		}
		if got := r.copies.expectations.left(name) > 0; got != want {
			t.Errorf("%s: expectation kept: %t, want %t", namespace, got, want)
		}
		if got := isKnown(r.accounts, account); got != want {
			t.Errorf("%s: history of the ServiceAccount kept: %t, want %t", namespace, got, want)
		}
		if got := report(account)+report(events.InItsOwn(Namespace(namespace))) == 0; got != want {
			t.Errorf("%s: reported Events kept: %t, want %t", namespace, got, want)
		}
	}
}

// The controller forgets the Events that it reported when it loses its bucket, and not
// before.
func TestControllerIsDemoted(t *testing.T) {
	ctx, _ := knativetesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
		return filteredfactory.WithSelectors(ctx, grant.Copies)
	})
	recorder := record.NewFakeRecorder(10)
	ctx = controller.WithEventRecorder(ctx, recorder)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}
	impl := NewController(knative.NewSettings(), config.Full)(ctx, configmap.NewStaticWatcher(cm))
	if err := namespaceinformer.Get(ctx).Informer().GetIndexer().Add(Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"))); err != nil {
		t.Fatal(err)
	}
	leader := impl.Reconciler.(reconciler.LeaderAware)
	reconcile := func(what string, want int) {
		t.Helper()
		if err := impl.Reconciler.Reconcile(ctx, "team"); err != nil || len(recorder.Events) != want {
			t.Errorf("%s: Reconcile() = %v and %d events in all, want %d", what, err, len(recorder.Events), want)
		}
	}
	promote := func() {
		if err := leader.Promote(bucketOf("team"), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	promote()
	reconcile("at first", 1)
	reconcile("again", 1)
	leader.Demote(bucketOf("other"))
	reconcile("after another bucket was lost", 1)
	leader.Demote(bucketOf("team"))
	promote()
	reconcile("after its bucket was lost and regained", 2)
}

// A change of the settings of images enqueues the Namespaces whose Services ask for
// copies by their images.
func TestNewController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, _ := knativetesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
			return filteredfactory.WithSelectors(ctx, grant.Copies)
		})
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}
		settings := knative.NewSettings()
		impl := NewController(settings, config.Full)(ctx, configmap.NewStaticWatcher(cm))
		defer impl.WorkQueue().ShutDown()
		services := serviceinformer.Get(ctx).Informer().GetIndexer()
		for _, svc := range []*servingv1.Service{
			Service("team", "app"), Service("team", "other", WithAnnotation("pullsecrets.dev/inject", "auto")), Service("plain", "app"),
		} {
			if err := services.Add(svc); err != nil {
				t.Fatal(err)
			}
		}
		settings.OnConfigChanged(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: knative.Deployment}, Data: map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue"},
		})
		synctest.Wait()
		if impl.WorkQueue().Len() != 1 {
			t.Fatalf("%d Namespaces are enqueued, want 1", impl.WorkQueue().Len())
		}
		if key, _ := impl.WorkQueue().Get(); key != any(types.NamespacedName{Name: "team"}) {
			t.Errorf("enqueued is %v, want team", key)
		}
	})
}

// The state of a deleted ClusterPullSecret and of its source is dropped, unless another
// ClusterPullSecret refers to the source.
func TestStateOfDeletedClusterPullSecretIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel, informers := knativetesting.SetupFakeContextWithCancel(t, func(ctx context.Context) context.Context {
			return filteredfactory.WithSelectors(ctx, grant.Copies)
		})
		informer := clusterpullsecretinformer.Get(ctx)
		c := &copies{sources: source.NewReader(kubeclient.Get(ctx)), clusterPullSecrets: informer.Lister()}
		impl := controller.NewContext(ctx, nil, controller.ControllerOptions{WorkQueueName: "test", Logger: logging.FromContext(ctx)})
		enqueuer{impl: impl, namespaces: namespaceinformer.Get(ctx).Lister(), logger: logging.FromContext(ctx)}.watchGrants(informer.Informer(), c.prune)
		wait, err := knativetesting.RunAndSyncInformers(ctx, informers...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { impl.WorkQueue().ShutDown(); cancel(); wait() }()
		all := client.Get(ctx).PullsecretsV1alpha1().ClusterPullSecrets()
		sharing := ClusterPullSecret("sharing")
		sharing.Spec.SecretRef = ClusterPullSecret("ghcr").Spec.SecretRef
		for _, cps := range []*v1alpha1.ClusterPullSecret{ClusterPullSecret("ghcr"), ClusterPullSecret("quay"), sharing} {
			if _, err := all.Create(ctx, cps, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			c.gracePeriods.elapsed(cps.Name, "7", "8", time.Now())
			c.sources.Know(source.ScopeOf(cps), "7", source.Facts{})
		}
		kept := func(what string, periods int, names ...string) {
			t.Helper()
			synctest.Wait()
			if len(c.gracePeriods.byName) != periods {
				t.Errorf("%s: %d grace periods, want %d", what, len(c.gracePeriods.byName), periods)
			}
			for _, name := range []string{"ghcr", "quay", "moved"} {
				if _, known := c.sources.Known(source.ScopeOf(ClusterPullSecret(name)), "7"); known != slices.Contains(names, name) {
					t.Errorf("%s: the source %s is known: %t", what, name, known)
				}
			}
		}
		kept("at first", 3, "ghcr", "quay")
		moved := ClusterPullSecret("quay")
		moved.Spec.SecretRef.Name = "moved"
		c.sources.Know(source.ScopeOf(moved), "7", source.Facts{})
		if _, err := all.Update(ctx, moved, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		kept("one refers to another source", 3, "ghcr", "moved")
		for _, step := range []struct {
			name    string
			periods int
			sources []string
		}{{"ghcr", 2, []string{"ghcr", "moved"}}, {"quay", 1, []string{"ghcr"}}, {"sharing", 0, nil}} {
			if err := all.Delete(ctx, step.name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			kept("without "+step.name, step.periods, step.sources...)
		}
	})
}
