// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package kind validates the configuration that test/e2e-kind.sh gives to kind with
// kind's own types, because kind itself cannot run everywhere.
package kind

import (
	"bytes"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// kind reports mistakes in its configuration only when it creates a cluster.
func TestClusterConfig(t *testing.T) {
	content, err := os.ReadFile("../../kind/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cluster v1alpha4.Cluster
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&cluster); err != nil {
		t.Fatal(err)
	}
	if cluster.Kind != "Cluster" || cluster.APIVersion != "kind.x-k8s.io/v1alpha4" {
		t.Errorf("config is a %s of %s, which this kind does not support", cluster.Kind, cluster.APIVersion)
	}
	if !cluster.FeatureGates["KubeletEnsureSecretPulledImages"] || len(cluster.Nodes) != 1 {
		t.Errorf("config has the feature gates %v and %d nodes", cluster.FeatureGates, len(cluster.Nodes))
	}
	for _, node := range cluster.Nodes {
		for _, patch := range node.KubeadmConfigPatches {
			var fields map[string]any
			if err := yaml.Unmarshal([]byte(patch), &fields); err != nil || fields["kind"] != "KubeletConfiguration" {
				t.Errorf("patch is not a KubeletConfiguration (%v):\n%s", err, patch)
			}
		}
	}
}
