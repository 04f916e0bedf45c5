// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package workflows has no code. Its tests check the workflows of GitHub: what they run, what they
// may do, and that the documentation tells users to verify what the release workflow signs.
package workflows

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// root is the root of the repository.
const root = "../.."

// A workflow is the part of one that is checked.
type workflow struct {
	// On is the key "on", which is a boolean in YAML 1.1.
	On          map[string]any `json:"true"`
	Permissions map[string]string
	Env         map[string]string
	Jobs        map[string]job
}

type job struct {
	Needs, If   string
	Permissions map[string]string
	Steps       []step
}

type step struct {
	ID, Uses, Run, If string
	With, Env         map[string]any
}

// read returns the workflows by the names of their files.
func read(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	workflows := map[string]workflow{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var one workflow
		if err := yaml.Unmarshal(content, &one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		workflows[filepath.Base(file)] = one
	}
	return workflows
}

// pinned is an action by its commit, with its version for people and Dependabot.
var pinned = regexp.MustCompile(`^([\w-]+/[\w-]+)(?:/[\w-]+)*@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)

// Tags of an action can be moved, commits cannot.
func TestActionsArePinned(t *testing.T) {
	commits := map[string]string{}
	for file := range read(t) {
		content, err := os.ReadFile(filepath.Join(root, ".github/workflows", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			_, uses, found := strings.Cut(line, "uses: ")
			if !found {
				continue
			}
			match := pinned.FindStringSubmatch(strings.TrimSpace(uses))
			if match == nil {
				t.Errorf("%s uses %s, want a commit and the version in a comment", file, strings.TrimSpace(uses))
				continue
			}
			commit := match[2] + " " + match[3]
			if other := commits[match[1]]; other != "" && other != commit {
				t.Errorf("%s uses %s at %s, and another workflow at %s", file, match[1], commit, other)
			}
			commits[match[1]] = commit
		}
	}
}

// Each job has only the rights that it names, and may write only what is listed here.
func TestRightsOfJobs(t *testing.T) {
	allowed := map[string][]string{
		"codeql.yaml analyze":      {"security-events"},
		"release.yaml build":       {"packages"},
		"release.yaml sign":        {"attestations", "id-token", "packages"},
		"release.yaml publish":     {"contents"},
		"scorecard.yaml scorecard": {"id-token", "security-events"},
	}
	for file, workflow := range read(t) {
		if workflow.Permissions == nil || len(workflow.Permissions) != 0 {
			t.Errorf("%s has the permissions %v for all its jobs, want {}", file, workflow.Permissions)
		}
		for name, job := range workflow.Jobs {
			if len(job.Permissions) == 0 {
				t.Errorf("job %s of %s does not name its permissions", name, file)
			}
			for _, right := range slices.Sorted(maps.Keys(job.Permissions)) {
				if job.Permissions[right] == "write" && !slices.Contains(allowed[file+" "+name], right) {
					t.Errorf("job %s of %s may write %s", name, file, right)
				}
			}
		}
	}
}

var runsCode = regexp.MustCompile(`\b(make|go)\b`)

// A job that can sign in the name of the workflow runs neither code of the project nor of its
// dependencies, which could sign anything then.
func TestSigningJobsRunNoCode(t *testing.T) {
	signing := 0
	for file, workflow := range read(t) {
		for name, job := range workflow.Jobs {
			if job.Permissions["id-token"] != "write" {
				continue
			}
			signing++
			for _, step := range job.Steps {
				if runsCode.MatchString(step.Run) || strings.HasPrefix(step.Uses, "actions/setup-go@") {
					t.Errorf("job %s of %s can sign, and runs %s%s", name, file, step.Uses, step.Run)
				}
			}
		}
	}
	if signing == 0 {
		t.Error("no job can sign")
	}
}
