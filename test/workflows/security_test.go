// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pullsecrets.dev/test/pages"
)

// branches are those on which each commit is checked.
var branches = []string{"main", "release-*"}

// times are the words of SECURITY.md for when something runs, and which workflows run then.
var times = map[string]func(workflow) bool{
	"every day":                   func(w workflow) bool { return w.scheduled(`\d+ \d+ \* \* \*`) },
	"every night":                 func(w workflow) bool { return w.scheduled(`\d+ [0-5] \* \* \*`) },
	"every week":                  func(w workflow) bool { return w.scheduled(`\d+ \d+ \* \* [0-6]`) },
	"each change":                 func(w workflow) bool { return w.onChanges(nil) },
	"each change of dependencies": func(w workflow) bool { return w.onChanges([]string{"**/go.mod", "**/go.sum"}) },
	"each commit on `main`":       func(w workflow) bool { return w.onPush("branches", branches[:1]) && w.onPush("paths", nil) },
	"each release":                func(w workflow) bool { return w.onPush("tags", []string{"v[0-9]+.[0-9]+.[0-9]+*"}) },
}

// actions are what the rows without a command run, by their first words.
var actions = map[string]string{
	"CodeQL": "github/codeql-action/analyze", "[OpenSSF Scorecard]": "ossf/scorecard-action",
}

// Each row of the table in SECURITY.md is what a workflow runs, at each time that the row says.
func TestWorkflowsCheckWhatIsDocumented(t *testing.T) {
	text, err := pages.Section(root, "SECURITY.md", "What is checked")
	if err != nil {
		t.Fatal(err)
	}
	workflows, rows := read(t), 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.TrimSpace(cells[0]) == "what" || strings.HasPrefix(cells[0], "---") {
			continue
		}
		rows++
		what, when := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		runs := func(s step) bool { return s.Run == strings.Trim(cells[2], " `") }
		if strings.TrimSpace(cells[2]) == "" {
			runs = func(s step) bool {
				name, _, _ := strings.Cut(s.Uses, "@")
				return slices.ContainsFunc(slices.Sorted(maps.Keys(actions)), func(words string) bool {
					return strings.HasPrefix(what, words) && name == actions[words]
				})
			}
		}
		for _, one := range regexp.MustCompile(`, and |, | and `).Split(when, -1) {
			is, known := times[one]
			if !known {
				t.Errorf("SECURITY.md says %q of %q, and the test does not know when that is", one, what)
				continue
			}
			if !slices.ContainsFunc(slices.Collect(maps.Values(workflows)), func(w workflow) bool { return is(w) && w.runs(runs) }) {
				t.Errorf("no workflow runs this %s: %s", one, what)
			}
		}
	}
	if rows < 6 {
		t.Errorf("found %d rows: the table of SECURITY.md was not recognized", rows)
	}
}

// runs reports whether a step of the workflow is run whenever the workflow is.
func (w workflow) runs(is func(step) bool) bool {
	for _, job := range w.Jobs {
		if job.If == "" && slices.ContainsFunc(job.Steps, func(s step) bool {
			return is(s) && (s.If == "" || s.If == "always()")
		}) {
			return true
		}
	}
	return false
}

// scheduled reports whether the workflow has a schedule of this form.
func (w workflow) scheduled(form string) bool {
	schedules, _ := w.On["schedule"].([]any)
	return slices.ContainsFunc(schedules, func(one any) bool {
		schedule, _ := one.(map[string]any)
		return regexp.MustCompile(`^` + form + `$`).MatchString(fmt.Sprint(schedule["cron"]))
	})
}

// onChanges reports whether the workflow runs for each pull request and each commit on a branch
// that gets releases, or for those that change one of these paths.
func (w workflow) onChanges(paths []string) bool {
	_, found := w.On["pull_request"]
	return found && w.onPush("branches", branches) &&
		w.limits("push", "paths", paths) && w.limits("pull_request", "paths", paths)
}

// onPush reports whether a push starts the workflow, and this filter has the patterns.
func (w workflow) onPush(filter string, patterns []string) bool {
	_, found := w.On["push"]
	return found && w.limits("push", filter, patterns)
}

// limits reports whether a filter of an event has all these patterns. Without any, the event must
// not have the filter. Other filters than those of branches and paths would limit it further.
func (w workflow) limits(event, filter string, patterns []string) bool {
	filters, _ := w.On[event].(map[string]any)
	for name := range filters {
		if name != filter && name != "paths" && (name != "branches" || event == "pull_request") {
			return false
		}
	}
	got, _ := filters[filter].([]any)
	if patterns == nil {
		return len(got) == 0
	}
	return !slices.ContainsFunc(patterns, func(pattern string) bool { return !slices.Contains(got, any(pattern)) })
}
