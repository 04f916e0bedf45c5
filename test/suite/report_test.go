// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testJobs are two jobs, of one and of two tests.
func testJobs() []*job {
	p := testPackage{path: "example.com/e2e"}
	return divide(p, []string{"TestA", "TestB", "TestC"}, map[string]bool{"TestB": true, "TestC": true}, "")
}

func TestEveryTestIsInOneJob(t *testing.T) {
	var got [][]string
	for _, j := range testJobs() {
		got = append(got, j.tests)
	}
	if diff := cmp.Diff([][]string{{"TestA"}, {"TestB", "TestC"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReportOfJobs(t *testing.T) {
	pass := func(name string) string { return `{"Action":"pass","Test":"` + name + `"}` }
	says := func(name, text string) string {
		return `{"Action":"output","Test":"` + name + `","Output":"` + text + `\n"}`
	}
	tests := []struct {
		name   string
		events []string // of the job of TestB and TestC
		err    error    // of its process
		want   []string // in what is printed
		fails  bool
	}{
		{
			name:   "all pass",
			events: []string{says("TestB", "quiet"), pass("TestB"), pass("TestC/sub"), pass("TestC")},
			want:   []string{"2 tests passed, 0 failed, 0 were not run"},
		},
		{
			name:   "a failure is printed with the output of its subtests",
			events: []string{says("TestC/sub", "unexpected"), `{"Action":"fail","Test":"TestC/sub"}`, `{"Action":"fail","Test":"TestC"}`, pass("TestB")},
			err:    errors.New("exit status 1"),
			want:   []string{"FAILED: TestC\nunexpected", "1 tests passed, 1 failed"},
			fails:  true,
		},
		{
			name: "the end repeats what a failed test said, without the Events",
			events: []string{
				says("TestC", "    c_test.go:7: got (-want, +got):"), says("TestC", "        -1"), says("TestC", "    testing.go:2: Event on Pod c"),
				says("TestC", "        of two lines"), says("TestC", "    --- FAIL: TestC (0.1s)"), `{"Action":"fail","Test":"TestC"}`, pass("TestB"),
			},
			err:   errors.New("exit status 1"),
			want:  []string{"FAILED: TestC\n    c_test.go:7: got (-want, +got):\n        -1\n1 tests passed, 1 failed"},
			fails: true,
		},
		{
			name:   "a skipped test is not passed",
			events: []string{says("TestB", "    testing.go:1: NOT RUN: TestB: needs a node"), `{"Action":"skip","Test":"TestB"}`, pass("TestC")},
			want:   []string{"TestB: needs a node", "1 tests passed, 0 failed, 1 were not run"},
		},
		{
			name:   "a test that does not end has failed",
			events: []string{pass("TestB"), says("TestC", "    c_test.go:7: waiting"), says("TestC", "panic: out of time"), says("TestC", "goroutine 1 [running]:")},
			err:    errors.New("exit status 2"),
			want:   []string{"FAILED: TestC\nc_test.go:7: waiting\npanic: out of time", "    c_test.go:7: waiting\npanic: out of time\nit did not end: exit status 2\n1 tests passed"},
			fails:  true,
		},
		{
			name:   "a process can fail after its tests",
			events: []string{pass("TestB"), pass("TestC")},
			err:    errors.New("exit status 1"),
			want:   []string{"all its tests passed, but the process failed: exit status 1"},
			fails:  true,
		},
		{
			name:   "skipped tests alone do not pass",
			events: []string{`{"Action":"skip","Test":"TestB"}`, `{"Action":"skip","Test":"TestC"}`},
			fails:  true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			j := testJobs()[1]
			r := newReport(&out, []*job{j}, filepath.Join(t.TempDir(), "durations.json"), 1)
			r.begin(j)
			if err := r.read(j, strings.NewReader(strings.Join(test.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			r.end(j, time.Second, test.err)
			if err := r.finish(); (err != nil) != test.fails {
				t.Errorf("got error %v, want one: %t", err, test.fails)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got:\n%s\nwant in it: %q", out.String(), want)
				}
			}
		})
	}
}

func TestDurationsOfTheLastRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "durations.json")
	jobs := testJobs()
	last := newReport(&strings.Builder{}, jobs, file, 2)
	for i, j := range jobs {
		last.begin(j)
		for _, name := range j.tests {
			last.add(j, event{Action: "pass", Test: name})
		}
		last.end(j, time.Duration(4-i)*time.Minute, nil)
	}
	if err := last.save(); err != nil {
		t.Fatal(err)
	}

	r := newReport(&strings.Builder{}, jobs, file, 2)
	if first := r.longestFirst(jobs)[0]; first != jobs[0] {
		t.Errorf("%s is first, want the longest, %s", first.name, jobs[0].name)
	}
	r.begin(jobs[0])
	if got, want := r.progress(r.running[jobs[0]].Add(time.Minute)), "about 3 min left: TestA"; !strings.Contains(got, want) {
		t.Errorf("got %q, want in it %q", got, want)
	}
}

func TestParallelTestsAreFound(t *testing.T) {
	dir := t.TempDir()
	const source = `package any
func TestAlone(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Parallel() }) }
func TestTogether(t *testing.T) { setUp(t); t.Parallel(); check(t) }
func (x T) TestMethod(t *testing.T) { t.Parallel() }
func helper(t *testing.T, n int) { t.Parallel() }
`
	if err := os.WriteFile(filepath.Join(dir, "any_test.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parallelTests(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"TestTogether": true}, got); diff != "" {
		t.Error(diff)
	}
}
