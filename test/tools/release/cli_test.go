// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// releaseURL is where the files of the test's release would be.
const releaseURL = "https://example.com/releases/download/v9.8.7-rc.1"

// platformsOfCLI are those that the test builds: this one, and one with another name of the
// program. All of them take minutes.
var platformsOfCLI = []string{"linux/" + runtime.GOARCH, "windows/arm64"}

// krewManifest is the part of krew's manifest that is checked.
type krewManifest struct {
	APIVersion, Kind string
	Metadata         struct{ Name string }
	Spec             struct {
		Version, ShortDescription, Homepage string
		Platforms                           []krewPlatform
	}
}

type krewPlatform struct {
	Selector         struct{ MatchLabels map[string]string }
	URI, SHA256, Bin string
}

// checkCommandLine checks the archives of the command line and the manifest for krew, and returns
// the names of the archives in order.
func checkCommandLine(t *testing.T, out, version string) (archives []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(out, "kubectl-pullsecrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest krewManifest
	if err := yaml.UnmarshalStrict(text, &map[string]any{}); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Kind != "Plugin" || manifest.Metadata.Name != "pullsecrets" || manifest.Spec.Version != version ||
		manifest.Spec.Homepage != "https://example.com/releases/tag/v9.8.7-rc.1" || len(manifest.Spec.Platforms) != len(platformsOfCLI) {
		t.Errorf("manifest for krew is\n%s", text)
	}
	for i, platform := range manifest.Spec.Platforms {
		system, arch, _ := strings.Cut(platformsOfCLI[i], "/")
		archive := "kn-pullsecrets-" + system + "-" + arch + ".tar.gz"
		archives = append(archives, archive)
		program := "kn-pullsecrets"
		if system == "windows" {
			program += ".exe"
		}
		if diff := cmp.Diff(map[string]string{"os": system, "arch": arch}, platform.Selector.MatchLabels); diff != "" || platform.URI != releaseURL+"/"+archive || platform.Bin != program {
			t.Errorf("platform is %+v %s", platform, diff)
		}
		checkArchive(t, filepath.Join(out, archive), platform, version)
	}
	return archives
}

// checkArchive checks that an archive has the program and the license, and that the program of
// this platform runs.
func checkArchive(t *testing.T, archive string, platform krewPlatform, version string) {
	t.Helper()
	raw, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != platform.SHA256 {
		t.Errorf("%s has the checksum %x, and the manifest %s", archive, sum, platform.SHA256)
	}
	files := unpack(t, archive)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"LICENSE", platform.Bin}, names); diff != "" {
		t.Errorf("files in %s (-want, +got): %s", archive, diff)
	}
	if here, err := os.Getwd(); err == nil && bytes.Contains(files[platform.Bin], []byte(filepath.Clean(filepath.Join(here, root))+"/pkg")) {
		t.Errorf("%s has paths of the machine that built it", archive)
	}
	if platform.Selector.MatchLabels["os"] != runtime.GOOS || platform.Selector.MatchLabels["arch"] != runtime.GOARCH {
		return
	}
	program := filepath.Join(t.TempDir(), "kubectl-pullsecrets")
	if err := os.WriteFile(program, files[platform.Bin], 0o755); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), program, "--version").CombinedOutput()
	if want := "kubectl pullsecrets version " + version + "\n"; err != nil || string(output) != want {
		t.Errorf("--version prints %q, %v, want %q", output, err, want)
	}
}

// A release has the command line for each system.
func TestPlatformsOfTheCommandLine(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "hack/release.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}"; !bytes.Contains(script, []byte(want)) {
		t.Errorf("hack/release.sh does not build %s", want)
	}
}
