// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"fmt"
	"strings"
	"testing"
)

// The longest ledger of the webhook fits. A longer one is read as empty, in caches and in
// admission requests.
func TestLedgerIsBounded(t *testing.T) {
	ours := Ledger{}
	for i := range 96 {
		name := fmt.Sprintf("%s-%02d", strings.Repeat("a", 250), i)
		ours[name] = FromClusterPullSecret(name)
	}
	text := ours.String()
	if read, err := ParseLedger(CutLedger(text)); err != nil || len(read) != len(ours) {
		t.Errorf("of a ledger of %d entries and %d bytes, %d are read: %v", len(ours), len(text), len(read), err)
	}
	long := `{"a":"service"` + strings.Repeat(" ", MaxLedger) + "}"
	for _, text := range []string{long, CutLedger(long)} {
		if read, err := ParseLedger(text); err == nil || len(read) != 0 {
			t.Errorf("a ledger of %d bytes is read as %v, %v", len(text), read, err)
		}
	}
}
