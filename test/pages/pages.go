// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package pages parses the documentation, so that tests can run its commands.
package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Section returns the text below a heading of a page, up to the next heading of any
// level. folder is the directory of the documentation.
func Section(folder, page, heading string) (string, error) {
	content, err := os.ReadFile(filepath.Join(folder, page))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	inside, fenced := false, false
	for line := range strings.Lines(string(content)) {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if title := strings.TrimSpace(strings.TrimLeft(line, "#")); strings.HasPrefix(line, "#") && !fenced {
			inside = title == heading
			continue
		}
		fenced = fenced != fence
		if inside {
			text.WriteString(line)
		}
	}
	if text.Len() == 0 {
		return "", fmt.Errorf("docs/%s has no text under heading %q: if it was renamed, rename it in the test", page, heading)
	}
	return text.String(), nil
}

// Headings returns the headings of a page.
func Headings(folder, page string) ([]string, error) {
	content, err := os.ReadFile(filepath.Join(folder, page))
	if err != nil {
		return nil, err
	}
	var found []string
	fenced := false
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		if level := strings.TrimLeft(line, "#"); !fenced && level != line && strings.HasPrefix(level, " ") {
			found = append(found, strings.TrimSpace(level))
		}
	}
	return found, nil
}

// Blocks returns the fenced code blocks of a language, without the indentation of their
// fences.
func Blocks(text, language string) []string {
	var (
		found  []string
		block  *strings.Builder
		indent string
	)
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case block == nil && trimmed == "```"+language:
			block, indent = &strings.Builder{}, line[:strings.Index(line, "`")]
		case block != nil && trimmed == "```":
			found, block = append(found, block.String()), nil
		case block != nil:
			block.WriteString(strings.TrimPrefix(line, indent))
		}
	}
	return found
}
