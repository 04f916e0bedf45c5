// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
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
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

const (
	ns     = "team"
	user   = "system:serviceaccount:pullsecrets-system:controller"
	digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// fakeSecrets knows the types of Secrets; an empty type is an error.
type fakeSecrets map[string]corev1.SecretType

func (f fakeSecrets) TypesOf(_ context.Context, service types.NamespacedName, _ time.Time, names []string) (map[string]corev1.SecretType, time.Duration, error) {
	known := map[string]corev1.SecretType{}
	for _, name := range names {
		secretType, exists := f[service.Namespace+"/"+name]
		if exists && secretType == "" {
			return nil, 0, errors.New("the API server is unavailable")
		}
		if exists {
			known[name] = secretType
		}
	}
	return known, 0, nil
}

// existing are the Secrets of rows that are not about Secrets.
var existing = fakeSecrets{}

func init() {
	for _, name := range []string{"n", "n2", "s"} {
		existing[ns+"/"+name] = corev1.SecretTypeDockerConfigJson
	}
}

func declares(secrets string, options ...NamespaceOption) *corev1.Namespace {
	return Namespace(ns, append([]NamespaceOption{WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, secrets)}, options...)...)
}

// patch is a patch of the Service app.
func patch(body string) []clientgotesting.PatchActionImpl {
	return []clientgotesting.PatchActionImpl{{
		ActionImpl: clientgotesting.ActionImpl{Namespace: ns},
		Name:       "app",
		PatchType:  types.MergePatchType,
		Patch:      []byte(body),
	}}
}

func with(mode config.Backfill, perMinute int) context.Context {
	c := config.Default()
	c.Backfill, c.BackfillPerMinute = mode, perMinute
	return config.WithConfig(context.Background(), c)
}

func failPatch(err error) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.GetVerb() == "patch", nil, err
	}
}

// result is a change that adds one entry.
var result = merge.Result{Added: []merge.Entry{{Name: "n", Origin: merge.FromNamespace}}, ListChanged: true}

var services = schema.GroupResource{Group: "serving.knative.dev", Resource: "services"}

// factory makes a reconciler of a row's objects, among them a ServiceAccount
// default unless the row has its own. OtherTestData may hold "secrets", "live"
// (objects that the API server has otherwise than the cache) and "prepare".
func factory() knativetesting.Factory {
	base := makeFactory()
	return func(t *testing.T, row *knativetesting.TableRow) (controller.Reconciler, knativetesting.ActionRecorderList, knativetesting.EventList) {
		hasDefault := slices.ContainsFunc(row.Objects, func(object runtime.Object) bool {
			account, ok := object.(*corev1.ServiceAccount)
			return ok && account.Name == "default"
		})
		whole := *row
		if !hasDefault && row.OtherTestData["no account"] == nil {
			whole.Objects = slices.Concat(row.Objects, []runtime.Object{ServiceAccount(ns, "default", nil)})
		}
		c, actions, eventList := base(t, &whole)
		row.Ctx = whole.Ctx
		return c, actions, eventList
	}
}

// granted is the catalogue of the ClusterPullSecrets of a row.
func granted(listers *Listers) func() (grant.Catalog, error) {
	all := catalog.New(listers.ClusterPullSecrets())
	return all.Get
}

// imagesOf are Knative's settings of images for a row.
func imagesOf(row *knativetesting.TableRow) grant.ImageSettings {
	images, _ := row.OtherTestData["images"].(grant.ImageSettings)
	return images
}

func makeFactory() knativetesting.Factory {
	return MakeFactory(func(ctx context.Context, listers *Listers, row *knativetesting.TableRow) controller.Reconciler {
		var remembered memory.Memory
		m, err := newMetrics(&remembered)
		if err != nil {
			panic(err)
		}
		r := &Reconciler{
			memory:   &remembered,
			attempts: attempts{memory.NewStore[history](&remembered)},
			serving:  servingclient.Get(ctx),
			cached:   fromCaches(listers.Namespaces(), listers.ServiceAccounts()),
			live:     fromAPIServer(kubeclient.Get(ctx)),
			secrets:  existing,
			catalog:  granted(listers),
			covers:   imagesOf(row).Covers,
			reporter: events.NewReporter(&remembered, nil),
			backfill: newBackfill(&remembered, func(types.NamespacedName) {}),
			metrics:  m,
		}
		if live, ok := row.OtherTestData["live"].([]runtime.Object); ok {
			others := NewListers(live)
			r.live = fromCaches(others.Namespaces(), others.ServiceAccounts())
		}
		if secrets, ok := row.OtherTestData["secrets"].(fakeSecrets); ok {
			r.secrets = secrets
		}
		indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{failedIndex: indexFailed(user)})
		for _, object := range row.Objects {
			if svc, ok := object.(*servingv1.Service); ok {
				if err := indexer.Add(svc); err != nil {
					panic(err)
				}
			}
		}
		r.failed = failedIn(indexer)
		if prepare, ok := row.OtherTestData["prepare"].(func(*Reconciler)); ok {
			prepare(r)
		}
		return servicereconciler.NewReconciler(ctx, logging.FromContext(ctx), r.serving, listers.Services(),
			controller.GetEventRecorder(ctx), r, controller.Options{SkipStatusUpdates: true})
	})
}

func TestReconcileKind(t *testing.T) {
	const key = ns + "/app"
	all, safe := with(config.BackfillAll, 0), with(config.BackfillSafe, 0)
	added := func(what string) string { return "Normal SecretsAdded Added pull secrets " + what }
	now := time.Now().Truncate(time.Second)

	knativetesting.TableTest{
		{
			Name: "no such Service",
			Key:  key,
		},
		{
			Name: "nothing declared: nothing written",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithPullSecrets("mine")), Namespace(ns)},
		},
		{
			Name: "the Namespace opts in: one patch of list and ledger",
			Key:  key, Ctx: all,
			Objects:     []runtime.Object{Service(ns, "app", WithPullSecrets("mine")), declares("n")},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"mine"},{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "converged: nothing written",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("mine", "n"), WithAnnotation("pullsecrets.dev/added", `{"n":"namespace"}`)), declares("n"),
			},
		},
		{
			Name: "the Service opts in, and its own come first",
			Key:  key, Ctx: safe,
			Objects:     []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/secrets", "s")), declares("n")},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\",\"s\":\"service\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"s"},{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace), s (service)")},
		},
		{
			Name: "the ServiceAccount's entries are carried",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithServiceAccount("builder")), declares("n"), ServiceAccount(ns, "builder", nil, "sa"), ServiceAccount(ns, "default", nil, "other"),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\",\"sa\":\"serviceaccount/builder\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"},{"name":"sa"}]}}}}`),
			WantEvents:  []string{added("n (namespace), sa (serviceaccount/builder)")},
		},
		{
			Name: "a ServiceAccount that enforces its list keeps the others out",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), declares("n,n2"),
				ServiceAccount(ns, "default", map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}, "n2"),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n2\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n2"}]}}}}`),
			WantEvents: []string{
				added("n2 (namespace)"),
				"Warning NotGranted ServiceAccount default has annotation kubernetes.io/enforce-mountable-secrets and does not list pull secrets n (namespace); add them to its imagePullSecrets",
			},
		},
		{
			Name: "the Service retracts: its entry goes, and with the last one the field and the ledger",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`)), Namespace(ns),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":null},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":null}}}}`),
			WantEvents:  []string{"Normal SecretsRetracted Removed pull secrets s (service): no longer declared"},
		},
		{
			Name: "the Namespace retracts: nothing written",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("n"), WithAnnotation("pullsecrets.dev/added", `{"n":"namespace"}`)), Namespace(ns),
			},
		},
		{
			Name: "only the ledger changes: no new Revision",
			Key:  key, Ctx: with(config.BackfillSafe, 1),
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`), WithTemplateName("app-1")), declares("s"),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"s\":\"namespace\"}"},"resourceVersion":"7"}}`),
		},
		{
			Name: "injection disabled on the Service",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/inject", "disabled")), declares("n")},
		},
		{
			Name: "injection disabled on the Namespace",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithAnnotation("pullsecrets.dev/inject", "auto"), WithAnnotation("pullsecrets.dev/secrets", "s")),
				declares("n", WithNamespaceAnnotation("pullsecrets.dev/inject", "disabled")),
			},
		},
		{
			Name: "an invalid value adds nothing and takes nothing away",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`), WithAnnotation("pullsecrets.dev/inject", "Disabled")),
				declares("n"),
			},
			WantEvents: []string{`Warning InvalidAnnotation Annotation pullsecrets.dev/inject: "Disabled" is not one of declared, auto and disabled; nothing is injected until corrected`},
		},
		{
			Name: "one bad item does not spoil the others",
			Key:  key, Ctx: all,
			Objects:     []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/secrets", "Bad/Name,s")), Namespace(ns)},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"s\":\"service\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"s"}]}}}}`),
			WantEvents: []string{
				added("s (service)"),
				`Warning InvalidAnnotation Annotation pullsecrets.dev/secrets: "Bad/Name" is not a DNS-1123 subdomain`,
			},
		},
		{
			Name: "keys that are misspelled or misplaced",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/secret", "s"), func(svc *servingv1.Service) {
				svc.Spec.Template.Labels = map[string]string{"pullsecrets.dev/inject": "auto"}
			}), Namespace(ns)},
			WantEvents: []string{
				"Warning InvalidAnnotation Annotation pullsecrets.dev/secret: unknown key; did you mean the annotation pullsecrets.dev/secrets?",
				"Warning InvalidAnnotation Label pullsecrets.dev/inject: has no effect on the template of a Service; it is an annotation of a Namespace or a Service",
			},
		},
		{
			Name: "a damaged ledger makes every entry the owner's",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":`)), Namespace(ns),
			},
			WantEvents: []string{"Warning InvalidAnnotation Annotation pullsecrets.dev/added is invalid: expected a JSON object that maps Secret names to origins; entries that it does not name are treated as the owner's"},
		},
		{
			Name: "an excluded Namespace",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app"), declares("n", WithNamespaceLabel("pullsecrets.dev/exclude", "true"))},
		},
		{
			Name: "an excluded Namespace, by the configuration",
			Key:  "kube-system/app", Ctx: all,
			Objects: []runtime.Object{
				Service("kube-system", "app"), Namespace("kube-system", WithNamespaceAnnotation("pullsecrets.dev/secrets", "n")),
			},
		},
		{
			Name: "a terminating Namespace",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app"), declares("n", func(n *corev1.Namespace) { n.DeletionTimestamp = &metav1.Time{Time: now} })},
		},
		{
			Name: "a Service being deleted",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", func(s *servingv1.Service) {
					s.DeletionTimestamp, s.Finalizers = &metav1.Time{Time: now}, []string{"example.com/held"}
				}), declares("n"),
			},
		},
		{
			Name: "a Namespace that nobody knows",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app")},
		},
		{
			Name: "a Namespace that the cache does not know yet",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app", WithPullSecrets("mine"))},
			OtherTestData: map[string]any{"live": []runtime.Object{declares("n"), ServiceAccount(ns, "default", nil)}},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"mine"},{"name":"n"}]}}}}`),
			WantEvents:    []string{added("n (namespace)")},
		},
		{
			Name: "a ServiceAccount that nobody knows: no Pod can start, so nothing is written",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n")},
			OtherTestData: map[string]any{"no account": true},
		},
		{
			Name: "a ServiceAccount that the cache knows with an older list",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n")},
			OtherTestData: map[string]any{"live": []runtime.Object{declares("n"), ServiceAccount(ns, "default", nil, "sa")}},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\",\"sa\":\"serviceaccount/default\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"},{"name":"sa"}]}}}}`),
			WantEvents:    []string{added("n (namespace), sa (serviceaccount/default)")},
		},
		{
			Name: "a Namespace that took the name over, which the cache does not know yet: nothing is removed",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`)), Namespace(ns),
			},
			OtherTestData: map[string]any{"live": []runtime.Object{declares("s"), ServiceAccount(ns, "default", nil)}},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"s\":\"namespace\"}"},"resourceVersion":"7"}}`),
		},
		{
			Name: "a Namespace that has just been disabled: nothing is removed",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`)), Namespace(ns),
			},
			OtherTestData: map[string]any{"live": []runtime.Object{Namespace(ns, WithNamespaceAnnotation("pullsecrets.dev/inject", "disabled"))}},
		},
		{
			Name: "a template that names its Revision is left alone",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithTemplateName("app-1")), declares("n")},
			WantEvents: []string{
				"Normal NamedRevision The template names Revision app-1, and Knative rejects changes under the same name; deferred until the template has another name: adding pull secrets n (namespace)",
			},
		},
		{
			Name: "safe: a Ready Service with a tag is left alone",
			Key:  key, Ctx: safe,
			Objects: []runtime.Object{Service(ns, "app"), declares("n")},
			WantEvents: []string{
				"Normal BackfillDeferred Adding pull secrets n (namespace) is deferred until the next change of the template: its images are given by tag, and a Revision now could run other code than was deployed; to get it now, annotate the Service itself with pullsecrets.dev/inject: declared or auto",
			},
		},
		{
			Name: "safe: a Ready Service by digest is changed",
			Key:  key, Ctx: safe,
			Objects:     []runtime.Object{Service(ns, "app", WithImage("ghcr.io/acme/app"+digest)), declares("n")},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "safe: a Service that is not Ready is changed",
			Key:  key, Ctx: safe,
			Objects:     []runtime.Object{Service(ns, "app", WithConfigurationsReady(corev1.ConditionFalse)), declares("n")},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "safe: a Service that asks for it itself is changed",
			Key:  key, Ctx: safe,
			Objects:     []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/inject", "declared")), declares("n")},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "report: only told",
			Key:  key, Ctx: with(config.BackfillReport, 0),
			Objects: []runtime.Object{Service(ns, "app", WithConfigurationsReady(corev1.ConditionFalse)), declares("n")},
			WantEvents: []string{
				"Normal BackfillDeferred Adding pull secrets n (namespace) is deferred until the next change of the template: config-pullsecrets has backfill: report",
			},
		},
		{
			Name: "disabled: nothing",
			Key:  key, Ctx: with(config.BackfillDisabled, 0),
			Objects: []runtime.Object{Service(ns, "app", WithConfigurationsReady(corev1.ConditionFalse)), declares("n")},
		},
		{
			Name:    "a Secret is missing and another has the wrong type",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("gone,opaque,n")},
			OtherTestData: map[string]any{"secrets": fakeSecrets{ns + "/opaque": "Opaque", ns + "/n": corev1.SecretTypeDockercfg}},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"gone\":\"namespace\",\"n\":\"namespace\",\"opaque\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"gone"},{"name":"opaque"},{"name":"n"}]}}}}`),
			WantEvents: []string{
				added("gone (namespace), n (namespace), opaque (namespace)"),
				"Warning SecretMissing Pull secrets not found in namespace team: gone; create them, or correct the annotation that declares them",
				`Warning SecretWrongType Secrets in namespace team cannot be used as pull secrets: opaque (type "Opaque"); the type must be kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg`,
			},
		},
		{
			Name: "the profile inject-only: no Secret is read, and auto is reported",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithAnnotation("pullsecrets.dev/inject", "auto")), declares("gone")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) {
				r.profile, r.secrets = config.InjectOnly, nil
			}},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"gone\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"gone"}]}}}}`),
			WantEvents: []string{
				added("gone (namespace)"),
				`Warning InvalidAnnotation Annotation pullsecrets.dev/inject: "auto" adds nothing: this installation has no ClusterPullSecrets (profile inject-only)`,
			},
		},
		{
			Name: "the profile inject-only: an entry of a ClusterPullSecret stays beside one that its owner removed",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Namespace(ns), Service(ns, "app", WithPullSecrets("gone", "quay"),
				WithAnnotation("pullsecrets.dev/added", `{"gone":"service","quay":"clusterpullsecret/quay"}`))},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) {
				r.profile, r.secrets, r.catalog = config.InjectOnly, nil, func() (grant.Catalog, error) { return grant.Unknown(), nil }
			}},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"quay\":\"clusterpullsecret/quay\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"quay"}]}}}}`),
			WantEvents:  []string{"Normal SecretsRetracted Removed pull secrets gone (service): no longer declared"},
		},
		{
			Name:    "whether a Secret is there cannot be found out: nothing is reported",
			WantErr: true, // It is reconciled again.
			Key:     key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("unknown")},
			OtherTestData: map[string]any{"secrets": fakeSecrets{ns + "/unknown": ""}},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"unknown\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"unknown"}]}}}}`),
			WantEvents:    []string{added("unknown (namespace)")},
		},
		{
			Name:    "a Secret is missing of a Service that has its name already and is not Ready",
			WantErr: true, // It is looked at again.
			Key:     key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("gone"), WithAnnotation("pullsecrets.dev/added", `{"gone":"namespace"}`), WithConfigurationsReady(corev1.ConditionFalse)),
				declares("gone"),
			},
			WantEvents: []string{"Warning SecretMissing Pull secrets not found in namespace team: gone; create them, or correct the annotation that declares them"},
		},
		{
			Name: "a conflict is tried again, quietly",
			Key:  key, Ctx: all, WantErr: true,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewConflict(services, "app", errors.New("modified")))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
		},
		{
			Name: "deleted between read and write",
			Key:  key, Ctx: all,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewNotFound(services, "app"))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
		},
		{
			Name: "the API server is unavailable: tried again",
			Key:  key, Ctx: all, WantErr: true,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewServiceUnavailable("away"))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:   []string{"Warning InternalError failed to patch the pull secrets of Service team/app: away"},
		},
		{
			Name: "Knative refuses: told, not tried again",
			Key:  key, Ctx: all,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewBadRequest(`admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed`))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents: []string{
				`Warning BackfillDenied Adding pull secrets n (namespace) was rejected; will not retry until the Service changes: admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed`,
			},
		},
		{
			Name: "annotations without room for a ledger: told, not written",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{Service(ns, "app", WithAnnotation("x", strings.Repeat("x", 256<<10-100))), declares("n")},
			WantEvents: []string{
				`Warning BackfillDenied Adding pull secrets n (namespace) was rejected; will not retry until the Service changes: annotations are too large to add pullsecrets.dev/added`,
			},
		},
		{
			Name: "a policy refuses: told, not tried again",
			Key:  key, Ctx: all,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewForbidden(services, "app", errors.New("ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no")))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents: []string{
				`Warning BackfillDenied Adding pull secrets n (namespace) was rejected; will not retry until the Service changes: services.serving.knative.dev "app" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no`,
			},
		},
		{
			Name: "no rights: tried again",
			Key:  key, Ctx: all, WantErr: true,
			Objects:      []runtime.Object{Service(ns, "app"), declares("n")},
			WithReactors: []clientgotesting.ReactionFunc{failPatch(apierrors.NewForbidden(services, "app", errors.New("cannot patch")))},
			WantPatches:  patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:   []string{`Warning InternalError failed to patch the pull secrets of Service team/app: services.serving.knative.dev "app" is forbidden: cannot patch`},
		},
		{
			Name: "a change of the ledger that was refused before",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app", WithPullSecrets("s"), WithAnnotation("pullsecrets.dev/added", `{"s":"service"}`)), declares("s"),
			},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.attempts.deny(Service(ns, "app")) }},
		},
		{
			Name: "disabled: a named Revision is not told either",
			Key:  key, Ctx: with(config.BackfillDisabled, 0),
			Objects: []runtime.Object{Service(ns, "app", WithTemplateName("app-1")), declares("n")},
		},
		{
			Name: "refused before: not tried again in this generation",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app"), declares("n")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.attempts.deny(Service(ns, "app")) }},
		},
		{
			Name: "refused before, and its owner asks for something else now: tried again",
			Key:  key, Ctx: all,
			Objects:       []runtime.Object{Service(ns, "app", WithAnnotation(pullsecrets.InjectAnnotation, "declared")), declares("n")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.attempts.deny(Service(ns, "app")) }},
			WantPatches:   patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:    []string{added("n (namespace)")},
		},
		{
			Name: "paused: a Revision that the controller made has failed",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), declares("n", WithNamespaceWrite(now)),
				Service(ns, "victim", WithAnnotation(serving.UpdaterAnnotation, user), WithConfigurationsReady(corev1.ConditionFalse), WithWrite(now)),
			},
			WantEvents: []string{
				"Warning BackfillPaused The Revision that adds pull secrets to Service victim is not Ready; backfill in namespace team resumes when it is Ready or when the Namespace or its ClusterPullSecrets change",
			},
		},
		{
			Name: "no longer paused: the Namespace changed after that",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), declares("n", WithNamespaceWrite(now.Add(time.Second))),
				Service(ns, "victim", WithAnnotation(serving.UpdaterAnnotation, user), WithConfigurationsReady(corev1.ConditionFalse), WithWrite(now)),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "not paused: somebody else's Revision has failed",
			Key:  key, Ctx: all,
			Objects: []runtime.Object{
				Service(ns, "app"), declares("n", WithNamespaceWrite(now)),
				Service(ns, "broken", WithAnnotation(serving.UpdaterAnnotation, "alice"), WithConfigurationsReady(corev1.ConditionFalse)),
			},
			WantPatches: patch(`{"metadata":{"annotations":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"},"resourceVersion":"7"},"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"n"}]}}}}`),
			WantEvents:  []string{added("n (namespace)")},
		},
		{
			Name: "beyond the rate: nothing written, and nothing asked again",
			Key:  key, Ctx: with(config.BackfillAll, 1),
			Objects: []runtime.Object{Service(ns, "app"), declares("n")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) {
				r.backfill.ask(types.NamespacedName{Namespace: ns, Name: "first"}, true, 1)
			}},
		},
	}.Test(t, factory())
}

// TestContested has somebody remove an entry again and again.
func TestContested(t *testing.T) {
	ctx := with(config.BackfillAll, 0)
	svc := Service(ns, "app")
	objects := []runtime.Object{svc, declares("n")}
	row := knativetesting.TableRow{Key: ns + "/app", Ctx: ctx, Objects: objects}
	c, actions, eventList := factory()(t, &row)
	rounds := 0
	for round := range 10 {
		svc.ResourceVersion = fmt.Sprint("round-", round) // The cache shows each removal.
		if err := c.Reconcile(row.Ctx, row.Key); err != nil {
			if ok, wait := controller.IsRequeueKey(err); !ok || wait != contest.Pause {
				t.Fatalf("Reconcile() = %v, want a pause of %v", err, contest.Pause)
			}
			break
		}
		rounds++
	}
	// The first one is no round: nobody had removed anything before.
	if want := 1 + contest.Most; rounds != want {
		t.Errorf("wrote %d times before giving up, want %d", rounds, want)
	}
	all, err := actions.ActionsByVerb()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(all.Patches); got != rounds {
		t.Errorf("%d patches, want %d", got, rounds)
	}
	for range 3 {
		if err := c.Reconcile(row.Ctx, row.Key); err == nil {
			t.Error("wrote to a contested Service")
		}
	}
	told := eventList.Events()
	if got, want := len(told), rounds+1; got != want {
		t.Errorf("%d events, want %d: %q", got, want, told)
	}
	if got, want := told[len(told)-1], "Warning InjectionContested Pull secrets n (namespace) are repeatedly removed by another writer; will not add them again for an hour, or until the annotations of the Service change"; got != want {
		t.Errorf("event = %q, want %q", got, want)
	}
}

func TestContestedEnds(t *testing.T) {
	m := attempts{memory.NewStore[history](&memory.Memory{})}
	contest := func(svc *servingv1.Service) {
		earlier := svc.DeepCopy()
		earlier.ResourceVersion = "earlier"
		for range contest.Most + 1 {
			m.wrote(earlier, "after", result)
		}
		if names, wait := m.contested(svc, result); len(names) == 0 || wait != contest.Pause {
			t.Fatalf("contested() = %v, %v, want a pause", names, wait)
		}
	}
	svc := Service(ns, "app")
	contest(svc)
	stale := svc.DeepCopy()
	stale.ResourceVersion = "7"
	m.wrote(stale, "after", result)
	if _, wait := m.contested(stale, result); wait != 0 {
		t.Error("a cache without the last write counts as a removal")
	}
	m.wrote(stale, stale.ResourceVersion, result)
	if _, wait := m.contested(stale, result); wait == 0 {
		t.Error("a change that was reverted in the same request does not count as a removal")
	}
	if _, wait := m.contested(Service(ns, "app", WithAnnotation(pullsecrets.InjectAnnotation, "declared")), result); wait != 0 {
		t.Error("still contested although the annotations changed")
	}
	contest(svc)
	other := Service(ns, "app")
	other.UID = "another"
	if _, wait := m.contested(other, result); wait != 0 {
		t.Error("a Service made again is contested")
	}
	contest(svc)
	m.Forget(types.NamespacedName{Namespace: ns, Name: "app"})
	if _, wait := m.contested(svc, result); wait != 0 {
		t.Error("a forgotten Service is contested")
	}
}

// TestToldOnce looks at a Service with a lasting problem several times.
func TestToldOnce(t *testing.T) {
	row := knativetesting.TableRow{Key: ns + "/app", Ctx: with(config.BackfillSafe, 0), Objects: []runtime.Object{Service(ns, "app"), declares("n")}}
	c, _, eventList := factory()(t, &row)
	for range 5 {
		if err := c.Reconcile(row.Ctx, row.Key); err != nil {
			t.Fatal(err)
		}
	}
	if got := eventList.Events(); len(got) != 1 || !strings.Contains(got[0], events.ReasonBackfillDeferred) {
		t.Errorf("events = %q, want BackfillDeferred once", got)
	}
}

// bucketOf is the bucket of one object by this name.
type bucketOf string

func (b bucketOf) Name() string                      { return string(b) }
func (b bucketOf) Has(key types.NamespacedName) bool { return key.Name == string(b) }

// TestDemoted has another replica take over one of two buckets: what is known of the
// other one's Services stays.
func TestDemoted(t *testing.T) {
	kept, lost := Service(ns, "kept"), Service(ns, "lost")
	both := []*servingv1.Service{kept, lost}
	var remembered memory.Memory
	m, err := newMetrics(&remembered)
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{
		attempts: attempts{memory.NewStore[history](&remembered)}, reporter: events.NewReporter(&remembered, nil),
		backfill: newBackfill(&remembered, func(types.NamespacedName) {}), metrics: m,
	}
	report := func(svc *servingv1.Service) int {
		told, _ := r.reporter.Report(record.NewFakeRecorder(1), svc, topicService, []events.Event{events.SecretMissing(ns, []string{"n"})})
		return len(told)
	}
	r.backfill.ask(named("first"), false, 1)
	for _, svc := range both {
		r.backfill.ask(keyOf(svc), false, 1)
		r.attempts.deny(svc)
		r.metrics.missing.note(keyOf(svc), []string{"n"})
		report(svc)
	}
	remembered.Demote(bucketOf("lost"))
	for _, svc := range both {
		want := svc == kept
		if _, waits := r.backfill.waiting.places[keyOf(svc)]; waits != want {
			t.Errorf("%s stands in the line: %t, want %t", svc.Name, waits, want)
		}
		if got := r.attempts.wasDenied(svc); got != want {
			t.Errorf("%s is remembered: %t, want %t", svc.Name, got, want)
		}
		if got := r.metrics.missing.of(keyOf(svc)); got != want {
			t.Errorf("%s is known to lack a Secret: %t, want %t", svc.Name, got, want)
		}
		if got := report(svc) == 0; got != want {
			t.Errorf("%s has been told: %t, want %t", svc.Name, got, want)
		}
	}
}

func BenchmarkReconcileKind(b *testing.B) {
	for _, bb := range []struct {
		name string
		svc  *servingv1.Service
	}{
		{"not declared", Service("other", "app")},
		{"converged", Service(ns, "app", WithPullSecrets("n"), WithAnnotation(pullsecrets.AddedAnnotation, `{"n":"namespace"}`))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			listers := NewListers([]runtime.Object{declares("n"), Namespace("other"), ServiceAccount(ns, "default", nil)})
			var remembered memory.Memory
			m, err := newMetrics(&remembered)
			if err != nil {
				b.Fatal(err)
			}
			r := &Reconciler{
				memory: &remembered, cached: fromCaches(listers.Namespaces(), listers.ServiceAccounts()), reporter: events.NewReporter(&remembered, nil),
				backfill: newBackfill(&remembered, func(types.NamespacedName) {}), catalog: granted(listers),
				attempts: attempts{memory.NewStore[history](&remembered)}, metrics: m,
			}
			ctx := with(config.BackfillAll, 0)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.ReconcileKind(ctx, bb.svc); err != nil {
					b.Fatal(fmt.Errorf("ReconcileKind() = %w", err))
				}
			}
		})
	}
}
