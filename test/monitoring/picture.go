// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Picture is a dashboard with the results of its queries, to be drawn. Grafana would draw the
// same in another style.
type Picture struct {
	Dashboard Dashboard
	// Results are the series of each panel, by their legends.
	Results    [][]Line
	Start, End time.Time
}

// Line is a series with its legend.
type Line struct {
	Legend string
	Points []Point
}

// Take evaluates all queries of a dashboard from start to end. rate is the window of rates.
// names replaces names in legends.
func Take(ctx context.Context, p *Prometheus, d Dashboard, start, end time.Time, rate time.Duration, names *strings.Replacer) (Picture, error) {
	all := Picture{Dashboard: d, Start: start, End: end}
	for _, panel := range d.Panels {
		var lines []Line
		for _, target := range panel.Targets {
			found, err := p.QueryRange(ctx, target.Query(rate), start, end, max(Interval, end.Sub(start)/300))
			if err != nil {
				return Picture{}, err
			}
			for _, series := range found {
				lines = append(lines, Line{names.Replace(legend(target.LegendFormat, series.Labels)), series.Points})
			}
		}
		slices.SortFunc(lines, func(a, b Line) int { return strings.Compare(a.Legend, b.Legend) })
		all.Results = append(all.Results, lines)
	}
	return all, nil
}

var placeholder = regexp.MustCompile(`\{\{\s*([a-zA-Z0-9_]+)\s*\}\}`)

func legend(format string, labels map[string]string) string {
	return placeholder.ReplaceAllStringFunc(format, func(found string) string {
		return labels[placeholder.FindStringSubmatch(found)[1]]
	})
}

// The size of a unit of Grafana's grid, and of the parts of a panel, in pixels.
const (
	unitWidth, unitHeight = 42, 22
	gap                   = 8
	titleHeight           = 34
	axisWidth             = 62
	legendHeight          = 36
)

// styles follow the reader's preference for light or dark. Lines differ by colour and by
// pattern, so colour is not needed to tell them apart.
const styles = `
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328 }
.back { fill: #ffffff } .panel { fill: #f6f8fa; stroke: #d0d7de } .grid { stroke: #d0d7de }
.title { font-weight: 600 } .row { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.value { font-size: 30px; font-weight: 600 } .line { fill: none; stroke-width: 2 }
.c0 { stroke: #0969da } .c1 { stroke: #bc4c00 } .c2 { stroke: #1a7f37 } .c3 { stroke: #8250df } .c4 { stroke: #cf222e } .c5 { stroke: #9a6700 }
.c1 { stroke-dasharray: 7 3 } .c2 { stroke-dasharray: 2 3 } .c3 { stroke-dasharray: 9 3 2 3 } .c4 { stroke-dasharray: 4 2 } .c5 { stroke-dasharray: 1 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .back { fill: #0d1117 } .panel { fill: #161b22; stroke: #30363d } .grid { stroke: #30363d } .small { fill: #9198a1 }
.c0 { stroke: #58a6ff } .c1 { stroke: #f0883e } .c2 { stroke: #3fb950 } .c3 { stroke: #bc8cff } .c4 { stroke: #ff7b72 } .c5 { stroke: #d29922 }
}
`

const colours = 6

// pen writes SVG and escapes text.
type pen struct{ *bufio.Writer }

func (p pen) text(x, y int, class, anchor, text string) {
	fmt.Fprintf(p, `<text x="%d" y="%d" class="%s" text-anchor="%s">`, x, y, class, anchor)
	p.escape(text)
	fmt.Fprintln(p, "</text>")
}

func (p pen) escape(text string) { _ = xml.EscapeText(p, []byte(text)) } // Flush reports errors.

// Draw writes the picture as SVG. The same picture gives the same text.
func (all Picture) Draw(w io.Writer) error {
	p := pen{bufio.NewWriter(w)}
	height := 0
	for _, panel := range all.Dashboard.Panels {
		height = max(height, (panel.GridPos.Y+panel.GridPos.H)*unitHeight)
	}
	width := 24*unitWidth + gap
	height += gap
	fmt.Fprintf(p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-labelledby="title desc">`+"\n", width, height)
	fmt.Fprint(p, `<title id="title">The dashboard `)
	p.escape(all.Dashboard.Title)
	fmt.Fprint(p, `</title>`+"\n"+`<desc id="desc">`)
	p.escape(all.describe())
	fmt.Fprintf(p, "</desc>\n<style>%s</style>\n<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", styles, width, height)
	for i, panel := range all.Dashboard.Panels {
		x, y := panel.GridPos.X*unitWidth+gap, panel.GridPos.Y*unitHeight+gap
		w, h := panel.GridPos.W*unitWidth-gap, panel.GridPos.H*unitHeight-gap
		if panel.Type == "row" {
			p.text(x, y+h, "row", "start", panel.Title)
			continue
		}
		fmt.Fprintf(p, `<rect class="panel" x="%d" y="%d" width="%d" height="%d" rx="4"/>`+"\n", x, y, w, h)
		p.text(x+10, y+18, "title", "start", panel.Title)
		switch lines := all.Results[i]; {
		case len(lines) == 0:
			p.text(x+w/2, y+h/2+10, "small", "middle", "none")
		case panel.Type == "stat":
			p.text(x+w/2, y+h/2+22, "value", "middle", format(last(lines[0]), panel.FieldConfig.Defaults.Unit))
		default:
			all.plot(p, box{x + axisWidth, y + titleHeight, w - axisWidth - 12, h - titleHeight - legendHeight - 16}, lines, panel.FieldConfig.Defaults.Unit)
		}
	}
	fmt.Fprintln(p, "</svg>")
	return p.Flush()
}

// describe says in words what the picture shows at its end.
func (all Picture) describe() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, with the data of %s.", strings.TrimSuffix(all.Dashboard.Description, "."), all.End.Sub(all.Start).Round(time.Minute))
	for i, panel := range all.Dashboard.Panels {
		if panel.Type == "row" {
			continue
		}
		fmt.Fprintf(&text, " %s: ", panel.Title)
		var values []string
		for _, line := range all.Results[i] {
			values = append(values, strings.TrimSpace(line.Legend+" "+format(last(line), panel.FieldConfig.Defaults.Unit)))
		}
		if len(values) == 0 {
			values = []string{"none"}
		}
		text.WriteString(strings.Join(values, ", ") + ".")
	}
	return text.String()
}

func last(line Line) float64 {
	for _, point := range slices.Backward(line.Points) {
		if !math.IsNaN(point.Value) {
			return point.Value
		}
	}
	return math.NaN()
}

type box struct{ x, y, w, h int }

// plot draws lines over time, with the scale, and their legends below.
func (all Picture) plot(p pen, at box, lines []Line, unit string) {
	top := 0.0
	for _, line := range lines {
		for _, point := range line.Points {
			if !math.IsNaN(point.Value) && !math.IsInf(point.Value, 0) {
				top = max(top, point.Value)
			}
		}
	}
	if top == 0 {
		top = 1
	}
	for i := range 3 {
		y := at.y + at.h*i/2
		fmt.Fprintf(p, `<line class="grid" x1="%d" x2="%d" y1="%d" y2="%d"/>`+"\n", at.x, at.x+at.w, y, y)
		p.text(at.x-6, y+4, "small", "end", format(top*float64(2-i)/2, unit))
	}
	length := all.End.Sub(all.Start)
	p.text(at.x, at.y+at.h+14, "small", "start", "0")
	p.text(at.x+at.w, at.y+at.h+14, "small", "end", length.Round(time.Second).String())
	x, y := at.x-axisWidth+10, at.y+at.h+30
	for i, line := range lines {
		class := fmt.Sprintf("line c%d", i%colours)
		var path strings.Builder
		var before time.Time
		for _, point := range line.Points {
			if math.IsNaN(point.Value) || math.IsInf(point.Value, 0) {
				continue
			}
			step := "L"
			if before.IsZero() || point.Time.Sub(before) > max(3*Interval, length/60) {
				step = "M" // Data are missing in between.
			}
			before = point.Time
			fmt.Fprintf(&path, "%s%.1f %.1f", step, float64(at.x)+float64(at.w)*point.Time.Sub(all.Start).Seconds()/length.Seconds(),
				float64(at.y)+float64(at.h)*(1-max(0, point.Value)/top))
		}
		fmt.Fprintf(p, `<path class="%s" d="%s"/>`+"\n", class, path.String())
		// About six pixels for each character.
		entry := 26 + 6*len([]rune(line.Legend)) + 12
		if x+entry > at.x+at.w && x > at.x {
			x, y = at.x-axisWidth+10, y+16
		}
		if y > at.y+at.h+30+16 {
			continue // There is place for two lines of legends.
		}
		fmt.Fprintf(p, `<line class="%s" x1="%d" x2="%d" y1="%d" y2="%d"/>`+"\n", class, x, x+20, y-4, y-4)
		p.text(x+24, y, "small", "start", line.Legend)
		x += entry
	}
}

// format writes a value with a unit of Grafana.
func format(value float64, unit string) string {
	switch {
	case math.IsNaN(value):
		return "none"
	case unit == "s" && value < 1:
		return short(value*1000) + " ms"
	case unit == "s" || unit == "dtdurations":
		return duration(value)
	case unit == "ops":
		return short(value) + "/s"
	case unit == "bytes":
		return short(value/(1<<20)) + " MiB"
	}
	return short(value)
}

func short(value float64) string {
	switch {
	case value >= 1000:
		return fmt.Sprintf("%.3gk", value/1000)
	case value >= 100 || value == math.Trunc(value):
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

func duration(seconds float64) string {
	for _, unit := range []struct {
		length float64
		name   string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}} {
		if seconds >= unit.length {
			return fmt.Sprintf("%.3g %s", seconds/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%.3g s", seconds)
}
