// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command chart generates the templates of the Helm chart in charts/pullsecrets from the
// manifests in config/. Each template is a manifest with some texts replaced by
// placeholders (edits.go), so no manifest exists twice. An edit whose text is no longer in
// the manifest is an error, not a template without the value.
//
// What else a chart has is written by hand in charts/pullsecrets: Chart.yaml, values.yaml
// and its schema, the notes, and the named templates in _helpers.tpl. The test renders the
// chart with Helm and holds the result equal to config/.
//
// For a release, -out, -version and -images write a copy of the chart elsewhere, with the
// version, and with the images by digest as its default values.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// chartFolder is where the chart is in the repository.
const chartFolder = "charts/pullsecrets"

func main() {
	root := flag.String("root", "../../..", "`directory` of the repository")
	out := flag.String("out", "", "`directory` to write a copy of the chart to; by default, the templates in "+chartFolder)
	version := flag.String("version", "", "`version` of a release, such as v1.2.3")
	images := flag.String("images", "", "`file` with the images of a release by digest, one on each line")
	flag.Parse()
	if err := run(*root, *out, *version, *images); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(root, out, version, images string) error {
	source := filepath.Join(root, filepath.FromSlash(chartFolder))
	if out == "" {
		if version != "" || images != "" {
			return errors.New("-version and -images require -out")
		}
		return writeTemplates(root, source)
	}
	if err := copyHandWritten(source, out); err != nil {
		return err
	}
	if version != "" || images != "" {
		refs, err := os.ReadFile(images)
		if err != nil {
			return fmt.Errorf("read images: %w", err)
		}
		if err := stampFiles(out, version, strings.Fields(string(refs))); err != nil {
			return err
		}
	}
	return writeTemplates(root, out)
}

// handWritten are the files of the chart that are not generated.
var handWritten = []string{"Chart.yaml", "values.yaml", "values.schema.json", "templates/_helpers.tpl", "templates/checks.tpl", "templates/NOTES.txt"}

func copyHandWritten(from, to string) error {
	for _, name := range handWritten {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(to, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeTemplates writes the template of each manifest, and removes those whose manifest is
// gone.
func writeTemplates(root, chart string) error {
	stale, err := filepath.Glob(filepath.Join(chart, "templates", "*.yaml"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		stale = append(stale, filepath.Join(chart, "templates", folder.templates))
	}
	for _, file := range stale {
		if filepath.Clean(file) == filepath.Join(chart, "templates") {
			continue
		}
		if err := os.RemoveAll(file); err != nil {
			return err
		}
	}
	used := make([]int, len(edits))
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(root, folder.manifests, "*.yaml"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("found no manifests in %s (%w)", folder.manifests, err)
		}
		for _, file := range files {
			manifest, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			name := folder.manifests + "/" + filepath.Base(file)
			text, err := template(name, string(manifest), used)
			if err != nil {
				return err
			}
			if err := write(filepath.Join(chart, "templates", folder.templates, filepath.Base(file)), []byte(text)); err != nil {
				return err
			}
		}
	}
	for i, n := range used {
		if n == 0 {
			return fmt.Errorf("no manifest is named like %s, which edits.go changes", edits[i].file)
		}
	}
	return nil
}

func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
