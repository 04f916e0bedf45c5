// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf16"

	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/explain"
)

// painted is a text with colors, which is printed as it is.
type painted string

// plain returns the arguments of a line with the texts of others on one line and without what a
// terminal could take for a command.
func plain(args []any) []any {
	safe := make([]any, 0, len(args))
	for _, arg := range args {
		switch arg.(type) {
		case painted, int, int32, int64:
			safe = append(safe, arg)
		default:
			safe = append(safe, explain.Plain(fmt.Sprint(arg)))
		}
	}
	return safe
}

// plainError returns the text of an error, which may have more than one line.
func plainError(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(explain.Plain(line), " ")
	}
	return strings.Join(lines, "\n")
}

// write writes a document.
func (o *options) write(raw []byte, err error) error {
	if err == nil {
		_, err = o.Out.Write(raw)
	}
	return err
}

// inJSON returns a document in JSON, with each character escaped that is not printable. The
// encoder leaves those above 0x7e.
func inJSON(d *document) ([]byte, error) {
	return escaped(d, func(r rune) string {
		high, low := utf16.EncodeRune(r)
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	})
}

// inYAML returns a document in YAML. If that has characters that are not printable, it is written
// like JSON, which is YAML too, because a plain scalar has no escapes. The parser takes no control
// characters either.
func inYAML(d *document) ([]byte, error) {
	flow, err := escaped(d, func(r rune) string { return fmt.Sprintf(`\U%08x`, r) })
	if err != nil {
		return nil, err
	}
	raw, err := yaml.JSONToYAML(flow)
	if err == nil && bytes.ContainsFunc(raw, unprintable) {
		return flow, nil
	}
	return raw, err
}

// unprintable reports whether a character of a document must be escaped.
func unprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// escaped returns a document in JSON, with long for what does not fit in four digits. All that is
// not ASCII is in strings.
func escaped(d *document, long func(rune) string) ([]byte, error) {
	var raw, safe bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return nil, err
	}
	for _, r := range raw.String() {
		switch {
		case !unprintable(r):
			safe.WriteRune(r)
		case r <= math.MaxUint16:
			fmt.Fprintf(&safe, `\u%04x`, r)
		default:
			safe.WriteString(long(r))
		}
	}
	return safe.Bytes(), nil
}
