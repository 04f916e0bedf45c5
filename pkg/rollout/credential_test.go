// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/rollout"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestChangedAfter(t *testing.T) {
	r := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created)}}
	for after, want := range map[time.Duration]bool{-time.Hour: false, 0: false, 900 * time.Millisecond: false, time.Second: true} {
		if got := rollout.ChangedAfter(r, metav1.NewTime(created.Add(after))); got != want {
			t.Errorf("%s after it was created: ChangedAfter() = %t", after, got)
		}
	}
}

func TestChanged(t *testing.T) {
	entry := func(after time.Duration, subresource, fields string) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(created.Add(after))
		return metav1.ManagedFieldsEntry{Time: &at, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	const data, labels = `{"f:data":{".":{},"f:.dockerconfigjson":{}},"f:type":{}}`, `{"f:metadata":{"f:labels":{"f:data":{}}}}`
	for _, test := range []struct {
		reason  string
		entries []metav1.ManagedFieldsEntry
		want    time.Duration
		known   bool
	}{
		{"nobody owns the data", nil, 0, false},
		{"created only", []metav1.ManagedFieldsEntry{entry(0, "", data)}, 0, true},
		{"written later", []metav1.ManagedFieldsEntry{entry(0, "", data), entry(time.Minute, "", data)}, time.Minute, true},
		{"labelled later", []metav1.ManagedFieldsEntry{entry(time.Second, "", data), entry(time.Minute, "", labels)}, time.Second, true},
		{"a subresource", []metav1.ManagedFieldsEntry{entry(time.Minute, "status", data)}, 0, false},
		{"malformed", []metav1.ManagedFieldsEntry{entry(time.Minute, "", `[]`), {}, {Time: &metav1.Time{Time: created.Add(time.Hour)}}}, 0, false},
	} {
		meta := &metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created), ManagedFields: test.entries}
		if got := rollout.Changed(meta); !got.Time.Equal(created.Add(test.want)) {
			t.Errorf("%s: Changed() = %v, want %v", test.reason, got, created.Add(test.want))
		}
		if got := rollout.ChangeKnown(meta); got != test.known {
			t.Errorf("%s: ChangeKnown() = %t", test.reason, got)
		}
	}
}

func TestListChanged(t *testing.T) {
	at := metav1.NewTime(created.Add(time.Minute))
	account := &metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created), ManagedFields: []metav1.ManagedFieldsEntry{
		{Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:imagePullSecrets":{}}`)}},
	}}
	if got := rollout.ListChanged(account); !got.Equal(&at) {
		t.Errorf("ListChanged() = %v, want %v", got, at)
	}
}

func TestChangedCopy(t *testing.T) {
	at := func(after time.Duration) *metav1.Time { return new(metav1.NewTime(created.Add(after))) }
	for _, test := range []struct {
		reason  string
		written time.Duration
		source  *v1alpha1.SourceStatus
		want    time.Duration
	}{
		{"the source is not known", time.Hour, nil, time.Hour},
		{"when it changed is not known", time.Hour, &v1alpha1.SourceStatus{ResourceVersion: "2"}, time.Hour},
		{"of another version of the source", time.Hour, &v1alpha1.SourceStatus{ResourceVersion: "3", LastChanged: at(time.Minute)}, time.Hour},
		{"written after the source changed", time.Hour, &v1alpha1.SourceStatus{ResourceVersion: "2", LastChanged: at(time.Minute)}, time.Minute},
		{"created after the source changed", time.Hour, &v1alpha1.SourceStatus{ResourceVersion: "2", LastChanged: at(-time.Minute)}, 0},
		{"written before the source changed", time.Minute, &v1alpha1.SourceStatus{ResourceVersion: "2", LastChanged: at(time.Hour)}, time.Minute},
	} {
		copied := &metav1.ObjectMeta{
			CreationTimestamp: *at(0), Annotations: map[string]string{pullsecrets.SourceResourceVersionAnnotation: "2"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Time: at(test.written), FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}},
		}
		if got := rollout.ChangedCopy(copied, test.source); !got.Time.Equal(created.Add(test.want)) {
			t.Errorf("%s: ChangedCopy() = %v, want %v", test.reason, got, created.Add(test.want))
		}
	}
}
