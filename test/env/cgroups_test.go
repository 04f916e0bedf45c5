// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestControllersThatAreNotDelegated(t *testing.T) {
	for _, test := range []struct {
		reason   string
		has, got string
		want     []string
	}{
		{"all are", "cpuset cpu io memory hugetlb pids", "cpuset cpu memory hugetlb pids", nil},
		{"an unneeded one is not", "cpu io", "cpu", nil},
		{"some are not", "cpuset cpu memory pids", "cpu pids", []string{"cpuset", "memory"}},
	} {
		mount := t.TempDir()
		group := filepath.Join(mount, "group")
		for dir, controllers := range map[string]string{mount: test.has, group: test.got} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte(controllers+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := notDelegated(mount, group); !slices.Equal(got, test.want) {
			t.Errorf("%s: missing are %q, want %q", test.reason, got, test.want)
		}
	}
	if got := notDelegated(t.TempDir(), t.TempDir()); got != nil {
		t.Errorf("with cgroup v1 %q are missing, want none", got)
	}
}
