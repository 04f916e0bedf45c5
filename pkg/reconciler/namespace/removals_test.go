// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func TestRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemovals(&memory.Memory{})
		for _, step := range []struct {
			what      string
			namespace string
			uids      []types.UID
			want      time.Duration
		}{
			{"nothing is to be removed", "a", nil, 0},
			{"a first copy", "a", []types.UID{"1"}, 0},
			{"it still exists", "a", []types.UID{"1"}, time.Minute},
			{"a second one in another namespace", "b", []types.UID{"2"}, 2 * time.Minute},
			{"the first one is gone, and was recreated", "a", []types.UID{"3"}, time.Minute},
			{"the second one is needed again", "b", nil, time.Minute},
			{"the third one is gone", "a", nil, 0},
		} {
			r.decided(step.namespace, step.uids)
			if got := r.delay(); got != step.want {
				t.Errorf("%s: delay %s, want %s", step.what, got, step.want)
			}
			time.Sleep(time.Minute)
		}
	})
}

// A copy whose removal fails is delayed, whatever the reason of the removal, and one that
// is needed or released to a user is not.
func TestFailedRemovalIsDelayed(t *testing.T) {
	for name, test := range map[string]struct {
		objects []runtime.Object
		fails   string
		want    time.Duration
	}{
		"no longer asked for":      {[]runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7")}, "delete", time.Minute},
		"no longer selected":       {[]runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), sourceOf(one), copied(one, "7")}, "delete", time.Minute},
		"retained":                 {[]runtime.Object{asks(), ClusterPullSecret("ghcr", deleted(v1alpha1.DeletionPolicyRetain)), copied(one, "7")}, "patch", time.Minute},
		"to be brought up to date": {[]runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6")}, "update", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				read := Metrics(t)
				var r *Reconciler
				row := knativetesting.TableRow{
					Objects: test.objects, WithReactors: failing(test.fails),
					OtherTestData: map[string]any{"prepare": func(made *Reconciler) { r = made }},
				}
				c, _, _ := factory()(t, &row)
				if err := r.copies.removals.record(); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := c.Reconcile(row.Ctx, "team"); err == nil {
						t.Fatal("Reconcile() succeeded, want an error")
					}
				}
				time.Sleep(time.Minute)
				if got := r.copies.removals.delay(); got != test.want {
					t.Errorf("delay %s, want %s", got, test.want)
				}
				if got := read()["pullsecrets.revocation.delay"]; got != int64(test.want.Seconds()) {
					t.Errorf("the metric is %d s, want %s", got, test.want)
				}
			})
		})
	}
}
