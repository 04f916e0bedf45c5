// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command recording renders a transcript as an animated SVG: a terminal in which the
// lines appear at reading speed. It reads a page of documentation from standard input,
// whose first fenced block is the transcript, and writes the picture to standard output.
//
// The times come from the text and not from a clock, so the same transcript always gives
// the same picture.
package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// The size of the terminal: in characters, and in pixels.
const (
	columns, rows    = 98, 30
	lineHeight       = 19
	width            = 864
	margin, titleBar = 18, 34
)

// A kind of line decides how it looks (the CSS class), and how long a reader gets before
// the next line appears.
type kind struct {
	class string
	pause time.Duration
}

var (
	heading = kind{"h", 1500 * time.Millisecond}
	remark  = kind{"r", 700 * time.Millisecond}
	command = kind{"c", 1200 * time.Millisecond}
	checked = kind{"k", 400 * time.Millisecond}
	output  = kind{"o", 120 * time.Millisecond}
)

// atTheEnd is how long the last screen stays before the recording starts again.
const atTheEnd = 6 * time.Second

// A row is one line of the screen, and when it appears.
type row struct {
	text string
	kind kind
	at   time.Duration
}

func main() {
	page, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = render(os.Stdout, string(page))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "recording:", err)
		os.Exit(1)
	}
}

func render(w io.Writer, page string) error {
	all, length := play(transcript(page))
	if len(all) == 0 {
		return fmt.Errorf("the page has no fenced block with a transcript")
	}
	out := bufio.NewWriter(w)
	height := titleBar + rows*lineHeight + margin
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-label="A recording of make demo">
<style>
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 14px; white-space: pre; fill: #c9d1d9 }
.h { fill: #d2a8ff; font-weight: bold }
.r { fill: #8b949e }
.c { fill: #79c0ff; font-weight: bold }
.k { fill: #56d364 }
#scroll { animation: scroll %.2[3]fs step-end infinite }
#cover { animation: cover %.2[3]fs step-end infinite }
@media (prefers-reduced-motion: reduce) { #scroll, #cover { animation: none } }
`, width, height, length.Seconds())
	keyframes(out, "scroll", all, length, func(shown int) int { return min(0, rows-shown) })
	keyframes(out, "cover", all, length, func(shown int) int { return shown })
	fmt.Fprintf(out, `</style>
<rect width="%d" height="%d" rx="9" fill="#0d1117" stroke="#30363d"/>
<circle cx="20" cy="17" r="5.5" fill="#ff5f57"/><circle cx="39" cy="17" r="5.5" fill="#febc2e"/><circle cx="58" cy="17" r="5.5" fill="#28c840"/>
<text x="%d" y="22" class="r" text-anchor="middle">make demo</text>
<svg x="%d" y="%d" width="%d" height="%d">
`, width, height, width/2, margin, titleBar, width-2*margin, rows*lineHeight)
	// Without animation, the last screen is shown.
	fmt.Fprintf(out, "<g id=\"scroll\" transform=\"translate(0 %d)\">\n", min(0, rows-len(all))*lineHeight)
	for i, r := range all {
		if r.text == "" {
			continue
		}
		fmt.Fprintf(out, `<text y="%d" class="%s" xml:space="preserve">`, i*lineHeight+14, r.kind.class)
		if err := xml.EscapeText(out, []byte(r.text)); err != nil {
			return err
		}
		fmt.Fprintln(out, "</text>")
	}
	fmt.Fprintf(out, `<rect id="cover" width="%d" height="%d" fill="#0d1117" transform="translate(0 %d)"/>
</g>
</svg>
</svg>
`, width, rows*lineHeight, len(all)*lineHeight)
	return out.Flush()
}

// keyframes moves something down by a number of lines that depends on how many are shown.
func keyframes(w io.Writer, name string, all []row, length time.Duration, lines func(shown int) int) {
	fmt.Fprintf(w, "@keyframes %s {\n", name)
	last := -1
	for i, r := range all {
		moved := lines(i + 1)
		if i > 0 && moved == last {
			continue
		}
		last = moved
		fmt.Fprintf(w, "%.3f%% { transform: translateY(%dpx) }\n", 100*r.at.Seconds()/length.Seconds(), moved*lineHeight)
	}
	fmt.Fprintln(w, "}")
}

// transcript returns the lines of the first fenced block.
func transcript(page string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "```") {
			if inside {
				return lines
			}
			inside = true
			continue
		}
		if inside {
			lines = append(lines, line)
		}
	}
	return nil
}

// play returns the rows that the lines are on the screen, and how long it all takes.
func play(lines []string) ([]row, time.Duration) {
	var (
		all    []row
		at     time.Duration
		inText bool
	)
	for _, line := range lines {
		k := output
		switch {
		case strings.HasPrefix(line, "=== "):
			k, inText = heading, true
		case strings.HasPrefix(line, "$ "):
			k, inText = command, false
		case strings.HasPrefix(line, "  ok: "):
			k = checked
		case line == "":
			inText = false
		case inText:
			k = remark
		}
		for _, part := range wrap(line) {
			all = append(all, row{part, k, at})
		}
		at += k.pause
	}
	return all, at + atTheEnd
}

// wrap breaks a line that is too long for the screen, at spaces where there are any.
func wrap(line string) []string {
	var parts []string
	for {
		runes := []rune(line)
		if len(runes) <= columns {
			return append(parts, line)
		}
		end := strings.LastIndex(string(runes[:columns]), " ") + 1
		if strings.TrimSpace(line[:end]) == "" {
			end = len(string(runes[:columns]))
		}
		parts = append(parts, strings.TrimRight(line[:end], " "))
		line = "    " + line[end:]
	}
}
