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
	"strings"
	"testing"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// Each command of SECURITY.md prints what the page says. An administrator runs them, because
// they impersonate the programs.
func TestSecurityClaimsAsDocumented(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	text := section(t, "../SECURITY.md", "Check it yourself")
	commands, outputs := pages.Blocks(text, "sh"), pages.Blocks(text, "text")
	if len(commands) == 0 || len(commands) != len(outputs) {
		t.Fatalf("SECURITY.md has %d blocks of commands and %d of output", len(commands), len(outputs))
	}
	kubectl := filepath.Dir(env.Tool(t, "kubectl"))
	for i, block := range commands {
		want := strings.TrimSpace(outputs[i])
		for command := range strings.Lines(block) {
			// The API server applies policies a moment after they are created.
			eventually(t, func(ctx context.Context) error {
				cmd := exec.CommandContext(ctx, "sh", "-c", command)
				cmd.Env = []string{"KUBECONFIG=" + e.Kubeconfig, "HOME=" + t.TempDir(), "PATH=" + kubectl + string(filepath.ListSeparator) + os.Getenv("PATH")}
				// Some exit with an error, which is the point.
				output, _ := cmd.CombinedOutput()
				got := strings.TrimSpace(string(output))
				if whole := got == want; whole || len(want) > len("yes") && strings.Contains(got, want) {
					return nil
				}
				return fmt.Errorf("%s\nprints %q, want %q", command, got, want)
			})
		}
	}
}
