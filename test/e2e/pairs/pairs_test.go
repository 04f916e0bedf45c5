// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pairs

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestGenerateIsPure(t *testing.T) {
	for seed := range uint64(300) {
		one, other := Generate(rand.New(rand.NewPCG(seed, 0)), 6), Generate(rand.New(rand.NewPCG(seed, 0)), 6)
		if text(one) != text(other) {
			t.Fatalf("Generate(%d) = %s and %s", seed, text(one), text(other))
		}
	}
}

func text(c Case) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// A case shrinks to the part that fails, and the original stays unchanged.
func TestShrink(t *testing.T) {
	c := Generate(rand.New(rand.NewPCG(3, 0)), 6)
	c.Steps[0].Manifest["spec"].(map[string]any)["odd"] = []any{"a", map[string]any{"b": "c"}}
	before := text(c)
	small := Shrink(c, func(c Case) bool { return strings.Contains(text(c), `{"b":"c"}`) })
	if text(c) != before {
		t.Error("Shrink has changed its input")
	}
	if len(small.Steps) != 1 || text(Case{Steps: []Step{{Manifest: small.Steps[0].Manifest}}}) != `{"due":"","steps":[{"writer":"","user":"","manifest":{"spec":{"odd":[{"b":"c"}]}}}]}` {
		t.Errorf("Shrink() = %s", text(small))
	}
}
