// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	// built is the time of the test's release, as the seconds and as SBOMs have it.
	built     = "1700000000"
	builtText = "2023-11-14T22:13:20Z"
)

// sources are the parts of the repository that a release is built of.
var sources = []string{".ko.yaml", "LICENSE", "charts", "cmd", "config", "docs", "go.mod", "go.sum", "hack", "pkg", "test/tools"}

// buildAgain builds the release of a test a second time and fails if any file of it differs. It
// changes what must not matter: the directory and that it is a git checkout, the times and modes
// of the files in it, the time zone, the locale and the umask.
//
// Both builds share Go's build cache, so they do not show a compiler that gives different code.
// They do show the paths and the times of a build, and the order in which it went.
func buildAgain(t *testing.T, env []string, first string) {
	t.Helper()
	tree, second := filepath.Join(t.TempDir(), "another checkout"), filepath.Join(t.TempDir(), "release")
	for _, source := range sources {
		copyAll(t, filepath.Join(root, source), filepath.Join(tree, source))
	}
	runIn(t, tree, append(env, "OUT="+second, "TZ=Asia/Kolkata", "LC_ALL=C.UTF-8"), "bash", "-c", "umask 077; exec bash hack/release.sh")

	want, got := readAll(t, first), readAll(t, second)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("files of the second build (-first, +second): %s", diff)
	}
	for file, content := range want {
		if !bytes.Equal(content, got[file]) {
			t.Errorf("%s differs in the second build of the same commit", file)
			if !strings.HasSuffix(file, ".gz") {
				t.Log(cmp.Diff(string(content), string(got[file])))
			}
		}
	}
	for file, content := range unpack(t, filepath.Join(first, "sbom.tar.gz")) {
		if !bytes.Contains(content, []byte(builtText)) {
			t.Errorf("%s does not have the time of the commit, %s", file, builtText)
		}
	}
}

// copyAll copies a file or a directory.
func copyAll(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the files of a directory by their names.
func readAll(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
