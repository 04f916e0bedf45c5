// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
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

// The layers of the registries' images, and the list of registries.
func (l layout) blobs() string      { return filepath.Join(l.dir, "blobs") }
func (l layout) registries() string { return filepath.Join(l.dir, "registries.json") }

// Files of a cluster with Pods that was not started here: what "ko apply -f config/"
// applied, and the API server's audit log.
func (l layout) manifest() string { return filepath.Join(l.dir, "project.yaml") }
func (l layout) podAudit() string { return filepath.Join(l.dir, "audit", "audit.log") }

// kubeconfigOf returns the path of the kubeconfig of a process.
func (l layout) kubeconfigOf(process string) string {
	return filepath.Join(l.dir, "kubeconfigs", process)
}

// remove removes all files of a cluster but its logs. The state is removed last, so that
// a failed removal can be retried.
func (l layout) remove() error {
	for _, path := range []string{
		l.kubeconfig(), filepath.Dir(l.kubeconfigOf("x")), l.etcd(), l.pki(), l.volumePlugins(),
		l.blobs(), l.registries(), l.state(),
	} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
