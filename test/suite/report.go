// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// reportEvery is how often the progress is reported.
	reportEvery = 15 * time.Second
	// usual is how long a test takes of which nothing is known.
	usual = 10 * time.Second
	// slowest is the number of jobs that the end of the report lists.
	slowest = 5
	// reasons is the number of lines of a failed test that the end of the report repeats.
	reasons = 30
	// didNotEnd begins the reason of a test without a result.
	didNotEnd = "it did not end: "
	// notRun begins the reason of a test that was skipped by env.Need.
	notRun = "NOT RUN: "
)

// printed matches the first line of what a test has printed, with the file.
var printed = regexp.MustCompile(`^\s*(\w+\.go):\d+: `)

// said returns what a test printed itself, unlike the Events and logs that follow it, and why
// its process ended.
func said(output string) (lines []string) {
	own := false
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		first := printed.FindStringSubmatch(line)
		switch {
		case first != nil:
			own = strings.HasSuffix(first[1], "_test.go")
		case strings.HasPrefix(strings.TrimSpace(line), "--- "), !strings.HasPrefix(line, " "):
			own = false
		}
		if own || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, didNotEnd) {
			lines = append(lines, line)
		}
	}
	return lines
}

// event is one line of "go tool test2json".
type event struct {
	Action  string
	Test    string
	Output  string
	Elapsed float64 // in seconds
}

// report collects the results of all jobs. Its methods can be called concurrently.
type report struct {
	out      io.Writer
	file     string // of the durations
	clusters int
	started  time.Time

	mu sync.Mutex
	// expected are the durations of an earlier run, and took those of this one, by job.
	expected, took map[string]time.Duration
	pending        []*job // not begun
	running        map[*job]time.Time
	tests          int
	passed, failed int
	missing        []string // not run
	outputs        map[string]*strings.Builder
	ended          map[string]bool // top-level tests
	failures       []string
	reasons        []string // what failed tests have said, for the end
}

func newReport(out io.Writer, jobs []*job, file string, clusters int) *report {
	r := &report{
		out: out, file: file, clusters: clusters, started: time.Now(),
		expected: map[string]time.Duration{}, took: map[string]time.Duration{},
		pending: slices.Clone(jobs), running: map[*job]time.Time{},
		outputs: map[string]*strings.Builder{}, ended: map[string]bool{},
	}
	for _, j := range jobs {
		r.tests += len(j.tests)
	}
	// Without the file, the order and the estimate are only worse.
	if content, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(content, &r.expected)
	}
	return r
}

func (r *report) total() int { return r.tests }

// longestFirst sorts the jobs so that the clusters finish at about the same time. Without
// durations of an earlier run, a job with more tests is longer.
func (r *report) longestFirst(jobs []*job) []*job {
	expected := func(j *job) time.Duration {
		if r.expected[j.name] > 0 {
			return r.expected[j.name]
		}
		return time.Duration(len(j.tests)) * usual
	}
	return slices.SortedStableFunc(slices.Values(jobs), func(a, b *job) int { return cmp.Compare(expected(b), expected(a)) })
}

func (r *report) begin(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = slices.DeleteFunc(r.pending, func(p *job) bool { return p == j })
	r.running[j] = time.Now()
}

// read reads the events of a job until they end.
func (r *report) read(j *job, events io.Reader) error {
	decoder := json.NewDecoder(events)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r.add(j, e)
	}
}

func (r *report) add(j *job, e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	top, _, isSubtest := strings.Cut(e.Test, "/")
	key := j.path + " " + top
	switch e.Action {
	case "output":
		if r.outputs[key] == nil {
			r.outputs[key] = &strings.Builder{}
		}
		r.outputs[key].WriteString(e.Output)
		if _, reason, found := strings.Cut(e.Output, notRun); found {
			r.missing = append(r.missing, strings.TrimSpace(reason))
		}
	case "pass", "fail", "skip":
		if top == "" || isSubtest {
			return
		}
		r.ended[key] = true
		if e.Action == "fail" {
			r.fail(top, r.outputs[key].String())
		}
		if e.Action == "pass" {
			r.passed++
		}
		delete(r.outputs, key)
	}
}

// fail reports a failure at once. The caller holds mu.
func (r *report) fail(what, output string) {
	r.failed++
	r.failures = append(r.failures, what)
	lines := said(output)
	r.reasons = append(append(r.reasons, "FAILED: "+what), lines[max(0, len(lines)-reasons):]...)
	fmt.Fprintf(r.out, "\nFAILED: %s\n%s\n", what, strings.TrimSpace(output))
}

// end records the end of a job. A process that failed without a failed test has crashed or
// timed out.
func (r *report) end(j *job, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, j)
	r.took[j.name] = took
	for _, name := range j.tests {
		key := j.path + " " + name
		if !r.ended[key] {
			var output strings.Builder
			for _, of := range []string{key, j.path + " "} {
				if r.outputs[of] != nil {
					output.WriteString(r.outputs[of].String())
				}
			}
			r.ended[key] = true
			fmt.Fprintf(&output, "\n%s%v", didNotEnd, err)
			r.fail(name, output.String())
		}
	}
	if err != nil && !slices.ContainsFunc(j.tests, func(name string) bool { return slices.Contains(r.failures, name) }) {
		r.fail(j.name, fmt.Sprintf("all its tests passed, but the process failed: %v", err))
	}
	delete(r.outputs, j.path+" ")
}

// tick reports the progress regularly until it is stopped.
func (r *report) tick(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(reportEvery):
				fmt.Fprintln(r.out, r.progress(time.Now()))
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// progress describes the progress at a time.
func (r *report) progress(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%d of %d tests, %s", len(r.ended), r.tests, now.Sub(r.started).Round(time.Second))
	if r.failed > 0 {
		text += fmt.Sprintf(", %d FAILED", r.failed)
	}
	if left := r.left(now); left > 0 {
		text += fmt.Sprintf(", about %d min left", int((left+time.Minute-1)/time.Minute))
	}
	var names []string
	for j := range r.running {
		names = append(names, j.name)
	}
	slices.Sort(names)
	return text + ": " + strings.Join(names, ", ")
}

// left estimates how long the remaining jobs take: as long as in an earlier run, shared by
// the clusters, or else as long for each test as so far.
func (r *report) left(now time.Time) time.Duration {
	var work, longest time.Duration
	count := func(j *job, spent time.Duration) {
		left := max(0, r.expected[j.name]-spent)
		work, longest = work+left, max(longest, left)
	}
	known := true
	for _, j := range r.pending {
		count(j, 0)
		known = known && r.expected[j.name] > 0
	}
	for j, since := range r.running {
		count(j, now.Sub(since))
		known = known && r.expected[j.name] > 0
	}
	if known {
		return max(work/time.Duration(r.clusters), longest)
	}
	if len(r.ended) == 0 {
		return 0
	}
	return now.Sub(r.started) * time.Duration(r.tests-len(r.ended)) / time.Duration(len(r.ended))
}

// save stores the durations for the next run.
func (r *report) save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.expected, r.took)
	content, err := json.MarshalIndent(r.expected, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.file, content, 0o644)
}

// finish prints the summary, and returns an error if a test failed or none was run.
func (r *report) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(r.took), func(a, b string) int { return cmp.Compare(r.took[b], r.took[a]) })
	fmt.Fprintln(r.out, "\nThe longest:")
	for _, name := range names[:min(slowest, len(names))] {
		fmt.Fprintf(r.out, "  %6s  %s\n", r.took[name].Round(time.Second), name)
	}
	if len(r.missing) > 0 {
		slices.Sort(r.missing)
		fmt.Fprintf(r.out, "NOT RUN on this cluster: %d tests\n  %s\n", len(r.missing), strings.Join(r.missing, "\n  "))
	}
	for _, line := range r.reasons {
		fmt.Fprintln(r.out, line)
	}
	fmt.Fprintf(r.out, "%d tests passed, %d failed, %d were not run, in %s\n",
		r.passed, r.failed, len(r.missing), time.Since(r.started).Round(time.Second))
	if r.failed > 0 {
		return fmt.Errorf("failed: %s", strings.Join(r.failures, ", "))
	}
	if r.passed == 0 {
		return errors.New("no test was run")
	}
	return nil
}
