// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgotesting "k8s.io/client-go/testing"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/merge"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// binding is a Namespace that declares ghcr for these ServiceAccounts.
func binding(accounts string, options ...NamespaceOption) *corev1.Namespace {
	return Namespace("team", append(options,
		WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, accounts))...)
}

// robot is a ServiceAccount at resourceVersion 5.
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

// TestAccounts lists every write of a ServiceAccount.
func TestAccounts(t *testing.T) {
	const (
		add   = `{"imagePullSecrets":[{"name":"own"},{"name":"ghcr"}],"metadata":{"annotations":{"pullsecrets.dev/added":"{\"ghcr\":\"namespace\"}"},"resourceVersion":"5"}}`
		take  = `{"imagePullSecrets":[{"name":"own"}],"metadata":{"annotations":{"pullsecrets.dev/added":null},"resourceVersion":"5"}}`
		ours  = `{"ghcr":"namespace"}`
		added = "Normal SecretsAdded Added pull secrets ghcr (namespace)"
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
			Name: "the user has it", Objects: []runtime.Object{binding("robot"), robot("", "ghcr", "own")},
		}, {
			Name: "inject is about Services", Objects: []runtime.Object{binding("robot", WithNamespaceAnnotation(pullsecrets.InjectAnnotation, "disabled")), robot("", "own")},
			WantPatches: patchOfAccount(add), WantEvents: []string{added},
		}, {
			Name: "not named any more: taken away", Objects: []runtime.Object{Namespace("team"), robot(ours, "ghcr", "own")},
			WantPatches: patchOfAccount(take), WantEvents: []string{"Normal SecretsRetracted Took away pull secrets ghcr (namespace), which nothing declares any more"},
		}, {
			Name: "excluded: left alone", Objects: []runtime.Object{Namespace("team", WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)), robot(ours, "own", "ghcr")},
		}, {
			Name: "a damaged ledger names nothing, and is told", Objects: []runtime.Object{Namespace("team"), robot("x", "own")},
			WantEvents: []string{"Warning InvalidAnnotation Annotation pullsecrets.dev/added is not what the product wrote: want a JSON object of entry names and their origins; entries that it does not name count as the owner's"},
		}, {
			Name:        "a ClusterPullSecret binds it",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("quay", withoutStatus, boundTo("robot")), robot("", "own")},
			WantPatches: patchOfAccount(`{"imagePullSecrets":[{"name":"own"},{"name":"quay"}],"metadata":{"annotations":{"pullsecrets.dev/added":"{\"quay\":\"clusterpullsecret/quay\"}"},"resourceVersion":"5"}}`),
			WantEvents:  []string{"Normal SecretsAdded Added pull secrets quay (clusterpullsecret/quay)"},
		}, {
			Name: "somebody was faster", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(apierrors.NewConflict(schema.GroupResource{Resource: "serviceaccounts"}, "robot", nil)),
			WantPatches:  patchOfAccount(add), WantErr: true,
			WantEvents: []string{`Warning InternalError failed to patch the pull secrets of ServiceAccount team/robot: Operation cannot be fulfilled on serviceaccounts "robot": <nil>`},
		}, {
			Name: "it is gone", Objects: []runtime.Object{binding("robot"), robot("", "own")},
			WithReactors: failedPatch(apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, "robot")),
			WantPatches:  patchOfAccount(add),
		}, {
			Name: "it is going", Objects: []runtime.Object{binding("robot"), func() *corev1.ServiceAccount {
				account := robot("", "own")
				account.DeletionTimestamp, account.Finalizers = new(metav1.Now()), []string{"x"}
				return account
			}()},
		},
	})
}

func boundTo(account string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.Always = &v1alpha1.Always{ServiceAccounts: []string{account}}
	}
}

// What somebody keeps removing is put back three times. A ServiceAccount that was
// made anew is another one.
func TestContestedAccount(t *testing.T) {
	a := &accounts{reporter: events.NewReporter()}
	account := robot("")
	result := merge.Result{Added: []merge.Entry{{Name: "ghcr", Origin: merge.FromNamespace}}, ListChanged: true}
	for range contest.Rounds + 1 {
		if _, left := a.contested(account, result); left != 0 {
			t.Fatal("contested too early")
		}
		a.wrote(account, result)
	}
	if back, left := a.contested(account, result); len(back) != 1 || left != contest.Pause {
		t.Errorf("contested = %v for %s, want ghcr for %s", back, left, contest.Pause)
	}
	other := merge.Result{Added: []merge.Entry{{Name: "quay", Origin: merge.FromNamespace}}, ListChanged: true}
	if _, left := a.contested(account, other); left != 0 {
		t.Error("another entry counts as contested")
	}
	anew := robot("")
	anew.UID = "another"
	if _, left := a.contested(anew, result); left != 0 {
		t.Error("a ServiceAccount that was made anew counts as contested")
	}
	a.forget("team")
	if len(a.contests) != 0 {
		t.Error("forget does not forget")
	}
}
