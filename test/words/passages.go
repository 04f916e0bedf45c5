// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package words

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Passage is a text that starts in a line of a file.
type Passage struct {
	Line int
	Text string
}

// kinds are the names and extensions of files that are checked.
var kinds = map[string]bool{
	".go": true, ".md": true, ".yaml": true, ".yml": true, ".sh": true, ".awk": true, ".mod": true, ".txt": true,
	"Makefile": true, "CODEOWNERS": true, "run": true, ".gitignore": true,
}

// Checked reports whether files of this name are checked.
func Checked(name string) bool { return kinds[path.Ext(name)] || kinds[path.Base(name)] }

var generated = regexp.MustCompile(`(?m)^# Generated .*DO NOT EDIT\.$`)

// Passages returns the text of a file, none of a generated one.
func Passages(name, content string) ([]Passage, error) {
	if path.Ext(name) == ".go" {
		return ofGo(name, content)
	}
	if generated.MatchString(content) {
		return nil, nil
	}
	if path.Base(name) == "CHANGELOG.md" {
		content = unreleased(content)
	}
	return []Passage{{1, withoutMarkers(content)}}, nil
}

// unreleased returns a changelog without the past releases.
func unreleased(content string) string {
	const heading = "\n## "
	start := strings.Index(content, heading)
	if start < 0 {
		return content
	}
	if end := strings.Index(content[start+len(heading):], heading); end >= 0 {
		return content[:start+len(heading)+end]
	}
	return content
}

// marker is what a line of a comment, a quotation or a list begins with.
var marker = regexp.MustCompile(`(?m)^[ \t]*(#+|//+|>+|\*)[ \t]`)

// withoutMarkers removes the markers, so that a term is found across lines.
func withoutMarkers(text string) string { return marker.ReplaceAllString(text, "") }

// ofGo returns the comments, strings and names of a Go file.
func ofGo(name, content string) (passages []Passage, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	add := func(node ast.Node, text string) {
		passages = append(passages, Passage{files.Position(node.Pos()).Line, text})
	}
	for _, group := range file.Comments {
		var text strings.Builder
		for _, comment := range group.List {
			text.WriteString(comment.Text + "\n")
		}
		add(group, withoutMarkers(text.String()))
	}
	named := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
				add(node, text)
			}
		case *ast.Ident:
			if !named[node.Name] { // Report each name once.
				named[node.Name] = true
				add(node, split(node.Name))
			}
		}
		return true
	})
	return passages, nil
}

var hump = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// split returns the words of a name.
func split(name string) string {
	return hump.ReplaceAllString(strings.ReplaceAll(name, "_", " "), "$1 $2")
}
