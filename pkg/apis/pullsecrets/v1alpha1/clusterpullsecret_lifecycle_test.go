// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/apis/duck"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	apistest "knative.dev/pkg/apis/testing"
)

func TestDuckTypes(t *testing.T) {
	if err := duck.VerifyType(&ClusterPullSecret{}, &duckv1.Conditions{}); err != nil {
		t.Error("Knative's tools cannot read the conditions of a ClusterPullSecret:", err)
	}
}

func TestIdentity(t *testing.T) {
	if got, want := new(ClusterPullSecret).GetGroupVersionKind().String(), "pullsecrets.dev/v1alpha1, Kind=ClusterPullSecret"; got != want {
		t.Errorf("GetGroupVersionKind = %s, want %s", got, want)
	}
	c := new(ClusterPullSecret)
	if c.GetStatus() != &c.Status.Status {
		t.Error("GetStatus does not return the object's own status, so what the reconciler sets there is lost")
	}
	if got := c.GetConditionSet().GetTopLevelConditionType(); got != apis.ConditionReady {
		t.Errorf("The top-level condition is %s, want %s", got, apis.ConditionReady)
	}
}

func TestConditions(t *testing.T) {
	source := SecretReference{Namespace: "pullsecrets-sources", Name: "ghcr-robot"}
	type want struct {
		ready, source, distributed corev1.ConditionStatus
		reason, message            string // of Ready
	}
	const (
		yes     = corev1.ConditionTrue
		no      = corev1.ConditionFalse
		unknown = corev1.ConditionUnknown
	)
	tests := []struct {
		name string
		mark func(*ClusterPullSecretStatus)
		want want
	}{{
		name: "nothing known yet",
		mark: func(*ClusterPullSecretStatus) {},
		want: want{ready: unknown, source: unknown, distributed: unknown},
	}, {
		name: "source good, copies not looked at",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceReady() },
		want: want{ready: unknown, source: yes, distributed: unknown},
	}, {
		name: "all good",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceReady(); s.MarkDistributed() },
		want: want{ready: yes, source: yes, distributed: yes},
	}, {
		name: "source good, with what is probably a mistake",
		mark: func(s *ClusterPullSecretStatus) {
			s.MarkSourceQuestionable(source, []string{`entry "a%20b": odd`})
			s.MarkDistributed()
		},
		want: want{ready: yes, source: yes, distributed: yes},
	}, {
		name: "source not allowed",
		mark: func(s *ClusterPullSecretStatus) {
			s.MarkSourceNotAllowed(source, "its namespace is not one of source-namespaces")
		},
		want: want{
			ready: no, source: no, distributed: unknown, reason: ReasonSourceNotAllowed,
			message: "Secret pullsecrets-sources/ghcr-robot is not allowed as a source: its namespace is not one of source-namespaces",
		},
	}, {
		name: "source not found",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceNotFound(source) },
		want: want{
			ready: no, source: no, distributed: unknown, reason: ReasonSourceNotFound,
			message: "Secret pullsecrets-sources/ghcr-robot does not exist",
		},
	}, {
		name: "source of the wrong type",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceWrongType(source, corev1.SecretTypeOpaque) },
		want: want{
			ready: no, source: no, distributed: unknown, reason: ReasonSourceWrongType,
			message: `Secret pullsecrets-sources/ghcr-robot has type "Opaque"; the type of a source must be "kubernetes.io/dockerconfigjson" or "kubernetes.io/dockercfg"`,
		},
	}, {
		name: "source not well formed, and a problem with a percent sign in it",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceInvalid(source, `entry "a%20b" holds no credential`) },
		want: want{
			ready: no, source: no, distributed: unknown, reason: ReasonSourceInvalid,
			message: `Secret pullsecrets-sources/ghcr-robot does not contain a valid docker config: entry "a%20b" holds no credential`,
		},
	}, {
		name: "an invalid source leaves the existing copies, and is not ready",
		mark: func(s *ClusterPullSecretStatus) {
			s.MarkSourceReady()
			s.MarkDistributed()
			s.MarkSourceNotFound(source)
		},
		want: want{
			ready: no, source: no, distributed: yes, reason: ReasonSourceNotFound,
			message: "Secret pullsecrets-sources/ghcr-robot does not exist",
		},
	}, {
		name: "a source that comes back",
		mark: func(s *ClusterPullSecretStatus) {
			s.MarkDistributed()
			s.MarkSourceNotFound(source)
			s.MarkSourceReady()
		},
		want: want{ready: yes, source: yes, distributed: yes},
	}, {
		name: "copies in progress",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceReady(); s.MarkDistributing() },
		want: want{
			ready: unknown, source: yes, distributed: unknown, reason: ReasonDistributing,
			message: "Copies are being written",
		},
	}, {
		name: "copies failed",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceReady(); s.MarkDistributionFailed(3) },
		want: want{
			ready: no, source: yes, distributed: no, reason: ReasonDistributionFailed,
			message: "Copies in 3 namespaces could not be written; see status.failures",
		},
	}, {
		name: "an older one has the name",
		mark: func(s *ClusterPullSecretStatus) { s.MarkSourceReady(); s.MarkNameConflict("registry", "first") },
		want: want{
			ready: no, source: yes, distributed: no, reason: ReasonNameConflict,
			message: "ClusterPullSecret first is older and uses secretName registry in namespaces that both select; change a namespaceSelector so that they do not overlap",
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &ClusterPullSecretStatus{}
			s.InitializeConditions()
			test.mark(s)
			got := want{
				ready:       s.GetCondition(ClusterPullSecretConditionReady).Status,
				source:      s.GetCondition(ClusterPullSecretConditionSourceReady).Status,
				distributed: s.GetCondition(ClusterPullSecretConditionDistributed).Status,
				reason:      s.GetCondition(ClusterPullSecretConditionReady).Reason,
				message:     s.GetCondition(ClusterPullSecretConditionReady).Message,
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Error("Conditions (-want, +got):", diff)
			}

			// Marking the same again must not make a status that differs, or
			// each reconciliation would write.
			before := s.DeepCopy()
			test.mark(s)
			if diff := cmp.Diff(before, s, cmp.Comparer(func(a, b apis.VolatileTime) bool { return true })); diff != "" {
				t.Error("Marking twice differs from marking once:", diff)
			}
		})
	}
}

func TestConditionsAreShown(t *testing.T) {
	s := &ClusterPullSecretStatus{}
	s.InitializeConditions()
	for _, condition := range []apis.ConditionType{
		ClusterPullSecretConditionReady, ClusterPullSecretConditionSourceReady, ClusterPullSecretConditionDistributed,
	} {
		apistest.CheckConditionOngoing(s, condition, t)
	}
}

func TestIsReady(t *testing.T) {
	ready := func() *ClusterPullSecret {
		c := valid()
		c.Generation = 2
		c.Status.ObservedGeneration = 2
		c.Status.InitializeConditions()
		c.Status.MarkSourceReady()
		c.Status.MarkDistributed()
		return c
	}
	if !ready().IsReady() {
		t.Error("IsReady = false for an object with everything in order")
	}
	stale := ready()
	stale.Generation = 3
	if stale.IsReady() {
		t.Error("IsReady = true though the latest spec has not been looked at")
	}
	if valid().IsReady() {
		t.Error("IsReady = true for an object without conditions")
	}
}

func TestSetNamespaces(t *testing.T) {
	s := &ClusterPullSecretStatus{}
	s.SetNamespaces(NamespaceCounts{Selected: 40, Wanted: 12, Synced: 11, Conflicted: 1, Summary: "what a caller put here does not count"})
	want := &NamespaceCounts{Selected: 40, Wanted: 12, Synced: 11, Conflicted: 1, Summary: "11/12"}
	if diff := cmp.Diff(want, s.Namespaces); diff != "" {
		t.Error("SetNamespaces (-want, +got):", diff)
	}
}

func TestSetFailures(t *testing.T) {
	var failures []NamespaceFailure
	for i := 14; i >= 0; i-- {
		failures = append(failures, NamespaceFailure{Namespace: fmt.Sprintf("team-%02d", i), Reason: ReasonNameConflict})
	}
	s := &ClusterPullSecretStatus{}
	s.SetFailures(failures)
	if got := len(s.Failures); got != MaxFailures {
		t.Fatalf("%d failures are listed, want %d", got, MaxFailures)
	}
	if first, last := s.Failures[0].Namespace, s.Failures[MaxFailures-1].Namespace; first != "team-00" || last != "team-09" {
		t.Errorf("Failures go from %s to %s, want from team-00 to team-09", first, last)
	}
	if failures[0].Namespace != "team-14" {
		t.Error("SetFailures sorted the caller's slice")
	}
	s.SetFailures(nil)
	if len(s.Failures) != 0 {
		t.Errorf("%d failures are left after none were reported", len(s.Failures))
	}
}
