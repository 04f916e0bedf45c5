// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// koScheme marks an image that ko builds from a Go package. The Deployments in config/
// name their packages with it, so no second list is needed.
const koScheme = "ko://"

// projectPrefix turns names of Deployments into names of binaries.
const projectPrefix = "pullsecrets-"

// newProject reads the installation in config/.
func newProject(repo string, ports portBook) (*installation, error) {
	manifests, err := readManifests(filepath.Join(repo, "config"))
	if err != nil {
		return nil, err
	}
	if err := setConfigMapData(manifests, "config-leader-election", quickLeases); err != nil {
		return nil, err
	}
	in := &installation{programPrefix: projectPrefix}
	return in, in.divide(manifests, ports)
}

// projectPrograms lists the programs that the Deployments of config/ run.
func projectPrograms(repo string) ([]program, error) {
	manifests, err := readManifests(filepath.Join(repo, "config"))
	if err != nil {
		return nil, err
	}
	var programs []program
	for _, object := range manifests {
		if object.GetKind() != "Deployment" {
			continue
		}
		containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		if err != nil {
			return nil, err
		}
		for _, c := range containers {
			image, _, _ := unstructured.NestedString(c.(map[string]any), "image")
			pkg, found := strings.CutPrefix(image, koScheme)
			if !found {
				return nil, fmt.Errorf("Deployment %s: image %q is not a Go package for ko", object.GetName(), image)
			}
			programs = append(programs, program{
				name: projectPrefix + object.GetName(), module: ".", pkg: pkg, title: "the project's " + object.GetName(), loopback: true,
			})
		}
	}
	return programs, nil
}
