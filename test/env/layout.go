// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os"
	"path/filepath"
)

// A layout knows where the files of a cluster lie below its directory.
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

// kubeconfigOf is the kubeconfig of one of the cluster's processes.
func (l layout) kubeconfigOf(process string) string {
	return filepath.Join(l.dir, "kubeconfigs", process)
}

// remove takes away all that a cluster leaves but its logs.
func (l layout) remove() error {
	for _, path := range []string{l.kubeconfig(), filepath.Dir(l.kubeconfigOf("x")), l.etcd(), l.pki(), l.volumePlugins(), l.state()} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
