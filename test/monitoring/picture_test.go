// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The picture of the real dashboard is well-formed XML that says in words what it shows, and
// the same each time, whatever the data are.
func TestDraw(t *testing.T) {
	d, err := ReadDashboard(root)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1e9, 0)
	all := Picture{Dashboard: d, Start: start, End: start.Add(4 * time.Minute)}
	for i := range d.Panels {
		var lines []Line
		for n := range i % 9 { // Also none, and more than there is place for.
			lines = append(lines, Line{strings.Repeat("<&>", n), []Point{{start, math.NaN()}, {start.Add(time.Minute), float64(n)}, {start.Add(2 * time.Minute), math.Inf(1)}, {start.Add(3 * time.Minute), -1}}})
		}
		all.Results = append(all.Results, lines)
	}
	var first, second strings.Builder
	for _, w := range []io.Writer{&first, &second} {
		if err := all.Draw(w); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("the same data give two pictures")
	}
	texts := map[string]string{}
	open := ""
	for decoder := xml.NewDecoder(strings.NewReader(first.String())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is not XML: %v\n%s", err, first.String())
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = token.Name.Local
		case xml.CharData:
			texts[open] += string(token)
		}
	}
	for _, panel := range d.Panels {
		if !strings.Contains(texts["text"], panel.Title) || panel.Type != "row" && !strings.Contains(texts["desc"], panel.Title) {
			t.Errorf("panel %q is not drawn or not described", panel.Title)
		}
	}
	if !strings.Contains(texts["title"], d.Title) || strings.Contains(first.String(), "NaN") || strings.Contains(first.String(), "Inf") {
		t.Error("the picture has no title, or values that cannot be drawn")
	}
}

func TestFormat(t *testing.T) {
	got := map[string]string{}
	want := map[string]string{"0.0123 s": "12.3 ms", "90 s": "1.5 min", "7200 dtdurations": "2 h", "180000 dtdurations": "2.08 d", "0.25 ops": "0.25/s", "3145728 bytes": "3 MiB", "1234 short": "1.23k", "123.4 short": "123", "7 short": "7", "NaN short": "none"}
	for name, value := range map[string]float64{"0.0123 s": 0.0123, "90 s": 90, "7200 dtdurations": 7200, "180000 dtdurations": 180000, "0.25 ops": 0.25, "3145728 bytes": 3145728, "1234 short": 1234, "123.4 short": 123.4, "7 short": 7, "NaN short": math.NaN()} {
		_, unit, _ := strings.Cut(name, " ")
		got[name] = format(value, unit)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want, +got):", diff)
	}
}
