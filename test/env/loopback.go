// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const knativePkg = "knative.dev/pkg"

// edit replaces one piece of a source file.
type edit struct{ old, new string }

// loopbackEdits are the places where knative.dev/pkg listens. Its programs read
// most ports from the environment but listen on all addresses, and serve their probes on
// the fixed port 8080. On a shared machine this would expose a test's webhook and
// profiler to the network and allow only one such program.
//
// So they are built with a copy of knative.dev/pkg with these lines changed. (The go
// command's -overlay rejects files of the module cache.) The programs are Knative's and
// our own unchanged main packages; only the listen addresses differ. Our own also read
// PROBES_PORT.
var loopbackEdits = map[string][]edit{
	"injection/health_check.go": {
		{old: `Addr: ":" + strconv.Itoa(port)`, new: `Addr: "127.0.0.1:" + os.Getenv("PROBES_PORT")`},
		{old: `"strconv"`, new: `"os"`},
	},
	"webhook/webhook.go": {
		{old: `fmt.Sprint(":", wh.Options.Port)`, new: `fmt.Sprint("127.0.0.1:", wh.Options.Port)`},
	},
	"profiling/server.go": {
		{old: `":" + port`, new: `"127.0.0.1:" + port`},
	},
	newProfiler: {
		{old: `":" + port`, new: `"127.0.0.1:" + port`},
	},
}

// newProfiler has replaced the other profiler. Versions before Knative 1.20 lack it.
const newProfiler = "observability/runtime/pprof.go"

// loopbackModfile prepares a build of the module's programs with the changed copy and
// returns the argument of "go build -modfile": the module's go.mod with one more replace
// line.
func (b builder) loopbackModfile(ctx context.Context, module string) (string, error) {
	original, err := b.knativePkgDir(ctx, module)
	if err != nil {
		return "", err
	}
	// Named by version, because modules may pin different ones.
	changed := filepath.Join(b.repo, ".cluster", "loopback", filepath.Base(original))
	if err := copyEdited(original, changed, loopbackEdits); err != nil {
		return "", err
	}

	base := cmp.Or(b.releases[module].modfile, filepath.Join(b.repo, module, "go.mod"))
	name := "root"
	if module != "." {
		name = filepath.Base(module) + b.releases[module].suffix()
	}
	modfile := filepath.Join(b.repo, ".cluster", "loopback", name+".mod")
	sums, err := os.ReadFile(sumfile(base))
	if err != nil {
		return "", err
	}
	if err := writeIfChanged(sumfile(modfile), sums); err != nil {
		return "", err
	}
	// This may have to change a replace line.
	content, err := b.goCommand(ctx, module, "mod", "edit", "-replace="+knativePkg+"="+changed, "-print", base)
	if err != nil {
		return "", err
	}
	return modfile, writeIfChanged(modfile, []byte(content+"\n"))
}

// knativePkgDir returns the directory of the knative.dev/pkg that a module uses.
func (b builder) knativePkgDir(ctx context.Context, module string) (string, error) {
	injection, err := b.packageDir(ctx, module, knativePkg+"/injection")
	return filepath.Dir(injection), err
}

// copyEdited copies a module and applies the edits. It does not rewrite unchanged files,
// so the go command does not rebuild.
func copyEdited(from, to string, edits map[string][]edit) error {
	source := os.DirFS(from)
	for name := range edits {
		if _, err := fs.Stat(source, name); err != nil && name != newProfiler {
			return fmt.Errorf("find the file whose listen address must change: %w", err)
		}
	}
	return fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		changed, err := apply(string(content), edits[name])
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(from, name), err)
		}
		return writeIfChanged(filepath.Join(to, filepath.FromSlash(name)), []byte(changed))
	})
}

// apply applies the edits, each of which must match exactly once: another version of the
// file needs a review, and must not be built with open listeners.
func apply(source string, edits []edit) (string, error) {
	for _, e := range edits {
		if n := strings.Count(source, e.old); n != 1 {
			return "", fmt.Errorf("found %q %d times, want once: loopbackEdits does not fit this version", e.old, n)
		}
		source = strings.Replace(source, e.old, e.new, 1)
	}
	return source, nil
}

// writeIfChanged does not write an equal file.
func writeIfChanged(name string, content []byte) error {
	if old, err := os.ReadFile(name); err == nil && string(old) == string(content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return writeFile(name, content, 0o644)
}

// writeFile is an atomic os.WriteFile: concurrent readers see the old or the new content,
// never a part.
func writeFile(name string, content []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // No effect after the rename.
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
