// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package release tests that the installation can be built and published: it runs "ko
// resolve -f config/" against its own registry on loopback, which also has a base image.
// It needs no network.
//
// It is in the tools module, because ko and its libraries do not belong in the main
// go.mod.
package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"
)

const (
	root       = "../../.."
	importPath = "ko://pullsecrets.dev/"
	// nonRoot is the user of the base image, as a number because the kubelet cannot tell
	// from a name whether it is root.
	nonRoot = "65532:65532"
)

func TestKoResolve(t *testing.T) {
	host := serveRegistry(t)
	base := pushBase(t, host)
	repo := host + "/pullsecrets"

	resolved := run(t, append(os.Environ(),
		"KO_DOCKER_REPO="+repo,
		"KO_DEFAULTBASEIMAGE="+base,
	), buildKo(t), "resolve", "--base-import-paths", "--platform", "linux/"+runtime.GOARCH, "-f", "config/")

	// ko replaces each import path by an image digest and changes nothing else.
	want := objects(t, readConfig(t))
	got := objects(t, resolved)
	if len(got) != len(want) {
		t.Fatalf("ko resolved %d objects of %d", len(got), len(want))
	}
	images := map[string]string{}
	for i := range want {
		want[i] = putImages(want[i], got[i], images)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("ko changed more than the images (-config, +resolved):", diff)
	}
	if len(images) == 0 {
		t.Fatal("config/ has no image")
	}
	for program, image := range images {
		t.Run(program, func(t *testing.T) {
			if !strings.HasPrefix(image, repo+"/") || !strings.Contains(image, "@sha256:") {
				t.Fatalf("image %q is not in %s by digest", image, repo)
			}
			checkImage(t, program, image)
		})
	}
}

// TestRelease creates a release as "make release" does and checks the files that users
// get.
func TestRelease(t *testing.T) {
	host := serveRegistry(t)
	out := filepath.Join(t.TempDir(), "release")
	const version = "v9.8.7-rc.1"
	env := append(os.Environ(), "VERSION="+version, "KO_DOCKER_REPO="+host+"/pullsecrets", "KO_DEFAULTBASEIMAGE="+pushBase(t, host),
		"RELEASE_URL="+releaseURL, "CLI_PLATFORMS="+strings.Join(platformsOfCLI, " "), "SOURCE_DATE_EPOCH="+built)
	run(t, append(env, "OUT="+out, "TZ=UTC", "LC_ALL=C"), "bash", "hack/release.sh")
	manifest, err := os.ReadFile(filepath.Join(out, "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]string{}
	want, got := objects(t, readConfig(t)), objects(t, manifest)
	if len(got) != len(want) {
		t.Fatalf("release.yaml has %d objects, config/ has %d", len(got), len(want))
	}
	for i := range want {
		want[i] = putVersion(putImages(want[i], got[i], images), version)
	}
	// It equals config/ except for images and version.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("release differs from config/ (-config, +release):", diff)
	}
	if len(images) != 2 {
		t.Fatalf("release has the images %v, want those of controller and webhook", images)
	}
	for program, image := range images {
		checkPlatforms(t, image)
		tag, err := name.NewTag(host + "/pullsecrets/" + filepath.Base(program) + ":" + version)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := remote.Get(tag, remote.WithContext(t.Context())); err != nil || !strings.HasSuffix(image, found.Digest.String()) {
			t.Errorf("%s is not the image %s of the release: %v", tag, image, err)
		}
	}
	checkPart(t, out, "monitoring", version)
	checkPart(t, out, "outage", version)
	boms := unpack(t, filepath.Join(out, "sbom.tar.gz"))
	if len(boms) < len(images) {
		t.Errorf("found %d SBOMs, want at least one for each image", len(boms))
	}
	for file, content := range boms {
		if !bytes.Contains(content, []byte(`"spdxVersion"`)) {
			t.Errorf("%s is not an SPDX document", file)
		}
	}
	chart := checkChart(t, out, host, version, images)
	archives := checkCommandLine(t, out, version)
	files := append(append([]string{"base-image.txt", "chart.txt", "images.txt"}, archives...), "kubectl-pullsecrets.yaml", "monitoring.yaml", "outage.yaml", chart, "release.yaml", "sbom.tar.gz")
	checkSums(t, out, files...)
	checkSumsAsDocumented(t, out)
	checkImageList(t, out, images)
	published(t, "base-image.txt", "chart.txt", "images.txt", "kn-pullsecrets-*.tar.gz", "kubectl-pullsecrets.yaml", "monitoring.yaml", "outage.yaml",
		"provenance.intoto.jsonl", "pullsecrets-*.tgz", "release.yaml", "sbom.tar.gz", "sha256sums.txt", "sha256sums.txt.sigstore.json")
	buildAgain(t, env, out)
}

// unpack returns the files of a compressed archive by their names.
func unpack(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	uncompressed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	for files := tar.NewReader(uncompressed); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if contents[header.Name], err = io.ReadAll(files); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A release without a valid version is rejected before anything is built.
func TestReleaseRequiresAVersion(t *testing.T) {
	for _, env := range []string{"VERSION=", "VERSION=1.2.3", "VERSION=latest", "VERSION=v1.2.3;x", "KO_DOCKER_REPO=", "RELEASE_URL=ftp://x"} {
		cmd := exec.CommandContext(t.Context(), "bash", "hack/release.sh")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "VERSION=v1.2.3", "KO_DOCKER_REPO=registry.example.com/x", "RELEASE_URL="+releaseURL, "OUT="+t.TempDir(), env)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("make release")) {
			t.Errorf("with %s: %v, want exit status 2 and the usage:\n%s", env, err, out)
		}
	}
}

// putVersion replaces the version in the labels of manifests, which every object and Pod
// template must have.
func putVersion(manifest any, version string) any {
	switch manifest := manifest.(type) {
	case map[string]any:
		for key, value := range manifest {
			if key == "app.kubernetes.io/version" {
				manifest[key] = version
			} else {
				manifest[key] = putVersion(value, version)
			}
		}
	case []any:
		for i := range manifest {
			manifest[i] = putVersion(manifest[i], version)
		}
	}
	return manifest
}

// checkPlatforms checks that an image supports both platforms.
func checkPlatforms(t *testing.T, image string) {
	t.Helper()
	ref, err := name.NewDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("%s is not a multi-platform image: %v", image, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	slices.Sort(platforms)
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms of %s (-want, +got): %s", image, diff)
	}
}

// checkImage pulls an image as a node would and checks its content.
func checkImage(t *testing.T, program, image string) {
	t.Helper()
	ref, err := name.NewDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("pull the image of the manifests: %v", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.User != nonRoot {
		t.Errorf("image runs as user %q, want %q: the Deployment requires a non-root user", cfg.Config.User, nonRoot)
	}
	entrypoint := strings.Join(cfg.Config.Entrypoint, " ")
	if want := "/ko-app/" + filepath.Base(program); entrypoint != want {
		t.Fatalf("image has entrypoint %q, want %q", entrypoint, want)
	}
	if !holds(t, img, entrypoint) {
		t.Errorf("image lacks its entrypoint %s", entrypoint)
	}
}

// holds reports whether the layers of an image contain an executable file.
func holds(t *testing.T, img v1.Image, file string) bool {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	files := tar.NewReader(content)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		if "/"+strings.TrimPrefix(header.Name, "/") == file {
			return header.Size > 0 && header.Mode&0o111 != 0
		}
	}
}

// putImages replaces each import path in the manifests by the resolved image, so that
// both can be compared, and records it.
func putImages(manifest, resolved any, images map[string]string) any {
	switch manifest := manifest.(type) {
	case map[string]any:
		resolved, _ := resolved.(map[string]any)
		for key := range manifest {
			manifest[key] = putImages(manifest[key], resolved[key], images)
		}
	case []any:
		resolved, _ := resolved.([]any)
		for i := range min(len(manifest), len(resolved)) {
			manifest[i] = putImages(manifest[i], resolved[i], images)
		}
	case string:
		if program, ok := strings.CutPrefix(manifest, importPath); ok {
			images[program], _ = resolved.(string)
			return resolved
		}
	}
	return manifest
}

// serveRegistry starts an empty registry until the test ends and returns its address.
func serveRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// pushBase pushes a base image for both platforms, without files and with a non-root
// user.
func pushBase(t *testing.T, host string) string {
	t.Helper()
	var base v1.ImageIndex = empty.Index
	for _, architecture := range []string{"amd64", "arm64"} {
		cfg, err := empty.Image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture, cfg.Config.User = "linux", architecture, nonRoot
		image, err := mutate.ConfigFile(empty.Image, cfg)
		if err != nil {
			t.Fatal(err)
		}
		base = mutate.AppendManifests(base, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	tag, err := name.NewTag(host + "/base/static:nonroot")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, base, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return tag.String()
}

// buildKo builds the ko that test/tools/go.mod pins.
func buildKo(t *testing.T) string {
	t.Helper()
	ko := filepath.Join(t.TempDir(), "ko")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", ko, "github.com/google/ko")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build ko: %v\n%s", err, out)
	}
	return ko
}

// run runs a program at the root of the repository and returns its output.
func run(t *testing.T, env []string, program string, args ...string) []byte {
	t.Helper()
	return runIn(t, root, env, program, args...)
}

// runIn is run in another directory.
func runIn(t *testing.T, dir string, env []string, program string, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// readConfig reads the manifests in config/.
func readConfig(t *testing.T) []byte {
	t.Helper()
	return readManifests(t, "config")
}

// readManifests concatenates the manifests of a directory in the order of their names, as
// ko does.
func readManifests(t *testing.T, dir string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("Found no manifests: %v", err)
	}
	var all bytes.Buffer
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n---\n")
		all.Write(content)
	}
	return all.Bytes()
}

// objects parses a stream of manifests.
func objects(t *testing.T, stream []byte) (objects []any) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+string(stream), "\n---\n") {
		var object any
		// The end of a text in a document is the end of its last line.
		if err := yaml.Unmarshal([]byte(document+"\n"), &object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}
