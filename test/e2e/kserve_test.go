// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned/typed/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// kserveUser is KServe's controller. It is the creator of its Services.
const kserveUser = "system:serviceaccount:kserve:kserve-controller-manager"

// kserveManager is the default field manager of controller-runtime for a program of this
// name.
const kserveManager = "manager"

// A Service that KServe owns gets the pull secrets of its Namespace. KServe's controller,
// which reacts to each change, and the webhook do not revert each other: there are as
// many Revisions as without the webhook, apart from one for each new declaration, and no
// write when nothing changes.
func TestKServeAndWebhookDoNotFight(t *testing.T) {
	t.Parallel()
	n, alone := newTenant(t, optedIn("ghcr")), newTenant(t)
	owners := []*kserve{startKServe(n), startKServe(alone)}
	deploy := func(version string) {
		t.Helper()
		for _, owner := range owners {
			owner.deploy(version)
		}
	}
	deploy(first)
	n.checkList("app", "ghcr")
	n.checkUsers(kserveUser, kserveUser)

	owners[0].pause(func() { // If it came first, quay would be KServe's own entry: see below.
		n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
		n.waitForList("app", "ghcr", "quay")
	})
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "quay")
	n.waitUntilDeclared("quay")
	for _, owner := range owners {
		owner.checkRest(first)
	}
	n.checkList("app", "ghcr", "quay")

	deploy(second)
	n.checkList("app", "quay")
	n.checkUsers(kserveUser, kserveUser)
	for _, owner := range owners {
		owner.checkRest(second)
	}
	alone.checkList("app")
	alone.checkRevisions("app", 2)
	n.checkRevisions("app", 3)
	n.checkEvents(service("app"), "InjectionContested", 0)
}

// What docs/gitops.md states about entries that are due but deferred: KServe copies the
// result of its dry run into the Service, so its next round adds the entries as KServe's
// own, in one Revision, and removes them in another when they are no longer declared. It
// does neither if its Service sets enableServiceLinks, which Knative defaults only at
// creation.
func TestKServeAddsDeferredPullSecretsAsTheDocsState(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		links *bool
		list  []string
		// revisions is how many Revisions the addition and the removal make.
		revisions int64
	}{
		"enableServiceLinks unset": {nil, []string{"ghcr"}, 1},
		"enableServiceLinks false": {new(false), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t)
			p := n.person(kserveUser)
			byTag, generation := image(t, p.Env, "IMAGE_BY_TAG"), int64(1)
			check := func(want ...string) {
				t.Helper()
				for range rounds {
					p.writeAsKServe(func() *servingv1.Service {
						s := kserveService(p, first)
						s.Spec.Template.Spec.EnableServiceLinks, s.Spec.Template.Spec.Containers[0].Image = test.links, byTag
						return s
					})
				}
				n.checkList("app", want...)
				n.checkLedger("app", nil)
				n.checkUsers(kserveUser, kserveUser)
				if got := n.get("app").GetGeneration(); got != generation {
					t.Errorf("Service app has generation %d, want %d", got, generation)
				}
			}
			check()
			n.waitForReady("app")
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
			n.waitForEvent(service("app"), "BackfillDeferred", "ghcr (namespace)", "by tag")
			generation += test.revisions
			check(test.list...)
			n.annotateNamespace(pullsecrets.SecretsAnnotation, nil)
			n.waitUntilDeclared()
			generation += test.revisions
			check()
		})
	}
}

// kserve is a stand-in for KServe's controller, which owns the Service app.
type kserve struct {
	*person
	mu      sync.Mutex
	version string // that it wants; nothing is written before it is set
	changed chan struct{}
}

// startKServe starts a controller that reconciles the Service after each of its events, until the
// test ends.
func startKServe(n *tenant) *kserve {
	n.t.Helper()
	k := &kserve{person: n.person(kserveUser), changed: make(chan struct{}, 1)}
	client := k.services()
	events, err := client.Watch(n.t.Context(), metav1.SingleObject(metav1.ObjectMeta{Name: "app"}))
	if err != nil {
		n.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-n.t.Context().Done():
				return
			case _, open := <-events.ResultChan():
				if !open && n.t.Context().Err() == nil {
					n.t.Error("KServe's watch of the Service has ended")
				}
				if !open {
					return
				}
			case <-k.changed:
			}
			k.reconcile(n.t.Context(), client)
		}
	})
	n.t.Cleanup(running.Wait)
	return k
}

// reconcile writes the Service. After a conflict the next event is due.
func (k *kserve) reconcile(ctx context.Context, client servingclient.ServiceInterface) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version == "" {
		return
	}
	err := reconcileAsKServe(ctx, client, kserveService(k.person, k.version))
	if err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
		k.t.Errorf("KServe's controller cannot reconcile the Service: %v", err)
	}
}

// deploy is a change of the InferenceService. It waits until the Service is Ready with it.
func (k *kserve) deploy(version string) {
	k.t.Helper()
	k.mu.Lock()
	k.version = version
	k.mu.Unlock()
	k.changed <- struct{}{}
	eventually(k.t, func(ctx context.Context) error {
		s, err := k.Serving.ServingV1().Services(k.ns).Get(ctx, "app", metav1.GetOptions{})
		if err == nil && (s.Spec.Template.Spec.Containers[0].Env[0].Value != version || !s.IsReady()) {
			err = fmt.Errorf("Service app is not Ready with version %s: %+v", version, s.Spec.Template.Spec.Containers)
		}
		return err
	})
}

// checkRest checks that reconciling a Service that is up to date writes nothing.
func (k *kserve) checkRest(version string) {
	k.t.Helper()
	k.waitForReady("app")
	k.pause(func() {
		before := withoutStatus(k.get("app"))
		for range rounds {
			kserveWrites(k.person, version)
		}
		if after := withoutStatus(k.get("app")); !equality.Semantic.DeepEqual(before, after) {
			k.t.Errorf("KServe's controller changed an unchanged Service from\n%v to\n%v", before, after)
		}
	})
}

// withoutStatus returns a Service without what Knative's controller may still write.
func withoutStatus(service *unstructured.Unstructured) *unstructured.Unstructured {
	service.SetResourceVersion("")
	service.SetManagedFields(slices.DeleteFunc(service.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "status" }))
	delete(service.Object, "status")
	return service
}

// pause calls a function while the controller does nothing.
func (k *kserve) pause(do func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	do()
}

// kserveWrites reconciles the Service once.
func kserveWrites(p *person, version string) {
	p.t.Helper()
	p.writeAsKServe(func() *servingv1.Service { return kserveService(p, version) })
}

// writeAsKServe reconciles a Service once.
func (p *person) writeAsKServe(desired func() *servingv1.Service) {
	p.t.Helper()
	client := p.services()
	if err := retryOnConflict(func() error { return reconcileAsKServe(p.t.Context(), client, desired()) }); err != nil {
		p.t.Fatal(err)
	}
}

// kserveService returns the Service that KServe wants for the predictor of an
// InferenceService.
func kserveService(p *person, version string) *servingv1.Service {
	labels := map[string]string{"serving.kserve.io/inferenceservice": "app", "component": "predictor"}
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: p.ns, Labels: labels}}
	s.Spec.Template.ObjectMeta = metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{
		"autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev", "autoscaling.knative.dev/min-scale": "1",
	}}
	s.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "kserve-container", Image: image(p.t, p.Env, "IMAGE_BY_DIGEST"), Env: []corev1.EnvVar{{Name: "VERSION", Value: version}},
	}}
	s.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(100))}}
	return s
}

// reconcileAsKServe sends the requests of KServe 0.20 (KsvcReconciler.Reconcile in
// pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go): the
// desired Service in a dry run, to learn what admission makes of it, and then the live
// Service with the result, in every round and whether or not it differs.
func reconcileAsKServe(ctx context.Context, client servingclient.ServiceInterface, desired *servingv1.Service) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		existing, err := client.Get(ctx, desired.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		desired.ResourceVersion = existing.ResourceVersion
		// Knative rejects a change of these. All other annotations are missing in the dry
		// run.
		for _, key := range []string{serving.CreatorAnnotation, serving.UpdaterAnnotation} {
			metav1.SetMetaDataAnnotation(&desired.ObjectMeta, key, existing.Annotations[key])
		}
		admitted, err := client.Update(ctx, desired, metav1.UpdateOptions{FieldManager: kserveManager, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		desired = admitted // KServe too keeps the response for a retry.
		overwrite(existing, desired)
		_, err = client.Update(ctx, existing, metav1.UpdateOptions{FieldManager: kserveManager})
		return err
	})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, desired, metav1.CreateOptions{FieldManager: kserveManager})
	}
	return err
}

// overwrite is reconcileKsvc of KServe.
func overwrite(existing, desired *servingv1.Service) {
	if equality.Semantic.DeepEqual(desired.Spec, existing.Spec) && equality.Semantic.DeepEqual(desired.Labels, existing.Labels) {
		return
	}
	// Knative defaults this field only at creation, so it is missing after the dry run of
	// each update.
	links := &desired.Spec.Template.Spec.EnableServiceLinks
	if is := existing.Spec.Template.Spec.EnableServiceLinks; *links == nil && is != nil && !*is {
		*links = new(false)
	}
	existing.Spec.ConfigurationSpec, existing.Spec.Traffic = desired.Spec.ConfigurationSpec, desired.Spec.Traffic
	existing.Labels = desired.Labels
}
