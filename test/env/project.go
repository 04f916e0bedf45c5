// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
)

// koScheme marks an image that ko builds from a Go package. The Deployments in config/
// name their packages with it, so no second list is needed.
const koScheme = "ko://"

// projectPrefix turns names of Deployments into names of binaries.
const projectPrefix = "pullsecrets-"

// newProject reads the installation in config/, with the policies of config/outage if the
// API server serves their kind.
func newProject(repo string, ports portBook, server discovery.DiscoveryInterface) (*installation, error) {
	paths := []string{filepath.Join(repo, "config")}
	served, err := ServesMutatingPolicies(server)
	if err != nil {
		return nil, err
	}
	if served {
		paths = append(paths, filepath.Join(repo, "config", "outage"))
	}
	manifests, err := readManifests(paths...)
	if err != nil {
		return nil, err
	}
	if err := setConfigMapData(manifests, "config-leader-election", quickLeases); err != nil {
		return nil, err
	}
	in := &installation{programPrefix: projectPrefix}
	return in, in.divide(manifests, ports)
}

// ServesMutatingPolicies reports whether the API server has MutatingAdmissionPolicies in
// the version of config/outage, which Kubernetes 1.36 has by default.
func ServesMutatingPolicies(server discovery.DiscoveryInterface) (bool, error) {
	list, err := server.ServerResourcesForGroupVersion("admissionregistration.k8s.io/v1")
	if err != nil {
		return false, fmt.Errorf("discover admission policies: %w", err)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == "mutatingadmissionpolicies" }), nil
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
