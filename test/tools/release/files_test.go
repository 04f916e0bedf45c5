// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// checkPart checks that a file equals a folder of config except for the version.
func checkPart(t *testing.T, out, part, version string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(out, part+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, got := objects(t, readManifests(t, "config/"+part)), objects(t, content)
	for i := range want {
		want[i] = putVersion(want[i], version)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s.yaml differs from config/%[1]s (-config, +release): %s", part, diff)
	}
}

// checkSums verifies the files of a release as users do after a download.
func checkSums(t *testing.T, folder string, files ...string) {
	t.Helper()
	const sums = "sha256sums.txt"
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", sums)
	check.Dir = folder
	out, err := check.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	var want strings.Builder
	for _, file := range files {
		want.WriteString(file + ": OK\n")
	}
	if diff := cmp.Diff(want.String(), string(out)); diff != "" {
		t.Errorf("checksummed files (-want, +got): %s", diff)
	}
}

// checkSumsAsDocumented runs the commands of docs/verify.md that need no network.
func checkSumsAsDocumented(t *testing.T, folder string) {
	t.Helper()
	page, err := os.ReadFile(root + "/docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^sha256sum .*$`).FindString(string(page))
	check := exec.CommandContext(t.Context(), "bash", "-c", command)
	check.Dir = folder
	if out, err := check.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("release.yaml: OK\n")) {
		t.Errorf("%q of docs/verify.md: %v\n%s", command, err, out)
	}
}

// published checks that the workflow publishes exactly these files.
func published(t *testing.T, files ...string) {
	t.Helper()
	workflow, err := os.ReadFile(root + "/.github/workflows/release.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if line := " " + strings.Join(files, " ") + "\n"; !bytes.Contains(workflow, []byte(line)) {
		t.Errorf("release workflow has no line that publishes%s", line)
	}
}

// checkImageList checks that the list of images, by which the workflow signs, has the images of
// the manifests and those of each platform, once each, and that the images name the base image
// of the release by digest.
func checkImageList(t *testing.T, folder string, images map[string]string) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(folder, "images.txt"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(filepath.Join(folder, "base-image.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(base), "@sha256:") {
		t.Errorf("the base image is %q, want a digest", base)
	}
	var want []string
	for _, image := range images {
		ref, err := name.NewDigest(image)
		if err != nil {
			t.Fatal(err)
		}
		found, err := remote.Get(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		var index struct {
			Annotations map[string]string
			Manifests   []struct{ Digest string }
		}
		if err := json.Unmarshal(found.Manifest, &index); err != nil {
			t.Fatal(err)
		}
		if got := index.Annotations["org.opencontainers.image.base.name"]; got != strings.TrimSpace(string(base)) {
			t.Errorf("%s has the base image %q, and base-image.txt %q", image, got, base)
		}
		want = append(want, ref.Context().Digest(ref.DigestStr()).String()) // Without the tag.
		for _, platform := range index.Manifests {
			want = append(want, ref.Context().Digest(platform.Digest).String())
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", string(list)); diff != "" {
		t.Errorf("images.txt (-want, +got): %s", diff)
	}
}
