// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	fakeservingclient "knative.dev/serving/pkg/client/injection/client/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

const ns = "team"

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// unauthorized is what Knative writes if the registry rejects a tag.
const unauthorized = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)`

var rejected = WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ContainerMissing", unauthorized)

// world is a cluster with a Service app and a reconciler.
type world struct {
	t        *testing.T
	ctx      context.Context
	r        *Reconciler
	recorder *record.FakeRecorder
	now      time.Time
	// reads are the Secrets that were read, deletions the Revisions that were deleted.
	reads     []string
	deletions []string
	fail      error
	secrets   map[string]*corev1.Secret
	svc       *servingv1.Service
	// lost are the Services that another process leads for.
	lost map[types.NamespacedName]bool
}

// newWorld returns a world with these objects: those of listers as in caches, and Services and
// Revisions on the API server, too.
func newWorld(t *testing.T, c *config.Config, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{t: t, now: created.Add(time.Hour), recorder: record.NewFakeRecorder(50), secrets: map[string]*corev1.Secret{}, lost: map[types.NamespacedName]bool{}}
	l := NewListers(objects)
	ctx := config.WithConfig(controller.WithEventRecorder(logging.WithLogger(t.Context(), logtesting.TestLogger(t)), w.recorder), c)
	ctx, _ = fakekubeclient.With(ctx)
	var serving []runtime.Object
	all := &revisions{changed: func(types.NamespacedName) {}}
	var listed []any
	for _, object := range objects {
		switch o := object.(type) {
		case *servingv1.Service:
			w.svc, serving = o, append(serving, o)
		case *servingv1.Revision:
			listed, serving = append(listed, o), append(serving, o)
		case *corev1.Secret:
			w.secrets[o.Name] = o
		}
	}
	ctx, client := fakeservingclient.With(ctx, serving...)
	client.PrependReactor("delete", "revisions", func(action clientgotesting.Action) (bool, runtime.Object, error) {
		d := action.(clientgotesting.DeleteActionImpl)
		p := d.DeleteOptions.Preconditions
		w.deletions = append(w.deletions, fmt.Sprintf("%s %s %s", d.Name, *p.UID, *p.ResourceVersion))
		return w.fail != nil, nil, w.fail
	})
	if err := all.Replace(listed, ""); err != nil {
		t.Fatal(err)
	}
	var remembered memory.Memory
	remembered.LedBy(w)
	secrets := newNamed(&remembered, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
		w.reads = append(w.reads, key.Name)
		if secret := w.secrets[key.Name]; secret != nil {
			return secret, nil
		}
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	})
	secrets.used, secrets.changed = usedBy(all, l.ServiceAccounts(), w.IsLeaderFor), func(string) {}
	found := findings{memory.NewStore[[]finding](&remembered)}
	metrics, err := newMetrics(found)
	if err != nil {
		t.Fatal(err)
	}
	images := grant.ImageSettings{QueueProxy: "gcr.io/knative-releases/queue"}
	w.ctx = ctx
	w.r = &Reconciler{
		serving: client, namespaces: l.Namespaces(), accounts: l.ServiceAccounts(), clusterPullSecrets: l.ClusterPullSecrets(),
		copies: l.Copies(), revisions: all, secrets: secrets, catalog: catalog.New(l.ClusterPullSecrets()).Get,
		covers: images.Covers, images: func() grant.ImageSettings { return images },
		metadata: func(_ context.Context, key types.NamespacedName) (*metav1.ObjectMeta, error) {
			if secret := w.secrets[key.Name]; secret != nil {
				return &secret.ObjectMeta, nil
			}
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
		},
		now: func() time.Time { return w.now }, retries: fair.NewBudget(retriesOfAll, retriesOfEach, time.Now), metrics: metrics,
		memory: &remembered, findings: found, used: memory.NewStore[string](&remembered), reporter: events.NewReporter(&remembered, nil),
	}
	return w
}

// IsLeaderFor is that of the generated reconciler.
func (w *world) IsLeaderFor(service types.NamespacedName) bool { return !w.lost[service] }

// reconcile reconciles the Service, and returns the Events and when it is reconciled again.
func (w *world) reconcile() (recorded []string, again time.Duration) {
	w.t.Helper()
	event := w.r.ReconcileKind(w.ctx, w.svc)
	if requeue, after := controller.IsRequeueKey(event); requeue {
		again = after
	} else if event != nil {
		w.t.Errorf("ReconcileKind: %v", event)
	}
	for len(w.recorder.Events) > 0 {
		recorded = append(recorded, <-w.recorder.Events)
	}
	return recorded, again
}

// lasting reconciles the Service twice, so that what lasts is reported.
func (w *world) lasting() []string {
	w.t.Helper()
	first, _ := w.reconcile()
	w.now = w.now.Add(reportAfter)
	second, _ := w.reconcile()
	return slices.Concat(first, second)
}

func (w *world) check(what string, got []string, want ...string) {
	w.t.Helper()
	if len(got) != len(want) {
		w.t.Errorf("%s: %q, want %q", what, got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			w.t.Errorf("%s: %q, want %q", what, got[i], want[i])
		}
	}
}

func app(options ...ServiceOption) *servingv1.Service {
	return Service(ns, "app", append([]ServiceOption{func(svc *servingv1.Service) { svc.Status.LatestCreatedRevisionName = "app-00001" }}, options...)...)
}

// binds returns a Namespace that binds ServiceAccounts to ghcr and disables injection.
func binds(accounts string) *corev1.Namespace {
	return Namespace(ns, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithNamespaceAnnotation(pullsecrets.InjectAnnotation, "disabled"),
		WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, accounts))
}

func declares(secrets string) *corev1.Namespace {
	return Namespace(ns, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, secrets))
}

func revision(options ...RevisionOption) *servingv1.Revision {
	return NewRevision(ns, "app-00001", append([]RevisionOption{WithCreation(created), WithRevisionPullSecrets("ghcr")}, options...)...)
}

func pullSecret(name, registry string, changed time.Time, labels map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, ResourceVersion: "1", CreationTimestamp: metav1.NewTime(changed), Labels: labels},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + registry + `":{"username":"robot","password":"hunter2"}}}`)},
	}
}
