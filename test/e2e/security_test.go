// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// Each command of SECURITY.md prints what the page says. An administrator runs them, because
// they impersonate the programs.
func TestSecurityClaimsAsDocumented(t *testing.T) {
	t.Parallel()
	text := section(t, "../SECURITY.md", "Check it yourself")
	commands, outputs := pages.Blocks(text, "sh"), pages.Blocks(text, "text")
	if len(commands) == 0 || len(commands) != len(outputs) {
		t.Fatalf("SECURITY.md has %d blocks of commands and %d of output", len(commands), len(outputs))
	}
	for i, block := range commands {
		checkOutput(t, block, strings.TrimSpace(outputs[i]))
	}
	if queries := kubectlInTable.FindAllStringSubmatch(text, -1); len(queries) != 1 {
		t.Errorf("the table has %d kubectl commands, want 1", len(queries))
	} else if output, err := runAsAdministrator(t.Context(), t, queries[0][1]); err != nil {
		t.Errorf("%s\nfails: %v\n%s", queries[0][1], err, output)
	}
}

// kubectlInTable matches a command in a cell of a table.
var kubectlInTable = regexp.MustCompile("\\| `(kubectl [^`]+)` \\|")

// checkOutput runs each line of a block and waits until it prints what is expected: exactly a short
// answer, or something that contains a message. The API server applies policies a moment after they
// are created.
func checkOutput(t *testing.T, block, want string) {
	t.Helper()
	for command := range strings.Lines(block) {
		eventually(t, func(ctx context.Context) error {
			output, _ := runAsAdministrator(ctx, t, command) // Some exit with an error, which is the point.
			got := strings.TrimSpace(output)
			if whole := got == want; whole || len(want) > len("yes") && strings.Contains(got, want) {
				return nil
			}
			return fmt.Errorf("%s\nprints %q, want %q", command, got, want)
		})
	}
}

func runAsAdministrator(ctx context.Context, t *testing.T, command string) (string, error) {
	t.Helper()
	kubectl := filepath.Dir(env.Tool(t, "kubectl"))
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = []string{"KUBECONFIG=" + env.Get(t).Kubeconfig, "HOME=" + t.TempDir(), "PATH=" + kubectl + string(filepath.ListSeparator) + os.Getenv("PATH")}
	output, err := cmd.CombinedOutput()
	return string(output), err
}
