// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// layout knows where the files of a cluster lie below its directory.
type layout struct{ dir string }

func (l layout) state() string      { return filepath.Join(l.dir, "state.json") }
func (l layout) lockFile() string   { return filepath.Join(l.dir, "lock") }
func (l layout) kubeconfig() string { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) pki() string        { return filepath.Join(l.dir, "pki") }
func (l layout) etcd() string       { return filepath.Join(l.dir, "etcd") }
func (l layout) logs() string       { return filepath.Join(l.dir, "logs") }
func (l layout) audit() string      { return filepath.Join(l.logs(), "audit.log") }
func (l layout) ownLog() string     { return filepath.Join(l.logs(), "cluster.log") }

// volumePlugins is a directory that the controller manager searches, and
// creates. By default it lies where only root may write.
func (l layout) volumePlugins() string { return filepath.Join(l.dir, "volume-plugins") }

// What a cluster with a node has besides: what its programs leave on their
// machine, the layers of the registries' images, which registries there are, and
// how to push there.
func (l layout) machine() string      { return filepath.Join(l.dir, "machine") }
func (l layout) blobs() string        { return filepath.Join(l.dir, "blobs") }
func (l layout) dockerConfig() string { return filepath.Join(l.dir, "docker") }
func (l layout) registries() string   { return filepath.Join(l.dir, "registries.json") }
func (l layout) koSettings() string   { return filepath.Join(l.dir, "ko.env") }

// cgroup is the name of the group in which all Pods are. Cgroups are the one
// thing of a cluster that is not in its directory, so they are named after it.
func (l layout) cgroup() string {
	sum := sha256.Sum256([]byte(l.dir))
	return fmt.Sprintf("pullsecrets-%x", sum[:6])
}

// kubeconfigOf is the kubeconfig of one of the cluster's processes.
func (l layout) kubeconfigOf(process string) string {
	return filepath.Join(l.dir, "kubeconfigs", process)
}

// remove takes away all that a cluster leaves but its logs. The state goes
// last: as long as it is there, somebody can try again.
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
