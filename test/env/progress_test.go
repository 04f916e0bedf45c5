// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"testing"
	"time"
)

func TestProgressOfABuild(t *testing.T) {
	start := time.Now()
	c := &compilation{}
	write := func(text string) {
		t.Helper()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(after time.Duration, want string) {
		t.Helper()
		if got := c.at(start.Add(after)); got != want {
			t.Errorf("after %s: got %q, want %q", after, got, want)
		}
	}

	write("p/0\np/1\n")
	check(3*time.Second, "")

	// One of the packages that were out of date has been named already.
	var stale []string
	for i := 1; i < 40; i++ {
		stale = append(stale, fmt.Sprintf("p/%d", i))
	}
	c.expect(stale, start.Add(10*time.Second))
	check(10*time.Second, ", 1 of 39 packages")

	write("p/2\np/")
	check(20*time.Second, ", 2 of 39 packages")
	write("3\ngo: downloading example.com v1.0.0\np/4\np/5\n")
	check(30*time.Second, ", 5 of 39 packages, about 3 min left")

	for i := 6; i < 39; i++ {
		write(fmt.Sprintf("p/%d\n", i))
	}
	check(84*time.Second, ", 38 of 39 packages, about 10 s left")
	write("p/39\n")
	check(86*time.Second, ", 39 of 39 packages")
}

func TestNoProgressIfNothingIsCompiled(t *testing.T) {
	c := &compilation{}
	c.expect(nil, time.Now())
	if got := c.at(time.Now().Add(time.Minute)); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}
