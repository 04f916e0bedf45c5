// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// machinePrograms are the programs of a node that are not built from Go modules: the
// container runtime, and the tools with which it and kube-proxy configure the kernel.
type machinePrograms struct {
	containerd     string
	networkPlugins string // a directory
	path           string // search path of all other programs
	libraries      string // library path, if the programs are not installed
}

// debianPackages contain all of them, and the libraries that not every Debian has.
var debianPackages = []string{
	"containerd", "runc", "containernetworking-plugins", "nftables",
	"libnftables1", "libnftnl11", "libmnl0", "libxtables12", "libjansson4", "libgmp10", "libedit2", "libbsd0", "libmd0",
}

var (
	usualPath    = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	usualPlugins = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
	usualLibs    = []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"}
)

// findMachinePrograms finds the programs on the machine. If one is missing on a Debian,
// it downloads the packages and unpacks them in the checkout; it installs nothing and
// starts no service.
func findMachinePrograms(ctx context.Context, b builder) (*machinePrograms, error) {
	path := append(filepath.SplitList(os.Getenv("PATH")), usualPath...)
	found, missing := lookForPrograms(path, usualPlugins)
	if len(missing) == 0 {
		return found, nil
	}
	unpacked := filepath.Join(b.repo, ".cluster", "debian")
	if _, err := os.Stat(unpacked); errors.Is(err, os.ErrNotExist) {
		b.progress("fetching Debian packages with %s", strings.Join(missing, ", "))
		if err := unpackPackages(ctx, unpacked); err != nil {
			return nil, fmt.Errorf("this machine has no %s; download Debian's packages: %w", strings.Join(missing, ", "), err)
		}
	}
	for _, dir := range usualPath {
		path = append(path, filepath.Join(unpacked, dir))
	}
	found, missing = lookForPrograms(path, append(usualPlugins, filepath.Join(unpacked, usualPlugins[0])))
	if len(missing) > 0 {
		return nil, fmt.Errorf("a node needs %s: install them, or remove %s to download Debian's packages again", strings.Join(missing, ", "), unpacked)
	}
	var libraries []string
	for _, pattern := range usualLibs {
		dirs, _ := filepath.Glob(filepath.Join(unpacked, pattern)) // The patterns are valid.
		libraries = append(libraries, dirs...)
	}
	found.libraries = strings.Join(libraries, ":")
	return found, nil
}

// lookForPrograms returns the programs that it finds and the names of those that are
// missing.
func lookForPrograms(path, plugins []string) (*machinePrograms, []string) {
	found := &machinePrograms{path: strings.Join(path, string(filepath.ListSeparator))}
	var missing []string
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc", "nft", "ip", "mount"} {
		file := lookFor(program, path)
		if file == "" {
			missing = append(missing, program)
		}
		if program == "containerd" {
			found.containerd = file
		}
	}
	for _, dir := range plugins {
		if lookFor("ptp", []string{dir}) != "" && lookFor("host-local", []string{dir}) != "" {
			found.networkPlugins = dir
			return found, missing
		}
	}
	return found, append(missing, "CNI plugins")
}

func lookFor(program string, path []string) string {
	for _, dir := range path {
		if file, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return file
		}
	}
	return ""
}

// environment returns additional variables for the programs of the node.
func (m *machinePrograms) environment() []string {
	environment := []string{"PATH=" + m.path}
	if m.libraries != "" {
		environment = append(environment, "LD_LIBRARY_PATH="+m.libraries)
	}
	return environment
}

// unpackPackages creates a complete directory or none.
func unpackPackages(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("apt-get not found: install them with your package manager")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(dir), ".debian-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next) // No effect after the rename.
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	download := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, debianPackages...)...)
	download.Dir = next
	if output, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download (apt-get update may help): %w\n%s", err, output)
	}
	packages, err := filepath.Glob(filepath.Join(next, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range packages {
		if output, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, next).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(file), err, output)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return os.Rename(next, dir)
}
