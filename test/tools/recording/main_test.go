// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# A run\n\n```text\n=== 1 of 1: Title\nA remark.\n\n$ kubectl get <x>\nNAME\n  ok: there is one\n```\n\nMore text.\n"

// The picture is well-formed XML with every line of the transcript, and the same each time.
func TestRecording(t *testing.T) {
	var first, second strings.Builder
	for _, w := range []io.Writer{&first, &second} {
		if err := render(w, page); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("The same transcript gives two pictures")
	}
	var texts []string
	inText := false
	for decoder := xml.NewDecoder(strings.NewReader(first.String())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("The picture is not XML: %v\n%s", err, first.String())
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		case xml.EndElement:
			inText = false
		}
	}
	want := []string{"make demo", "=== 1 of 1: Title", "A remark.", "$ kubectl get <x>", "NAME", "  ok: there is one"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("The picture has other lines (-want, +got):\n%s", diff)
	}
}

func TestPageWithoutTranscript(t *testing.T) {
	if err := render(io.Discard, "# A page\n"); err == nil {
		t.Error("A page without a transcript is rendered, want an error")
	}
}

// A line appears no earlier than the one before it, and its kind decides its look.
func TestPlay(t *testing.T) {
	all, length := play(transcript(page))
	var classes []string
	for i, r := range all {
		classes = append(classes, r.kind.class)
		if i > 0 && r.at < all[i-1].at || r.at >= length {
			t.Errorf("Line %d appears after %s of %s", i, r.at, length)
		}
	}
	if diff := cmp.Diff([]string{"h", "r", "o", "c", "o", "k"}, classes); diff != "" {
		t.Errorf("The lines have other kinds (-want, +got):\n%s", diff)
	}
}

func TestWrap(t *testing.T) {
	word := strings.Repeat("x", columns)
	for name, test := range map[string]struct {
		line string
		want []string
	}{
		"short":         {"one two", []string{"one two"}},
		"at a space":    {"one " + word, []string{"one", "    " + word[:columns-4], "    " + word[columns-4:]}},
		"without space": {word + "y", []string{word, "    y"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, wrap(test.line)); diff != "" {
				t.Errorf("wrap (-want, +got):\n%s", diff)
			}
		})
	}
}
