// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// The README's first success prints what the README says.
func TestFirstSuccessOfTheReadme(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	env.Tool(t, "kn") // It is in the folder of kubectl then, where the reader finds it.
	// The namespace is the test's, so that it is deleted with the test.
	r := n.reader("create namespace team-a", "get namespace "+n.ns, "team-a", n.ns)
	r.assign("TOKEN", "hunter2")
	text := section(t, "../README.md", "First success")
	commands, printed := pages.Blocks(text, "sh"), pages.Blocks(text, "text")
	if len(commands) != 1 || len(printed) != 1 {
		t.Fatalf("The section has %d blocks of commands and %d of output, want 1 and 1", len(commands), len(printed))
	}
	if got := strings.Count(commands[0], "\n"); got != 5 {
		t.Errorf("It takes %d lines, want 5", got)
	}
	if output := r.follow(commands[0]); !strings.HasSuffix(output, printed[0]) {
		t.Errorf("The commands print\n%s\nwant at the end\n%s", output, printed[0])
	}
}

// The commands of docs/get-started.md give a namespace its copy.
func TestGetStartedAsDocumented(t *testing.T) {
	t.Parallel()
	p := barePlatform(t)
	n := newTenant(t)
	r := n.reader("acme-ghcr", p.name, "team-b", n.ns, "payments", p.name)
	r.assign("TOKEN", "hunter2")
	commands := pages.Blocks(section(t, "get-started.md", "One credential for many namespaces"), "sh")
	if len(commands) == 0 {
		t.Fatal("The section has no commands")
	}
	for _, block := range commands {
		r.follow(block)
	}
	p.waitForStatus("Ready with a copy", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && c.Status.Namespaces != nil && c.Status.Namespaces.Summary == "1/1"
	})
	n.waitForLogins(p.name, map[string]string{"ghcr.io": "robot:hunter2"})
}
