// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// upstream is a project that local clusters run in the version that a module here pins, or
// in the release of an environment variable.
type upstream struct {
	name     string
	variable string
	module   string // the module here
	source   string // the project's Go module
	// version is the format of the source's version, for minor and patch of a release.
	version string
	// offset is the difference between the two minors.
	offset int
}

// upstreams are the projects whose release can be selected. Knative's release 1.n has the
// module version v0.(27+n).
var upstreams = []upstream{
	{name: "Kubernetes", variable: "KUBERNETES", module: controlPlaneModule, source: "k8s.io/kubernetes", version: "v1.%d.%d"},
	{name: "Knative Serving", variable: "KNATIVE", module: knativeModule, source: "knative.dev/serving", version: "v0.%d.%d", offset: 27},
}

// substituted are modules that a version of Knative pins and that are built in the version
// of test/knative: those that proxy.golang.org does not serve, and OpenTelemetry's SDK,
// because a program whose knative.dev/pkg has another schema version panics.
var substituted = map[string][]string{
	"v0.51.0": {
		"knative.dev/caching", "knative.dev/networking", knativePkg,
		"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/sdk/metric",
	},
}

// release is the version of an upstream. Without a modfile it is the one that the module
// pins.
type release struct{ version, modfile string }

// suffix is added to the names of programs, so that those of other versions have their own
// files.
func (r release) suffix() string {
	if r.modfile == "" {
		return ""
	}
	return "-" + r.version
}

// versions returns the selected versions by their variable.
func (b builder) versions() map[string]string {
	all := map[string]string{}
	for _, u := range upstreams {
		all[u.variable] = b.releases[u.module].version
	}
	return all
}

// selectReleases prepares builds of the releases in the environment.
func (b *builder) selectReleases(ctx context.Context) error {
	selected := map[string]release{}
	for _, u := range upstreams {
		pinned, err := b.goCommand(ctx, u.module, "list", "-m", "-f", "{{.Version}}", u.source)
		if err != nil {
			return err
		}
		r := release{version: pinned}
		if wanted := os.Getenv(u.variable); wanted != "" {
			if r.version, err = u.versionOf(wanted); err != nil {
				return err
			}
		}
		if r.version != pinned {
			if r.modfile, err = b.writeModfile(ctx, u, r.version); err != nil {
				return fmt.Errorf("prepare a build of %s %s: %w", u.name, r.version, err)
			}
		}
		selected[u.module] = r
	}
	b.releases = selected
	return nil
}

// versionOf returns the module version of a release like 1.22.0.
func (u upstream) versionOf(release string) (string, error) {
	var minor, patch int
	_, err := fmt.Sscanf(release, "1.%d.%d", &minor, &patch)
	if err != nil || release != fmt.Sprintf("1.%d.%d", minor, patch) {
		return "", fmt.Errorf("%s=%s is no release: write it like 1.22.0", u.variable, release)
	}
	return fmt.Sprintf(u.version, minor+u.offset, patch), nil
}

// writeModfile writes the go.mod and go.sum for a build of another version, and returns the
// path of the former.
func (b builder) writeModfile(ctx context.Context, u upstream, version string) (string, error) {
	content, dir, err := b.modfile(ctx, u, version)
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.repo, ".cluster", "releases", path.Base(u.source)+"-"+version+".mod")
	// What the go command has added to both files stays.
	if old, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(old), content) {
		return file, nil
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return "", err
	}
	if err := writeIfChanged(sumfile(file), sums); err != nil {
		return "", err
	}
	return file, writeIfChanged(file, []byte(content))
}

// modfile returns the go.mod for a build of another version, and the directory of its
// source. It has only what the go command cannot find out: the version, and the replace
// directives, which that command ignores in the go.mod of a dependency.
func (b builder) modfile(ctx context.Context, u upstream, version string) (content, dir string, err error) {
	dir, source, err := b.downloadSource(ctx, u, version)
	if err != nil {
		return "", "", err
	}
	content = fmt.Sprintf("module pullsecrets.dev/%s\n\ngo %s\n\n", u.module, source.Go)
	for _, r := range source.Replace {
		// Kubernetes releases these directories also as modules, v0.36.3 with its v1.36.3.
		if strings.HasPrefix(r.New.Path, "./staging/") {
			content += fmt.Sprintf("replace %s => %s v0%s\n", r.Old.Path, r.Old.Path, strings.TrimPrefix(version, "v1"))
		}
	}
	for _, name := range substituted[version] {
		pinned, err := b.goCommand(ctx, u.module, "list", "-m", "-f", "{{.Version}}", name)
		if err != nil {
			return "", "", err
		}
		content += fmt.Sprintf("replace %s => %s %s\n", name, name, pinned)
	}
	return content + fmt.Sprintf("\nrequire %s %s\n", u.source, version), dir, nil
}

// sumfile returns the path of the go.sum that belongs to the argument of -modfile.
func sumfile(modfile string) string { return strings.TrimSuffix(modfile, ".mod") + ".sum" }

// sourceModule is the go.mod of an upstream.
type sourceModule struct {
	Go      string
	Replace []struct{ Old, New struct{ Path string } }
}

// downloadSource returns the directory of an upstream's version in the module cache, and
// its go.mod.
func (b builder) downloadSource(ctx context.Context, u upstream, version string) (dir string, mod sourceModule, err error) {
	out, err := b.goCommand(ctx, u.module, "mod", "download", "-json", u.source+"@"+version)
	if err != nil {
		return "", mod, err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &downloaded); err != nil {
		return "", mod, err
	}
	out, err = b.goCommand(ctx, u.module, "mod", "edit", "-json", filepath.Join(downloaded.Dir, "go.mod"))
	if err != nil {
		return "", mod, err
	}
	return downloaded.Dir, mod, json.Unmarshal([]byte(out), &mod)
}
