// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// koScheme marks an image that ko builds from a Go package. The product's
// Deployments name their packages so, and need no second list here.
const koScheme = "ko://"

// productPrefix makes names of program files from names of Deployments.
const productPrefix = "pullsecrets-"

// newProduct reads the product's installation from config/.
func newProduct(repo string, ports portBook) (*installation, error) {
	manifests, err := readManifests(filepath.Join(repo, "config"))
	if err != nil {
		return nil, err
	}
	if err := setConfigMapData(manifests, "config-leader-election", quickLeases); err != nil {
		return nil, err
	}
	in := &installation{programPrefix: productPrefix}
	return in, in.divide(manifests, ports)
}

// productPrograms lists the programs that the Deployments of config/ run.
func productPrograms(repo string) ([]program, error) {
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
				return nil, fmt.Errorf("Deployment %s: image %q is no Go package for ko", object.GetName(), image)
			}
			programs = append(programs, program{
				name: productPrefix + object.GetName(), module: ".", pkg: pkg, title: "the product's " + object.GetName(), loopback: true,
			})
		}
	}
	return programs, nil
}
