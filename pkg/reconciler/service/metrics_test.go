// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"testing"
	"time"

	. "pullsecrets.dev/pkg/reconciler/testing"
)

// A write counts as missed by admission where the Service's owner wrote after
// the Namespace's did: then there was a request that admission should have
// answered.
func TestMissed(t *testing.T) {
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	for _, test := range []struct {
		reason    string
		service   []ServiceOption
		namespace []NamespaceOption
		want      bool
	}{
		{"declared for an existing Service", []ServiceOption{WithOwnersWrite(early)}, []NamespaceOption{WithNamespaceWrite(late)}, false},
		{"within the same second", []ServiceOption{WithOwnersWrite(early)}, []NamespaceOption{WithNamespaceWrite(early)}, false},
		{"the Service came later", []ServiceOption{WithOwnersWrite(late)}, []NamespaceOption{WithNamespaceWrite(early)}, true},
		{"only the controller wrote later", []ServiceOption{WithOwnersWrite(early), WithWrite(late)}, []NamespaceOption{WithNamespaceWrite(early)}, false},
		{"the Namespace was never written to", []ServiceOption{WithOwnersWrite(early)}, nil, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s := &subject{Service: Service("ns", "app", test.service...), namespace: Namespace("ns", test.namespace...)}
			if got := missed(s); got != test.want {
				t.Errorf("missed = %t, want %t", got, test.want)
			}
		})
	}
}
