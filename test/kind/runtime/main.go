// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command runtime is runc for a machine that lacks the capability CAP_SYS_RESOURCE, such
// as a container. Privileged containers ask for every capability, and kind's nodes are
// privileged. This program drops that one from what they ask for, and the negative OOM
// scores that need it, and then becomes runc.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const missing = "CAP_SYS_RESOURCE"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "runtime:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if file, inside := processFile(args); file != "" {
		if err := edit(file, inside); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ()) //nolint:gosec // That is its purpose.
}

// processFile returns the file that describes the process of a call of runc, if it has
// one. inside is the key of the process in it: a bundle's configuration has it as a part.
func processFile(args []string) (file, inside string) {
	command := slices.IndexFunc(args, func(arg string) bool { return slices.Contains([]string{"create", "run", "exec"}, arg) })
	if command < 0 {
		return "", ""
	}
	names := []string{"--bundle", "-b"}
	if args[command] == "exec" {
		names = []string{"--process", "-p"}
	}
	for i := command; i < len(args)-1; i++ {
		if slices.Contains(names, args[i]) {
			file = args[i+1]
		}
	}
	if args[command] == "exec" || file == "" {
		return file, ""
	}
	return filepath.Join(file, "config.json"), "process"
}

// edit restricts the process that a file describes.
func edit(file, inside string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all map[string]any
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber() // A limit may exceed the precision of a float64.
	if err := decoder.Decode(&all); err != nil {
		return fmt.Errorf("parse %s: %w", file, err)
	}
	process := all
	if inside != "" {
		process, _ = all[inside].(map[string]any)
	}
	restrict(process)
	if content, err = json.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

// restrict drops the missing capability, and a negative OOM score, from a process of the
// OCI runtime specification (config.md, "Linux Process").
func restrict(process map[string]any) {
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		if list, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(one any) bool { return one == missing })
		}
	}
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		process["oomScoreAdj"] = 0
	}
}
