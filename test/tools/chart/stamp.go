// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// An image is a reference by digest, in the parts that values.yaml has.
type image struct {
	registry, repository, tag, digest string
}

// parseImage splits REGISTRY/REPOSITORY[:TAG]@DIGEST.
func parseImage(ref string) (image, error) {
	name, digest, byDigest := strings.Cut(ref, "@")
	registry, repository, hasRegistry := strings.Cut(name, "/")
	if !byDigest || !hasRegistry {
		return image{}, fmt.Errorf("image %q is not REGISTRY/REPOSITORY@DIGEST", ref)
	}
	repository, tag, _ := strings.Cut(repository, ":")
	return image{registry, repository, tag, digest}, nil
}

// stampFiles puts the version and the images of a release into the files of a chart.
func stampFiles(chart, version string, refs []string) error {
	for name, stamp := range map[string]func(string) (string, error){
		"Chart.yaml":  func(text string) (string, error) { return stampVersion(text, version) },
		"values.yaml": func(text string) (string, error) { return stampImages(text, refs) },
	} {
		file := filepath.Join(chart, name)
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text, err := stamp(string(content))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := write(file, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// stampVersion puts the version into Chart.yaml. Versions of charts have no "v".
func stampVersion(text, version string) (string, error) {
	number, found := strings.CutPrefix(version, "v")
	if !found {
		return "", fmt.Errorf("version %q does not begin with v", version)
	}
	return replaceOnce(text, "\nversion: 0.0.0-devel\n", "\nversion: "+number+"\n", "\nappVersion: devel\n", "\nappVersion: "+version+"\n")
}

// stampImages makes the images of a release the default values.
func stampImages(text string, refs []string) (string, error) {
	registry := ""
	for _, program := range []string{"controller", "webhook"} {
		found := 0
		for _, ref := range refs {
			image, err := parseImage(ref)
			if err != nil {
				return "", err
			}
			if path.Base(image.repository) != program {
				continue
			}
			found++
			if registry != "" && image.registry != registry {
				return "", fmt.Errorf("images are in the registries %s and %s, and values.yaml has one", registry, image.registry)
			}
			registry = image.registry
			text, err = replaceOnce(text,
				"\n    repository: ko://pullsecrets.dev/cmd/"+program+"\n    tag: \"\"\n    digest: \"\"\n",
				fmt.Sprintf("\n    repository: %s\n    tag: %q\n    digest: %q\n", image.repository, image.tag, image.digest))
			if err != nil {
				return "", err
			}
		}
		if found != 1 {
			return "", fmt.Errorf("found %d images of the %s, want 1", found, program)
		}
	}
	return replaceOnce(text, "\n  registry: \"\"\n", fmt.Sprintf("\n  registry: %q\n", registry))
}

// replaceOnce replaces texts that must occur once, given as pairs of old and new.
func replaceOnce(text string, pairs ...string) (string, error) {
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			return "", fmt.Errorf("found %d times, want once:\n%s", n, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text, nil
}
