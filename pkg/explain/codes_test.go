// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each code has a section in docs/findings.md, each section is about a code, and both are in the
// same order, which is that of causes.
func TestFindingsAreDocumented(t *testing.T) {
	content, err := os.ReadFile("../../" + Page)
	if err != nil {
		t.Fatal(err)
	}
	var documented []Code
	for line := range strings.Lines(string(content)) {
		if code, found := strings.CutPrefix(line, "## "); found {
			documented = append(documented, Code(strings.TrimSpace(code)))
		}
	}
	if diff := cmp.Diff(Codes, documented); diff != "" {
		t.Errorf("sections of %s (-codes, +sections): %s", Page, diff)
	}
}

// Each constant of codes.go is among the codes.
func TestCodesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if declaration, ok := node.(*ast.GenDecl); ok && declaration.Tok == token.CONST {
			constants += len(declaration.Specs)
		}
		return true
	})
	distinct := slices.Compact(slices.Sorted(slices.Values(Codes)))
	if constants != len(Codes) || len(distinct) != len(Codes) {
		t.Errorf("%d constants, %d codes, %d of them distinct", constants, len(Codes), len(distinct))
	}
}
