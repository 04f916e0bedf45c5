// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	edits := []edit{{old: `Addr: ":" + port`, new: `Addr: "127.0.0.1:" + port`}}
	tests := []struct {
		name, source, want string
		wantErr            string
	}{{
		name:   "found once",
		source: `s := http.Server{Addr: ":" + port}`,
		want:   `s := http.Server{Addr: "127.0.0.1:" + port}`,
	}, {
		name:    "a changed version is not built with an open listener",
		source:  `s := http.Server{Addr: net.JoinHostPort("", port)}`,
		wantErr: "0 times",
	}, {
		name:    "a second listener is not overlooked",
		source:  `a(Addr: ":" + port); b(Addr: ":" + port)`,
		wantErr: "2 times",
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := apply(test.source, edits)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("apply() = %q, %v; want an error with %q", got, err, test.wantErr)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("apply() = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestCopyEditedRefusesAMissingFile(t *testing.T) {
	err := copyEdited(t.TempDir(), t.TempDir(), map[string][]edit{"webhook/webhook.go": nil})
	if err == nil || !strings.Contains(err.Error(), "webhook/webhook.go") {
		t.Errorf("copyEdited() = %v, want an error that names the missing file", err)
	}
}

// The edits must fit the version of knative.dev/pkg that each module pins. Better to fail
// here than in a build.
func TestLoopbackEditsFitThePinnedVersions(t *testing.T) {
	repo, err := findRepository()
	if err != nil {
		t.Fatal(err)
	}
	b := builder{repo: repo, progress: t.Logf}
	for _, module := range []string{".", knativeModule} {
		dir, err := b.knativePkgDir(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if err := copyEdited(dir, to, loopbackEdits); err != nil {
			t.Errorf("module %s: %v", module, err)
		}
		for name := range loopbackEdits {
			content, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(content), loopback) {
				t.Errorf("module %s: the copy of %s does not listen on %s", module, name, loopback)
			}
		}
	}
}
