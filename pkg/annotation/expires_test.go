// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"strings"
	"testing"
	"time"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

func TestExpires(t *testing.T) {
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value   string
		want    time.Time
		problem string
	}{
		{value: "2026-01-31T12:00:00Z", want: noon},
		{value: " 2026-01-31T13:00:00+01:00\n", want: noon},
		{value: "2026-01-31T12:00:00.9Z", want: noon},
		{value: "", problem: `annotation pullsecrets.dev/expires: "" is not a time as in RFC 3339, such as 2026-01-31T12:00:00Z; it is ignored`},
		{value: "2026-01-31", problem: `"2026-01-31" is not a time`},
		{value: "1769860800", problem: `"1769860800" is not a time`},
		{value: "0001-01-01T00:00:00Z", problem: `"0001-01-01T00:00:00Z" is not a time`},
		{value: "tomorrow\x00", problem: `"tomorrow\x00" is not a time`},
		{value: strings.Repeat("2", MaxBytes+1), problem: "the value is longer than 4096 bytes; it is ignored"},
	} {
		got, problem := Expires(map[string]string{pullsecrets.ExpiresAnnotation: tt.value})
		if !got.Time.Equal(tt.want) {
			t.Errorf("Expires(%q) = %v, want %v", tt.value, got, tt.want)
		}
		if (problem == nil) != (tt.problem == "") || problem != nil && !strings.Contains(problem.Error(), tt.problem) {
			t.Errorf("Expires(%q): problem %v, want %q", tt.value, problem, tt.problem)
		}
	}
	if got, problem := Expires(nil); !got.IsZero() || problem != nil {
		t.Errorf("without an annotation: %v, %v", got, problem)
	}
}
