// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pullsecrets.dev/docs"
)

// tools are the headings of docs/migration.md by the values of --from.
var tools = map[string]string{
	"hand":                    "From Secrets made by hand",
	"registry-creds":          "From registry-creds",
	"imagepullsecret-patcher": "From imagepullsecret-patcher",
	"reflector":               "From reflector",
	"kyverno":                 "From Kyverno",
}

// toolNames are the values of --from.
var toolNames = []string{"hand", "imagepullsecret-patcher", "kyverno", "reflector", "registry-creds"}

func newMigrate(o *options) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "migrate --from TOOL",
		Short: "Print the steps of a migration from another tool as a script",
		Long: `Prints the documented steps of a migration (docs/migration.md) as a shell script, with the
explanations as comments. Review it, set its variables, and run it step by step. This
command sends no request.`,
		Example: "  kn pullsecrets migrate --from registry-creds > migrate.sh",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.output != "" {
				return errors.New("migrate prints a shell script; --output does not apply to it")
			}
			heading, known := tools[from]
			if !known {
				return fmt.Errorf("unknown tool %q for --from; expected one of %s", from, strings.Join(toolNames, ", "))
			}
			_, err := fmt.Fprint(o.Out, migration(docs.Migration, heading))
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "tool to move from: "+strings.Join(toolNames, ", "))
	_ = c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(toolNames, cobra.ShellCompDirectiveNoFileComp)) // The flag exists.
	return c
}

const scriptHead = `#!/bin/sh
# Migration of pull secrets, from docs/migration.md. Review it, and set the variables.
set -eu

`

// fourSteps is where the section of a tool refers to the steps that all share.
const fourSteps = "Do [the four steps](#the-four-steps)"

// migration returns the script for the tool under a heading of the page.
func migration(page, heading string) string {
	own := section(page, "## "+heading)
	before, after, _ := strings.Cut(own, fourSteps)
	variables, stop := firstBlock(before)
	var script strings.Builder
	script.WriteString(scriptHead)
	for _, part := range []string{
		variables, section(page, "## Before you start"), stop, section(page, "## The four steps"), upperFirst(strings.TrimLeft(after, "., ")),
	} {
		script.WriteString(scripted(strings.TrimSpace(part) + "\n"))
	}
	return script.String()
}

// section returns the text under a heading, up to the next heading.
func section(page, heading string) string {
	_, text, _ := strings.Cut(page, "\n"+heading+"\n")
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			break
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// firstBlock splits a text after its first block of commands, which sets the variables.
func firstBlock(text string) (first, rest string) {
	const fence = "```\n"
	start := strings.Index(text, "```sh\n")
	if start < 0 {
		return "", text
	}
	end := strings.Index(text[start+len(fence):], fence)
	if end < 0 {
		return text, ""
	}
	end += start + 2*len(fence)
	return text[:end], text[end:]
}

// scripted returns a text of Markdown as a script: blocks of sh as they are, and all else as
// comments.
func scripted(text string) string {
	var script strings.Builder
	indent, inside, command := "", false, false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			if inside = !inside; inside {
				indent, command = line[:strings.Index(line, "`")], trimmed == "```sh"
			}
			continue
		case inside && command:
			script.WriteString(strings.TrimPrefix(line, indent))
		case trimmed == "":
			script.WriteString("\n")
		case slices.Contains([]string{"|", "["}, trimmed[:1]) && (strings.HasPrefix(trimmed, "|---") || strings.Contains(trimmed, "]: ")):
		default:
			script.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	script.WriteString("\n")
	return script.String()
}
