// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// progressAfter is when a build is reported first. A build that compiles nothing is
	// faster.
	progressAfter = 3 * time.Second
	// progressEvery is how often a build is reported.
	progressEvery = 10 * time.Second
)

// compilation counts the packages of a build: those that the go command had to compile
// when it was asked, and which of them "go build -v" has named since.
type compilation struct {
	mu      sync.Mutex
	named   map[string]bool
	stale   map[string]bool // nil until known
	partial string          // the begin of a line
	since   time.Time       // when stale was known
	before  int             // how many of stale had been named by then
}

// Write takes what "go build -v" prints: the import path of each package when its
// compilation begins, one on each line.
func (c *compilation) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(c.partial+string(text), "\n")
	c.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		if c.named == nil {
			c.named = make(map[string]bool)
		}
		c.named[line] = true
	}
	return len(text), nil
}

// expect sets the packages that were out of date at a time.
func (c *compilation) expect(stale []string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = make(map[string]bool, len(stale))
	for _, name := range stale {
		c.stale[name] = true
	}
	c.since, c.before = now, c.done()
}

// done is the number of stale packages that were named.
func (c *compilation) done() int {
	n := 0
	for name := range c.named {
		if c.stale[name] {
			n++
		}
	}
	return n
}

// at describes the progress at a time, with an estimate once a tenth of the packages
// shows how fast they compile. It is empty until the number of packages is known.
func (c *compilation) at(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := len(c.stale)
	if total == 0 {
		return ""
	}
	done := c.done()
	text := fmt.Sprintf(", %d of %d packages", done, total)
	compiled := done - c.before
	if compiled*10 < total-c.before || done >= total {
		return text
	}
	left := now.Sub(c.since) * time.Duration(total-done) / time.Duration(compiled)
	return text + ", about " + roughly(left) + " left"
}

// roughly rounds a duration up to what a reader needs to know of it.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", (int(d.Seconds())/10+1)*10)
	}
	return fmt.Sprintf("%d min", int((d+time.Minute-1)/time.Minute))
}

// compile runs "go build" and reports its progress, because a first build takes minutes.
func (b builder) compile(ctx context.Context, p program, flags []string, output string) error {
	c := &compilation{}
	ctx, cancel := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	defer reporter.Wait()
	defer cancel() // Before the wait.
	start := time.Now()
	reporter.Go(func() {
		for wait := progressAfter; ; wait = progressEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			now := time.Now()
			b.progress("building %s ... %d s%s", p.title, int(now.Sub(start).Seconds()), c.at(now))
			if wait == progressAfter {
				reporter.Go(func() { b.expectStale(ctx, p, flags, c) })
			}
		}
	})
	args := append([]string{"build", "-v", "-o", output}, flags...)
	_, err := b.runGo(ctx, p.module, c, append(args, p.pkg)...)
	return err
}

// expectStale tells the compilation which packages are out of date. Without them there is
// only less to report, so errors are left to the build.
func (b builder) expectStale(ctx context.Context, p program, flags []string, c *compilation) {
	args := append([]string{"list", "-e", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags...)
	out, err := b.runGo(ctx, p.module, io.Discard, append(args, p.pkg)...)
	if err == nil {
		c.expect(strings.Fields(out), time.Now())
	}
}
