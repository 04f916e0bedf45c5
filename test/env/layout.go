// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// layout returns the paths of a cluster's files in its directory.
type layout struct{ dir string }

func (l layout) state() string      { return filepath.Join(l.dir, "state.json") }
func (l layout) lockFile() string   { return filepath.Join(l.dir, "lock") }
func (l layout) kubeconfig() string { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) pki() string        { return filepath.Join(l.dir, "pki") }
func (l layout) etcd() string       { return filepath.Join(l.dir, "etcd") }
func (l layout) logs() string       { return filepath.Join(l.dir, "logs") }
func (l layout) audit() string      { return filepath.Join(l.logs(), "audit.log") }
func (l layout) ownLog() string     { return filepath.Join(l.logs(), "cluster.log") }

// volumePlugins is a directory that the controller manager searches and creates. Only
// root can write to the default.
func (l layout) volumePlugins() string { return filepath.Join(l.dir, "volume-plugins") }

// Files of a cluster with a node: the data of its programs, the layers of the registries'
// images, the list of registries, and credentials to push.
func (l layout) machine() string      { return filepath.Join(l.dir, "machine") }
func (l layout) blobs() string        { return filepath.Join(l.dir, "blobs") }
func (l layout) dockerConfig() string { return filepath.Join(l.dir, "docker") }
func (l layout) registries() string   { return filepath.Join(l.dir, "registries.json") }
func (l layout) koSettings() string   { return filepath.Join(l.dir, "ko.env") }

// Files of a cluster with Pods that was not started here: what "ko apply -f config/"
// applied, and the API server's audit log.
func (l layout) manifest() string { return filepath.Join(l.dir, "project.yaml") }
func (l layout) podAudit() string { return filepath.Join(l.dir, "audit", "audit.log") }

// cgroup returns the name of the cgroup of all Pods, derived from the cluster's
// directory.
func (l layout) cgroup() string {
	sum := sha256.Sum256([]byte(l.dir))
	return fmt.Sprintf("pullsecrets-%x", sum[:6])
}

// kubeconfigOf returns the path of the kubeconfig of a process.
func (l layout) kubeconfigOf(process string) string {
	return filepath.Join(l.dir, "kubeconfigs", process)
}

// remove removes all files of a cluster but its logs. The state is removed last, so that
// a failed removal can be retried.
func (l layout) remove() error {
	if err := removeCgroups(l.cgroup()); err != nil {
		return err
	}
	for _, path := range []string{
		l.kubeconfig(), filepath.Dir(l.kubeconfigOf("x")), l.etcd(), l.pki(), l.volumePlugins(),
		l.machine(), l.blobs(), l.dockerConfig(), l.registries(), l.koSettings(), l.state(),
	} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
