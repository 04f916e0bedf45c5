// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakekube "k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"knative.dev/pkg/controller"
	logtesting "knative.dev/pkg/logging/testing"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	fakeversioned "pullsecrets.dev/pkg/client/clientset/versioned/fake"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// binding returns a Namespace that declares ghcr for these ServiceAccounts.
func binding(accounts string, options ...NamespaceOption) *corev1.Namespace {
	return Namespace("team", append(options,
		WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, accounts))...)
}

// robot returns a ServiceAccount at resourceVersion 5.
func robot(ledger string, secrets ...string) *corev1.ServiceAccount {
	annotations := map[string]string{}
	if ledger != "" {
		annotations[pullsecrets.AddedAnnotation] = ledger
	}
	account := ServiceAccount("team", "robot", annotations, secrets...)
	account.ResourceVersion, account.UID = "5", "uid-robot"
	return account
}

func patchOfAccount(patch string) []clientgotesting.PatchActionImpl {
	return []clientgotesting.PatchActionImpl{{Name: "robot", Patch: []byte(patch)}}
}

func failedPatch(err error) []clientgotesting.ReactionFunc {
	return []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.Matches("patch", "serviceaccounts"), nil, err
	}}
}

// added is a change that adds one entry.
var added = merge.Result{Added: []merge.Entry{{Name: "ghcr", Origin: merge.FromNamespace}}, ListChanged: true}

var (
	serviceAccounts = schema.GroupResource{Resource: "serviceaccounts"}
	byPolicy        = apierrors.NewForbidden(serviceAccounts, "robot", errors.New("ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no"))
)

// reads makes the API server return another Namespace than the cache, unless it is nil,
// and these ClusterPullSecrets, and counts the reads.
func reads(count *int, namespace *corev1.Namespace, clusterPullSecrets ...*v1alpha1.ClusterPullSecret) []clientgotesting.ReactionFunc {
	return []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
		if count != nil && !action.Matches("patch", "serviceaccounts") {
			*count++
		}
		list := &v1alpha1.ClusterPullSecretList{}
		for _, cps := range clusterPullSecrets {
			list.Items = append(list.Items, *cps)
		}
		switch {
		case action.Matches("get", "namespaces") && namespace != nil:
			return true, namespace, nil
		case action.Matches("list", "clusterpullsecrets"):
			return true, list, nil
		}
		return false, nil, nil
	}}
}

// TestAccounts lists every write of a ServiceAccount.
func TestAccounts(t *testing.T) {
	const (
		add    = `{"imagePullSecrets":[{"name":"own"},{"name":"ghcr"}],"metadata":{"annotations":{"pullsecrets.dev/added":"{\"ghcr\":\"namespace\"}"},"resourceVersion":"5"}}`
		take   = `{"imagePullSecrets":[{"name":"own"}],"metadata":{"annotations":{"pullsecrets.dev/added":null},"resourceVersion":"5"}}`
		ours   = `{"ghcr":"namespace"}`
		added  = "Normal SecretsAdded Added pull secrets: ghcr (namespace) in ServiceAccount robot"
		taken  = "Normal SecretsRetracted Removed pull secrets that are no longer declared: ghcr (namespace) in ServiceAccount robot"
		denied = "Warning BackfillDenied Adding pull secrets ghcr (namespace) was rejected; will not retry until the ServiceAccount or what is declared for it changes: "
	)
	runRows(t, knativetesting.TableTest{
		{
			Name: "named: appended", Objects: []runtime.Object{binding("other, robot"), robot("", "own")},
			WantPatches: patchOfAccount(add), WantEvents: []string{added},
		}, {
			Name: "all", Objects: []runtime.Object{binding("*"), robot("", "own")},
			WantPatches: patchOfAccount(add), WantEvents: []string{added},
		}, {
			Name: "not named", Objects: []runtime.Object{binding("other"), robot("", "own")},
		}, {
			Name: "bound already", Objects: []runtime.Object{binding("robot"), robot(ours, "own", "ghcr")},
		}, {
			Name: "listed by the user", Objects: []runtime.Object{binding("robot"), robot("", "ghcr", "own")},
		}, {
			Name: "inject applies to Services only", Objects: []runtime.Object{binding("robot", WithNamespaceAnnotation(pullsecrets.InjectAnnotation, "disabled")), robot("", "own")},
			WantPatches: patchOfAccount(add), WantEvents: []string{added},
		}, {
			Name: "no longer named: removed", Objects: []runtime.Object{Namespace("team"), robot(ours, "ghcr", "own")},
			WantPatches: patchOfAccount(take), WantEvents: []string{taken},
		}, {
			Name: "the profile inject-only: removed without a read of ClusterPullSecrets", Objects: []runtime.Object{Namespace("team"), robot(ours, "ghcr", "own")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.copies.catalog.Unknown, r.accounts.grants = true, nil }},
			WantPatches:   patchOfAccount(take), WantEvents: []string{taken},
		}, {
			Name: "the profile inject-only: an entry of a ClusterPullSecret stays", Objects: []runtime.Object{Namespace("team"), robot(`{"quay":"clusterpullsecret/quay"}`, "quay", "own")},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.copies.catalog.Unknown, r.accounts.grants = true, nil }},
		}, {
			Name: "the profile inject-only: an entry of a ClusterPullSecret stays beside one that is removed", Objects: []runtime.Object{
				Namespace("team"), robot(`{"ghcr":"namespace","quay":"clusterpullsecret/quay"}`, "quay", "ghcr", "own"),
			},
			OtherTestData: map[string]any{"prepare": func(r *Reconciler) { r.copies.catalog.Unknown, r.accounts.grants = true, nil }},
			WantPatches:   patchOfAccount(`{"imagePullSecrets":[{"name":"quay"},{"name":"own"}],"metadata":{"annotations":{"pullsecrets.dev/added":"{\"quay\":\"clusterpullsecret/quay\"}"},"resourceVersion":"5"}}`),
			WantEvents:    []string{taken},
		}, {
			Name: "a key without meaning on a ServiceAccount", Objects: []runtime.Object{
				Namespace("team"), ServiceAccount("team", "robot", map[string]string{"pullsecrets.dev/secrets": "ghcr"}, "own"),
			},
			WantEvents: []string{"Warning InvalidAnnotation Annotation pullsecrets.dev/secrets: has no effect on a ServiceAccount; it is an annotation of a Namespace or a Service"},
		}, {
			Name: "excluded: left alone", Objects: []runtime.Object{Namespace("team", WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)), robot(ours, "own", "ghcr")},
		}, {
			Name: "a damaged ledger: counts as empty, and is reported", Objects: []runtime.Object{Namespace("team"), robot("x", "own")},
			WantEvents: []string{"Warning InvalidAnnotation Annotation pullsecrets.dev/added is invalid: expected a JSON object that maps Secret names to origins; entries that it does not name are treated as the owner's"},
		}, {
			Name:        "a ClusterPullSecret binds it",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("quay", withoutStatus, boundTo("robot")), robot("", "own")},
			WantPatches: patchOfAccount(`{"imagePullSecrets":[{"name":"own"},{"name":"quay"}],"metadata":{"annotations":{"pullsecrets.dev/added":"{\"quay\":\"clusterpullsecret/quay\"}"},"resourceVersion":"5"}}`),
			WantEvents:  []string{"Normal SecretsAdded Added pull secrets: quay (clusterpullsecret/quay) in ServiceAccount robot"},
		}, {
			Name: "a conflict: retried", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(apierrors.NewConflict(serviceAccounts, "robot", nil)),
			WantPatches:  patchOfAccount(add), WantErr: true,
			WantEvents: []string{`Warning InternalError failed to patch the pull secrets of ServiceAccount team/robot: Operation cannot be fulfilled on serviceaccounts "robot": <nil>`},
		}, {
			Name: "annotations without room for a ledger: reported, not written", Objects: []runtime.Object{binding("robot"), func() *corev1.ServiceAccount {
				account := robot("", "own")
				account.Annotations["x"] = strings.Repeat("x", 256<<10-100)
				return account
			}()},
			WantEvents: []string{denied + "annotations are too large to add pullsecrets.dev/added"},
		}, {
			Name: "annotations without room for a ledger: an entry is removed anyway", Objects: []runtime.Object{Namespace("team"), func() *corev1.ServiceAccount {
				account := robot(ours, "ghcr", "own")
				account.Annotations["x"] = strings.Repeat("x", 256<<10-100)
				return account
			}()},
			WantPatches: patchOfAccount(take), WantEvents: []string{taken},
		}, {
			Name: "rejected by a policy: reported, not retried", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(byPolicy), WantPatches: patchOfAccount(add),
			WantEvents: []string{denied + `serviceaccounts "robot" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no`},
		}, {
			Name: "no permission: retried", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(apierrors.NewForbidden(serviceAccounts, "robot", errors.New("cannot patch"))),
			WantPatches:  patchOfAccount(add), WantErr: true,
			WantEvents: []string{`Warning InternalError failed to patch the pull secrets of ServiceAccount team/robot: serviceaccounts "robot" is forbidden: cannot patch`},
		}, {
			Name: "bound by a Namespace that the cache does not show yet: nothing is removed", Objects: []runtime.Object{Namespace("team"), robot(ours, "own", "ghcr")},
			WithReactors: reads(nil, binding("robot")),
		}, {
			Name: "bound by a ClusterPullSecret that the cache does not show yet: nothing is removed", Objects: []runtime.Object{Namespace("team"), robot(`{"quay":"clusterpullsecret/quay"}`, "own", "quay")},
			WithReactors: reads(nil, nil, ClusterPullSecret("quay", withoutStatus, boundTo("robot"))),
		}, {
			Name: "excluded, which the cache does not show yet: left alone", Objects: []runtime.Object{Namespace("team"), robot(ours, "own", "ghcr")},
			WithReactors: reads(nil, Namespace("team", WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue))),
		}, {
			Name: "reading the Namespace fails", Objects: []runtime.Object{Namespace("team"), robot(ours, "own", "ghcr")},
			WithReactors: []clientgotesting.ReactionFunc{knativetesting.InduceFailure("get", "namespaces")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to read Namespace team: inducing failure for get namespaces"},
		}, {
			Name: "listing the ClusterPullSecrets fails", Objects: []runtime.Object{Namespace("team"), robot(ours, "own", "ghcr")},
			WithReactors: []clientgotesting.ReactionFunc{knativetesting.InduceFailure("list", "clusterpullsecrets")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to list the ClusterPullSecrets: inducing failure for list clusterpullsecrets"},
		}, {
			Name: "it was deleted", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(apierrors.NewNotFound(serviceAccounts, "robot")),
			WantPatches:  patchOfAccount(add),
		}, {
			Name: "it is being deleted", Objects: []runtime.Object{binding("robot"), func() *corev1.ServiceAccount {
				account := robot("", "own")
				account.DeletionTimestamp, account.Finalizers = new(metav1.Now()), []string{"x"}
				return account
			}()},
		},
	})
}

// ServiceAccounts that are bound at the same time share one Event.
func TestAccountsShareAnEvent(t *testing.T) {
	second := robot("", "own")
	second.Name = "default"
	row := knativetesting.TableRow{Objects: []runtime.Object{binding("*"), robot("", "own"), second}}
	c, _, eventList := factory()(t, &row)
	if err := c.Reconcile(row.Ctx, "team"); err != nil {
		t.Fatal(err)
	}
	want := []string{"Normal SecretsAdded Added pull secrets: ghcr (namespace) in ServiceAccounts default, robot"}
	if got := eventList.Events(); !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func boundTo(account string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Always = &v1alpha1.Always{ServiceAccounts: []string{account}}
	}
}

// The API server is read only if an entry would be removed, and then once for all
// ServiceAccounts.
func TestLiveReads(t *testing.T) {
	other := robot(`{"ghcr":"namespace"}`, "ghcr")
	other.Name = "other"
	for _, test := range []struct {
		reason    string
		namespace *corev1.Namespace
		want      int
	}{
		{"nothing changes", binding("robot,other"), 0},
		{"an entry is added", binding("*", WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr,quay")), 0},
		{"two lose one", Namespace("team"), 2},
	} {
		count := 0
		row := knativetesting.TableRow{
			Objects: []runtime.Object{test.namespace, robot(`{"ghcr":"namespace"}`, "ghcr"), other}, WithReactors: reads(&count, nil),
		}
		c, _, _ := factory()(t, &row)
		if err := c.Reconcile(row.Ctx, "team"); err != nil || count != test.want {
			t.Errorf("%s: Reconcile() = %v after %d reads, want %d", test.reason, err, count, test.want)
		}
	}
}

// A change that the API server rejects is tried and reported once, until the
// ServiceAccount or what is declared for it changes.
func TestRejectedOnce(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{binding("robot"), robot("")}, WithReactors: failedPatch(byPolicy)}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, eventList := factory()(t, &row)
	check := func(what string, want int) {
		t.Helper()
		all, err := actions.ActionsByVerb()
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Patches) != want {
			t.Errorf("%s: %d patches, want %d", what, len(all.Patches), want)
		}
	}
	for range 3 {
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Fatal(err)
		}
	}
	check("again", 1)
	bind := func(account *corev1.ServiceAccount, secrets ...string) {
		t.Helper()
		d := declared{namespace: annotation.ForNamespace(map[string]string{
			pullsecrets.SecretsAnnotation: strings.Join(secrets, ","), pullsecrets.ServiceAccountsAnnotation: "*",
		})}
		if err := r.accounts.bind(row.Ctx, account, d, &outcome{}); err != nil {
			t.Error(err)
		}
	}
	bind(robot(""), "ghcr", "quay")
	check("another declaration", 2)
	changed := robot("")
	changed.ResourceVersion = "6"
	bind(changed, "ghcr", "quay")
	check("the ServiceAccount has changed", 3)
	if got := eventList.Events(); len(got) != 2 {
		t.Errorf("events = %q, want one for each declaration", got)
	}
}

func newAccounts() *accounts {
	var m memory.Memory
	return &accounts{reporter: newReporter(&m), written: memory.NewTable[string, *history](&m)}
}

// When a ClusterPullSecret is deleted, each namespace that it selected has to know what is
// still granted. One list serves all that ask at the same time.
func TestNamespacesShareTheListOfClusterPullSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const namespaces = 50
		var objects []runtime.Object
		for i := range namespaces {
			objects = append(objects, Namespace(fmt.Sprint("team-", i)))
		}
		client, lists := fakeversioned.NewSimpleClientset(), 0
		client.PrependReactor("list", "clusterpullsecrets", func(clientgotesting.Action) (bool, runtime.Object, error) {
			lists++ // One at a time.
			time.Sleep(time.Second)
			return false, nil, nil
		})
		a := &accounts{kube: fakekube.NewClientset(objects...), grants: readGrants(client)}
		ctx := config.WithConfig(t.Context(), &config.Config{})
		var all sync.WaitGroup
		for i := range namespaces {
			all.Go(func() {
				if d, err := a.readDeclared(ctx, fmt.Sprint("team-", i), false); d == nil || err != nil {
					t.Errorf("namespace %d: %v, %v", i, d, err)
				}
			})
		}
		all.Wait()
		if lists > 2 {
			t.Errorf("%d lists for %d namespaces, want 2 at most", lists, namespaces)
		}
	})
}

// isKnown reports whether a ServiceAccount has a history.
func isKnown(a *accounts, account *corev1.ServiceAccount) (known bool) {
	a.written.Do(byNamespace(account.Namespace), func(all map[string]*history) { _, known = all[account.Name] })
	return known
}

// A ServiceAccount has no history before the first write or after its deletion.
func TestAccountsAreForgotten(t *testing.T) {
	a := newAccounts()
	account := robot("")
	for _, result := range []merge.Result{{}, added} {
		if a.contested(account, result); isKnown(a, account) {
			t.Error("a history exists before the first write")
		}
	}
	report := func() int {
		reported, _ := a.reporter.Report(record.NewFakeRecorder(1), account, topicAccount, []events.Event{events.BindingContested(added.Added)})
		return len(reported)
	}
	for _, object := range []any{account, cache.DeletedFinalStateUnknown{Key: "team/robot", Obj: account}} {
		a.wrote(account, "after", added)
		report()
		if a.forget(object); isKnown(a, account) || report() != 1 {
			t.Errorf("%T: the history of a deleted ServiceAccount was kept", object)
		}
	}
}

// An entry that is removed again and again is restored three times. A recreated
// ServiceAccount has no history.
func TestContestedAccount(t *testing.T) {
	a := newAccounts()
	account, result := robot(""), added
	for round := range contest.Most + 1 {
		account.ResourceVersion = fmt.Sprint(round)
		if _, left := a.contested(account, result); left != 0 {
			t.Fatal("contested too early")
		}
		a.wrote(account, "after", result)
	}
	if _, left := a.contested(account, result); left != 0 {
		t.Error("a cache without the last write counts as a removal")
	}
	account.ResourceVersion = "10"
	if back, left := a.contested(account, result); len(back) != 1 || left != contest.Pause {
		t.Errorf("contested = %v for %s, want ghcr for %s", back, left, contest.Pause)
	}
	a.wrote(account, account.ResourceVersion, result)
	if _, left := a.contested(account, result); left == 0 {
		t.Error("a change that was reverted in the same request does not count as a removal")
	}
	other := merge.Result{Added: []merge.Entry{{Name: "quay", Origin: merge.FromNamespace}}, ListChanged: true}
	if _, left := a.contested(account, other); left != 0 {
		t.Error("another entry counts as contested")
	}
	recreated := robot("")
	recreated.UID = "another"
	if _, left := a.contested(recreated, result); left != 0 {
		t.Error("a recreated ServiceAccount counts as contested")
	}
}

// handlers records the event handlers of an informer.
type handlers struct {
	cache.SharedIndexInformer
	added []cache.ResourceEventHandler
}

func (h *handlers) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	h.added = append(h.added, handler)
	return nil, nil
}

// A deleted ServiceAccount is forgotten, and its Namespace is enqueued.
func TestDeletedAccount(t *testing.T) {
	impl := controller.NewContext(t.Context(), nil, controller.ControllerOptions{WorkQueueName: "test", Logger: logtesting.TestLogger(t)})
	a := newAccounts()
	a.wrote(robot(""), "after", added)
	var informer handlers
	enqueuer{impl: impl}.watchAccounts(&informer, a.forget)
	for _, handler := range informer.added {
		handler.OnDelete(robot(""))
	}
	if isKnown(a, robot("")) || impl.WorkQueue().Len() != 1 {
		t.Errorf("known: %t, and %d Namespaces are enqueued, want false and one", isKnown(a, robot("")), impl.WorkQueue().Len())
	}
}
