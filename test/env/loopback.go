// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
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

// loopbackEdits are the three places where knative.dev/pkg listens. Its
// programs take most ports from the environment but listen on all addresses,
// and serve their probes on the one fixed port 8080. In a Pod that is right.
// On a shared machine it would open a test's webhook and profiler to the
// network, and no two of these programs could run side by side.
//
// So they are built with a copy of knative.dev/pkg in which these lines are
// changed (the go command's -overlay would need no copy, but rejects files of
// the module cache). What runs are Knative's own main programs and ours, not
// imitations that would have to follow them, and nothing but the addresses
// they listen on differs. PROBES_PORT is a variable that our own read, too.
var loopbackEdits = map[string][]edit{
	"injection/health_check.go": {
		{old: `Addr: ":" + strconv.Itoa(port)`, new: `Addr: "127.0.0.1:" + os.Getenv("PROBES_PORT")`},
		{old: `"strconv"`, new: `"os"`},
	},
	"webhook/webhook.go": {
		{old: `fmt.Sprint(":", wh.Options.Port)`, new: `fmt.Sprint("127.0.0.1:", wh.Options.Port)`},
	},
	"observability/runtime/pprof.go": {
		{old: `":" + port`, new: `"127.0.0.1:" + port`},
	},
}

// loopbackModfile prepares a build of the module's programs with the changed
// copy and returns the argument of "go build -modfile" for it: the module's
// own go.mod with one more replace line.
func (b builder) loopbackModfile(ctx context.Context, module string) (string, error) {
	original, err := b.moduleDir(ctx, module, knativePkg)
	if err != nil {
		return "", err
	}
	// Named by version, so that modules which pin different ones can differ.
	changed := filepath.Join(b.repo, ".cluster", "loopback", filepath.Base(original))
	if err := copyEdited(original, changed, loopbackEdits); err != nil {
		return "", err
	}

	modfile := filepath.Join(b.repo, ".cluster", "loopback", "root.mod")
	if module != "." {
		modfile = filepath.Join(filepath.Dir(modfile), filepath.Base(module)+".mod")
	}
	for from, to := range map[string]string{"go.mod": modfile, "go.sum": strings.TrimSuffix(modfile, ".mod") + ".sum"} {
		content, err := os.ReadFile(filepath.Join(b.repo, module, from))
		if err != nil {
			return "", err
		}
		if from == "go.mod" {
			content = fmt.Appendf(content, "\nreplace %s => %q\n", knativePkg, changed)
		}
		if err := writeIfChanged(to, content); err != nil {
			return "", err
		}
	}
	return modfile, nil
}

// copyEdited copies a module with the edits made. What already is as it should
// be is not written again, so the go command finds nothing to do either.
func copyEdited(from, to string, edits map[string][]edit) error {
	source := os.DirFS(from)
	for name := range edits {
		if _, err := fs.Stat(source, name); err != nil {
			return fmt.Errorf("looking for the file whose listen address must change: %w", err)
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

// apply makes the edits, each of which must match exactly once: a version of
// the file that reads differently must be looked at by a person, not built
// with its listeners wide open.
func apply(source string, edits []edit) (string, error) {
	for _, e := range edits {
		if n := strings.Count(source, e.old); n != 1 {
			return "", fmt.Errorf("found %q %d times instead of once: this is not the version that loopbackEdits was written for", e.old, n)
		}
		source = strings.Replace(source, e.old, e.new, 1)
	}
	return source, nil
}

// writeIfChanged leaves an equal file alone.
func writeIfChanged(name string, content []byte) error {
	if old, err := os.ReadFile(name); err == nil && string(old) == string(content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return writeFile(name, content, 0o644)
}

// writeFile is os.WriteFile in a single step: whoever reads at the same time
// sees the old content or the new, never half of it.
func writeFile(name string, content []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // Finds nothing once the file has its name.
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
