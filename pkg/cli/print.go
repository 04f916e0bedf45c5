// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"

	"pullsecrets.dev/pkg/explain"
)

// documentVersion is the version of the schema of documents, see docs/cli.md. Fields are added
// without a new one.
const documentVersion = "pullsecrets.dev/cli/v1"

// document is what a command prints with -o json and -o yaml.
type document struct {
	Version string `json:"version"`
	Command string `json:"command"`
	// Result is the report, whose schema depends on the command.
	Result     any               `json:"result"`
	Findings   []explain.Finding `json:"findings"`
	NotChecked []explain.Unread  `json:"notChecked"`
	// quiet means that it is not worth to say that there are no findings.
	quiet bool
}

// print prints a document, or the text that the function prints, with the findings after it.
// The findings count for the exit code.
func (o *options) print(d *document, text func(*printer)) error {
	if worst := explain.Worst(d.Findings); worst != "" && (o.worst == "" || worst.AtLeast(o.worst)) {
		o.worst = worst
	}
	d.Version = documentVersion
	if d.Findings == nil {
		d.Findings = []explain.Finding{}
	}
	if d.NotChecked == nil {
		d.NotChecked = []explain.Unread{}
	}
	switch o.output {
	case "json":
		return o.write(inJSON(d))
	case "yaml":
		return o.write(inYAML(d))
	}
	p := &printer{out: o.Out, color: o.colored()}
	text(p)
	p.findings(d)
	return p.err
}

// colored reports whether the output is a terminal that takes colors.
func (o *options) colored() bool {
	if _, disabled := os.LookupEnv("NO_COLOR"); disabled || o.noColor {
		return false
	}
	return printers.IsTerminal(o.Out)
}

// printer prints lines and tables of text.
type printer struct {
	out   io.Writer
	color bool
	err   error
}

// line prints one line. What it prints is a text of others, but for what is painted.
func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format+"\n", plain(args)...); p.err == nil {
		p.err = err
	}
}

// table prints rows in columns. The first row has the titles.
func (p *printer) table(rows [][]string) {
	w := printers.GetNewTabWriter(p.out)
	for _, row := range rows {
		cells := make([]string, 0, len(row))
		for _, cell := range row {
			cells = append(cells, explain.Plain(cell))
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), " "))
	}
	if err := w.Flush(); p.err == nil {
		p.err = err
	}
}

// findings prints the findings of a document and what was not checked.
func (p *printer) findings(d *document) {
	for _, u := range d.NotChecked {
		p.line("")
		p.line("%s", u)
	}
	for _, f := range d.Findings {
		p.line("")
		p.line("%s %s: %s", p.paint(f.Severity), f.Code, f.Object)
		p.line("  %s", f.Message)
		remedy := f.Remedy
		if f.Command != "" {
			remedy += ": " + f.Command
		}
		if remedy != "" {
			p.line("  Fix: %s", remedy)
		}
		p.line("  See: %s", f.Docs)
	}
	if len(d.Findings) == 0 && !d.quiet {
		p.line("")
		p.line("No findings.")
	}
}

// colors are the ANSI codes of severities.
var colors = map[explain.Severity]string{explain.Error: "31", explain.Warning: "33", explain.Info: "36"}

func (p *printer) paint(s explain.Severity) painted {
	if !p.color {
		return painted(s)
	}
	return painted("\x1b[" + colors[s] + "m" + string(s) + "\x1b[0m")
}

// orNone returns a text for a cell.
func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func joined(texts []string) string { return strings.Join(texts, ",") }

// moment returns a time for a cell.
func moment(t *metav1.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// readiness returns the status of a condition in words.
func readiness(status string) string {
	switch status {
	case string(metav1.ConditionTrue):
		return "Ready"
	case string(metav1.ConditionFalse):
		return "not Ready"
	}
	return "not Ready yet"
}

// upperFirst returns a text that starts a line.
func upperFirst(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
