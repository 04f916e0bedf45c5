// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// program is an executable of the local cluster and its source.
type program struct {
	name   string // file name in the bin directory
	module string // directory of its Go module, relative to the repository
	pkg    string
	title  string // for progress messages
	// loopback is set for programs that contain knative.dev/pkg, see loopbackEdits.
	loopback bool
	// versionOf is the module whose version a Kubernetes program reports.
	versionOf string
}

const (
	binCluster    = "cluster"
	binKubernetes = "kubernetes"
	// binKubectl is a second name of the former, under which it is kubectl.
	binKubectl = "kubectl"

	binRegistry = "registry"
)

const (
	controlPlaneModule = "test/controlplane"
	toolsModule        = "test/tools"
)

// standing lists the programs of every local cluster, except those of the Deployments in
// config/.
var standing = []program{
	{name: binCluster, module: ".", pkg: "./test/env/cmd/cluster", title: "the cluster's supervisor"},
	{name: binKubernetes, module: controlPlaneModule, pkg: ".", title: "Kubernetes", versionOf: "k8s.io/kubernetes"},
	{name: "knative-controller", module: knativeModule, pkg: "knative.dev/serving/cmd/controller", title: "Knative's controller", loopback: true},
	{name: "knative-webhook", module: knativeModule, pkg: "knative.dev/serving/cmd/webhook", title: "Knative's webhook", loopback: true},
	{name: binRegistry, module: toolsModule, pkg: "./registry", title: "the registry"},
}

// forNodes lists the programs that only test/e2e-kind.sh needs, including those in images.
var forNodes = []program{
	{name: "node", module: controlPlaneModule, pkg: "./node", title: "the kubelet", versionOf: "k8s.io/kubernetes"},
	{name: "ko", module: toolsModule, pkg: "github.com/google/ko", title: "ko"},
	{name: "app", module: ".", pkg: "./test/env/images/app", title: "the test images"},
}

// writers are programs with which users write to clusters. They are built when a test
// requests one, see Tool.
var writers = map[string]program{
	binKubectl:       {name: binKubernetes, module: controlPlaneModule, pkg: ".", title: "kubectl", versionOf: "k8s.io/kubernetes"},
	"kn":             {name: "kn", module: "test/writers/kn", pkg: "knative.dev/client/cmd/kn", title: "kn"},
	"helm":           {name: "helm", module: "test/tools/chart", pkg: "helm.sh/helm/v3/cmd/helm", title: "Helm"},
	"kn-pullsecrets": {name: "kn-pullsecrets", module: ".", pkg: "./cmd/kn-pullsecrets", title: "the command line"},
	"flux-apply":     {name: "flux-apply", module: "test/writers/flux", pkg: ".", title: "Flux's apply engine"},
	"argocd-app":     {name: "argocd-app", module: "test/writers/argocd", pkg: ".", title: "Argo CD's engine"},
}

// buildDirPattern matches the directories of builds in progress.
const buildDirPattern = ".build-*"

// builder builds programs of the repository into its bin directory, which all local
// clusters of a checkout share.
type builder struct {
	repo     string
	progress func(format string, args ...any)
	releases map[string]release // by module; set by selectReleases
}

func (b builder) binDir() string { return filepath.Join(b.repo, ".cluster", "bin") }

// path returns where the program of a module is built to.
func (b builder) path(module, name string) string {
	return filepath.Join(b.binDir(), name+b.releases[module].suffix())
}

// findRepository finds the root of the repository from the working directory upwards,
// because a test runs in the directory of its package.
func findRepository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "controlplane", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside a checkout of the project: no test/controlplane/go.mod here or above")
		}
	}
}

// build builds the programs sequentially, because each build uses all processors.
func (b builder) build(ctx context.Context, programs []program) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("a local cluster is built from source and requires Go: see https://go.dev/dl")
	}
	if err := os.MkdirAll(b.binDir(), 0o755); err != nil {
		return err
	}
	b.removeLeftovers()
	for _, p := range programs {
		if err := b.buildOne(ctx, p); err != nil {
			return fmt.Errorf("build %s: %w", p.title, err)
		}
	}
	if err := os.Symlink(binKubernetes, filepath.Join(b.binDir(), binKubectl)); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// removeLeftovers removes the files of builds that were killed.
func (b builder) removeLeftovers() {
	remains, _ := filepath.Glob(filepath.Join(b.binDir(), buildDirPattern))
	for _, dir := range remains {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
			os.RemoveAll(dir)
		}
	}
}

func (b builder) buildOne(ctx context.Context, p program) error {
	ldflags := "-s -w"
	if p.versionOf != "" {
		// Kubernetes' own build sets its version like this. Otherwise the API server
		// reports v0.0.0, which Knative rejects.
		version, err := b.goCommand(ctx, p.module, "list", "-m", "-f", "{{.Version}}", p.versionOf)
		if err != nil {
			return err
		}
		ldflags += " -X k8s.io/component-base/version.gitVersion=" + version
	}
	// Without VCS stamping: a program would change with each commit, and the build would
	// fail where git does. The flags of the compiler are those of the Makefile and .ko.yaml, so
	// that packages which modules have in common are compiled once.
	flags := []string{"-buildvcs=false", "-trimpath", "-ldflags=" + ldflags}
	if p.loopback {
		modfile, err := b.loopbackModfile(ctx, p.module)
		if err != nil {
			return err
		}
		flags = append(flags, "-modfile="+modfile)
	}

	// The go command leaves an up-to-date destination alone but overwrites any other, and
	// the program of a running cluster must never be half written. So it builds to a
	// second link of the same file: unchanged if up to date, a new file otherwise.
	target := b.path(p.module, p.name)
	next, err := os.MkdirTemp(b.binDir(), buildDirPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	output := filepath.Join(next, p.name)
	if err := os.Link(target, output); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}

	if err := b.compile(ctx, p, flags, output); err != nil {
		return err
	}
	return os.Rename(output, target)
}

// packageDir returns the directory of a dependency's package in the module cache,
// downloading it if necessary.
func (b builder) packageDir(ctx context.Context, module, pkg string) (string, error) {
	return b.goCommand(ctx, module, "list", "-find", "-f", "{{.Dir}}", pkg)
}

func (b builder) goCommand(ctx context.Context, module string, args ...string) (string, error) {
	return b.runGo(ctx, module, io.Discard, args...)
}

// runGo runs the go command in a module and returns what it prints. It also writes its
// messages to another writer.
func (b builder) runGo(ctx context.Context, module string, messages io.Writer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.repo, module)
	flags := ""
	if modfile := b.releases[module].modfile; modfile != "" {
		// Commands ignore those that they do not know.
		flags = fmt.Sprintf("-mod=mod '-modfile=%s'", modfile)
	}
	// A workspace or flags of the caller must not change the build.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="+flags)
	if os.Getenv("GOGC") == "" {
		// The compiler runs once for each package, so it need not collect its garbage often.
		cmd.Env = append(cmd.Env, "GOGC=400")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(&stderr, messages)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s (in %s): %w\n%s", strings.Join(args, " "), cmd.Dir, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}
