// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"fmt"
	"strings"
	"testing"

	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// BenchmarkOf measures a template of a usual size, a large one, and one whose tenant makes it
// as expensive as the bounds allow.
func BenchmarkOf(b *testing.B) {
	templates := map[string]func() (Template, secrets){
		"usual":   func() (Template, secrets) { return sized(2, 3, 2) },
		"large":   func() (Template, secrets) { return sized(10, 32, 10) },
		"hostile": hostile,
		// The names differ in a number alone, so that ratios.awk prints a ratio.
		"capitals=0":    func() (Template, secrets) { return short(0) },
		"capitals=1024": func() (Template, secrets) { return short(maxKeys) },
	}
	for _, size := range []string{"usual", "large", "hostile", "capitals=0", "capitals=1024"} {
		template, known := templates[size]()
		b.Run(size, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Of(template, known, someSettings, now)
			}
		})
	}
}

// sized returns a template with images of which half are covered, and Secrets with entries.
func sized(images, count, entries int) (t Template, known secrets) {
	known = secrets{}
	for i := range images {
		t.Images = append(t.Images, Image{Container, fmt.Sprint(i), fmt.Sprintf("r0-%d.example.com/acme/app-%d:v1", i%2*entries, i)})
	}
	for i := range count {
		var registries []string
		for j := range entries {
			registries = append(registries, fmt.Sprintf("r%d-%d.example.com/acme", i, j))
		}
		name := fmt.Sprintf("secret-%d", i)
		known[name] = Secret{State: Known, Facts: dockerconfig.FactsOf(registries)}
		t.PullSecrets = append(t.PullSecrets, name)
	}
	t.ServiceAccount = []string{"secret-0"}
	return t, known
}

// hostile returns a template and keys that are compared for as long as possible.
func hostile() (t Template, known secrets) {
	label := strings.Repeat("a", 63)
	for i := range grant.MaxImages {
		t.Images = append(t.Images, Image{InitContainer, fmt.Sprint(i), fmt.Sprintf("%s.io/app-%d", label, i)})
	}
	var registries []string
	for i := range dockerconfig.MaxSize/66 - 1 {
		registries = append(registries, fmt.Sprintf("*%s%03d.io", strings.Repeat("a", 58), i))
	}
	t.PullSecrets, known = []string{"hostile"}, secrets{"hostile": {State: Known, Facts: dockerconfig.FactsOf(registries)}}
	return t, known
}

// short returns a template and as many short keys as are considered. Those with a capital letter
// look misspelled.
func short(capitals int) (t Template, known secrets) {
	known = secrets{}
	for i := range grant.MaxImages {
		t.Images = append(t.Images, Image{InitContainer, fmt.Sprint(i), fmt.Sprintf("r%d.io/app", i)})
	}
	const per = dockerconfig.MaxEntries
	for i := range maxKeys / per {
		var registries []string
		for j := range per {
			key := fmt.Sprintf("%03x", i*per+j)
			if i*per+j < capitals {
				key = "Z" + key
			} else {
				key = "z" + key
			}
			registries = append(registries, key)
		}
		name := fmt.Sprintf("secret-%d", i)
		known[name] = Secret{State: Known, Facts: dockerconfig.FactsOf(registries)}
		t.PullSecrets = append(t.PullSecrets, name)
	}
	return t, known
}
