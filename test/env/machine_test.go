// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestLookForPrograms(t *testing.T) {
	dir, plugins := t.TempDir(), t.TempDir()
	put := func(files ...string) {
		for _, file := range files {
			if err := writeFile(file, nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(filepath.Join(dir, "containerd"), filepath.Join(dir, "runc"), filepath.Join(plugins, "ptp"))
	found, missing := lookForPrograms([]string{"/nowhere", dir}, []string{plugins})
	if want := []string{"containerd-shim-runc-v2", "nft", "ip", "mount", "CNI plugins"}; !slices.Equal(missing, want) {
		t.Errorf("missing are %q, want %q", missing, want)
	}
	if found.containerd != filepath.Join(dir, "containerd") {
		t.Errorf("found containerd at %q", found.containerd)
	}

	put(filepath.Join(dir, "containerd-shim-runc-v2"), filepath.Join(dir, "nft"), filepath.Join(dir, "ip"), filepath.Join(dir, "mount"),
		filepath.Join(plugins, "host-local"))
	found, missing = lookForPrograms([]string{"/nowhere", dir}, []string{"/nowhere", plugins})
	if len(missing) > 0 || found.networkPlugins != plugins {
		t.Errorf("missing are %q and plugins are at %q, want nothing missing and %q", missing, found.networkPlugins, plugins)
	}
}
