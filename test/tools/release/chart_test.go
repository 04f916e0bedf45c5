// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// checkChart checks the Helm chart of a release, and returns its file name. What Helm renders
// from it has the images of release.yaml. That the rest of it equals config/ is tested with
// the chart's generator.
func checkChart(t *testing.T, out, host, version string, images map[string]string) string {
	t.Helper()
	number := strings.TrimPrefix(version, "v")
	file := "pullsecrets-" + number + ".tgz"
	archive := filepath.Join(out, file)
	for path := range unpack(t, archive) {
		if !strings.HasPrefix(path, "pullsecrets/") {
			t.Errorf("%s has the file %s", file, path)
		}
	}
	// The release has just built the pinned Helm.
	rendered := objects(t, run(t, os.Environ(), "./.cluster/bin/helm", "template", "pullsecrets", archive,
		"--namespace", "pullsecrets-system", "--kube-version", "1.34.0"))
	if diff := cmp.Diff(slices.Sorted(maps.Values(images)), slices.Sorted(slices.Values(imagesIn(rendered)))); diff != "" {
		t.Error("images of the chart (-release.yaml, +chart):", diff)
	}
	released, err := os.ReadFile(filepath.Join(out, "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(names(objects(t, released)), func(name string) bool { return name == "Namespace pullsecrets-system" })
	if diff := cmp.Diff(want, names(rendered)); diff != "" {
		t.Error("objects of the chart (-release.yaml, +chart):", diff)
	}
	ref := host + "/pullsecrets/charts/pullsecrets"
	checkPushed(t, archive, ref+":"+number)
	checkDigest(t, out, archive, ref)
	return file
}

// checkDigest checks that chart.txt names the chart by digest, and that Helm pulls it by that.
func checkDigest(t *testing.T, out, archive, ref string) {
	t.Helper()
	named, err := os.ReadFile(filepath.Join(out, "chart.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(named), ref+"@sha256:") {
		t.Errorf("chart.txt has %q, want %s by digest", named, ref)
	}
	folder := t.TempDir()
	run(t, os.Environ(), "./.cluster/bin/helm", "pull", "--plain-http", "--destination", folder, "oci://"+strings.TrimSpace(string(named)))
	files, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("Helm pulled the files %v (%v)", files, err)
	}
	pulled, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if file, err := os.ReadFile(archive); err != nil || !bytes.Equal(file, pulled) {
		t.Errorf("Helm pulls another chart by digest than the file (%v)", err)
	}
}

// checkPushed checks that a registry has a chart as Helm pulls it.
func checkPushed(t *testing.T, archive, ref string) {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	chart, err := remote.Image(tag, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("chart was not pushed: %v", err)
	}
	manifest, err := chart.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Config.MediaType != "application/vnd.cncf.helm.config.v1+json" || len(manifest.Layers) != 1 ||
		manifest.Layers[0].MediaType != types.MediaType("application/vnd.cncf.helm.chart.content.v1.tar+gzip") {
		t.Fatalf("%s is not a chart: %+v", ref, manifest)
	}
	layer, err := remote.Layer(tag.Context().Digest(manifest.Layers[0].Digest.String()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	content, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	pushed, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	if file, err := os.ReadFile(archive); err != nil || !bytes.Equal(file, pushed) {
		t.Errorf("%s has another chart than the file (%v)", ref, err)
	}
}

// names returns the kinds, namespaces and names of objects in order.
func names(objects []any) (names []string) {
	for _, object := range objects {
		fields, _ := object.(map[string]any)
		metadata, _ := fields["metadata"].(map[string]any)
		name := fmt.Sprint(fields["kind"], " ", metadata["name"])
		if namespace := metadata["namespace"]; namespace != nil {
			name = fmt.Sprint(name, " in ", namespace)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// imagesIn returns the images of containers.
func imagesIn(value any) (found []string) {
	switch value := value.(type) {
	case map[string]any:
		for key, child := range value {
			if image, ok := child.(string); ok && key == "image" {
				found = append(found, image)
			} else {
				found = append(found, imagesIn(child)...)
			}
		}
	case []any:
		for _, child := range value {
			found = append(found, imagesIn(child)...)
		}
	}
	return found
}
