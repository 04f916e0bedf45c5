// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// notLeading is a generated reconciler that has lost all buckets.
type notLeading struct{}

func (notLeading) IsLeaderFor(types.NamespacedName) bool { return false }

// A process that loses a ClusterPullSecret while it reconciles it exports no gauges of it: another
// process does, and these would stay as they are.
func TestDemotedDuringAReconciliation(t *testing.T) {
	for reason, change := range map[string]ClusterPullSecretOption{
		"an expiry": func(*v1alpha1.ClusterPullSecret) {},
		"a deletion": func(cps *v1alpha1.ClusterPullSecret) {
			cps.DeletionTimestamp = new(metav1.NewTime(noon.Add(-time.Hour)))
		},
	} {
		t.Run(reason, func(t *testing.T) {
			metrics := Metrics(t)
			cps := steady(change)
			row := knativetesting.TableRow{Objects: []runtime.Object{asks("team"), cps, copied("team", "7", one)}}
			var r *Reconciler
			row.OtherTestData = prepared(func(made *Reconciler) { r = made })
			factory()(t, &row)
			if _, err := kubeclient.Get(row.Ctx).CoreV1().Secrets(ref.Namespace).Create(row.Ctx, sourceOf("7", one, expiring(9*time.Hour)), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			reconcile := r.ReconcileKind
			if cps.DeletionTimestamp != nil {
				reconcile = r.FinalizeKind
			}
			r.now = func() time.Time {
				r.memory.LedBy(notLeading{})
				r.memory.Demote(onlyBucket(cps.Name))
				return noon
			}
			_ = reconcile(row.Ctx, cps)
			for series := range metrics() {
				t.Errorf("%s is exported", series)
			}
			r.diagnoses.Each(func(key types.NamespacedName, _ *diagnosis) { t.Errorf("a diagnosis of %s is remembered", key) })
			r.tallies.Each(func(key types.NamespacedName, _ *verdicts) { t.Errorf("verdicts of %s are remembered", key) })
		})
	}
}
