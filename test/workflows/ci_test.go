// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// CI in one script runs each part of "make check", one by one.
func TestCIRunsAllChecks(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	check := regexp.MustCompile(`(?m)^check: ([a-z -]+[a-z])`).FindSubmatch(makefile)
	if check == nil {
		t.Fatal("the Makefile has no target check")
	}
	for part := range strings.FieldsSeq(string(check[1])) {
		if !regexp.MustCompile(`(?m)^(timed|within [0-9]+) make ` + part + `$`).Match(script) {
			t.Errorf(".ci/run does not run make %s", part)
		}
	}
}
