// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func TestGauges(t *testing.T) {
	dying := func(cps *v1alpha1.ClusterPullSecret) {
		cps.DeletionTimestamp = new(metav1.NewTime(noon.Add(-time.Minute)))
	}
	const (
		namespaces = "pullsecrets.distribution.namespaces{cluster_pull_secret=ghcr,state="
		ready      = "pullsecrets.source.ready{cluster_pull_secret=ghcr}"
		changed    = "pullsecrets.source.changed{cluster_pull_secret=ghcr}"
		delay      = "pullsecrets.deletion.delay{cluster_pull_secret=ghcr}"
	)
	for name, test := range map[string]struct {
		cps  *v1alpha1.ClusterPullSecret
		want map[string]int64
	}{
		"distributed": {
			steady(counted(3, 2, 2, 0, 0)),
			map[string]int64{namespaces + "synced}": 2, namespaces + "pending}": 0, namespaces + "conflicted}": 0, namespaces + "failed}": 0, ready: 1, changed: earlier.Unix()},
		},
		"in part": {
			steady(counted(9, 8, 1, 2, 3)),
			map[string]int64{namespaces + "synced}": 1, namespaces + "pending}": 2, namespaces + "conflicted}": 2, namespaces + "failed}": 3, ready: 1, changed: earlier.Unix()},
		},
		"never reconciled": {
			ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) { cps.Status = v1alpha1.ClusterPullSecretStatus{} }),
			map[string]int64{namespaces + "synced}": 0, namespaces + "pending}": 0, namespaces + "conflicted}": 0, namespaces + "failed}": 0, ready: 0},
		},
		"its source was lost": {
			steady(counted(1, 1, 1, 0, 0), lost),
			map[string]int64{namespaces + "synced}": 1, namespaces + "pending}": 0, namespaces + "conflicted}": 0, namespaces + "failed}": 0, ready: 0, changed: earlier.Unix()},
		},
		"being deleted for a minute": {
			steady(counted(1, 1, 1, 0, 0), dying),
			map[string]int64{delay: 60},
		},
	} {
		t.Run(name, func(t *testing.T) {
			read := Metrics(t)
			if err := observeStatus(NewListers([]runtime.Object{test.cps}).ClusterPullSecrets(), func() time.Time { return noon }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, read()); diff != "" {
				t.Error("(-want, +got):", diff)
			}
		})
	}
}
