// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// row is the result of one pair.
type row struct {
	pair
	passed bool
	date   string
	commit string
}

const (
	begin  = "<!-- Begin of the table that \"make e2e-matrix\" writes. -->\n"
	end    = "<!-- End of the table. -->"
	header = "| Kubernetes | Knative Serving | result | date | commit |\n|---|---|---|---|---|\n"
)

func (r row) String() string {
	result := "failed"
	if r.passed {
		result = "passed"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | `%s` |\n", r.kubernetes, r.knative, result, r.date, r.commit)
}

var rowPattern = regexp.MustCompile(`(?m)^\| (\S+) \| (\S+) \| (passed|failed) \| (\S+) \| .(\S+). \|$`)

// cut divides a page into what is before the table, its rows, and what is after it.
func cut(page string) (before string, rows []row, after string, err error) {
	before, rest, found := strings.Cut(page, begin)
	table, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", nil, "", errors.New("the page has no place for the table of versions")
	}
	for _, m := range rowPattern.FindAllStringSubmatch(table, -1) {
		rows = append(rows, row{pair{m[1], m[2]}, m[3] == "passed", m[4], m[5]})
	}
	return before + begin, rows, end + after, nil
}

// with returns the page with the result of a pair in its table, in the order of the pairs
// and without pairs that are no longer run.
func with(page string, result row) (string, error) {
	before, rows, after, err := cut(page)
	if err != nil {
		return "", err
	}
	results := map[pair]row{}
	for _, r := range append(rows, result) {
		results[r.pair] = r
	}
	table := []string{header}
	for _, p := range pairs() {
		if r, found := results[p]; found {
			table = append(table, r.String())
		}
	}
	return before + strings.Join(table, "") + after, nil
}

// record writes a result to the README.
func record(result row) error {
	content, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	page, err := with(string(content), result)
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	return os.WriteFile(readme, []byte(page), 0o644)
}
