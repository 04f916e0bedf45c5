// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProcessFile(t *testing.T) {
	for name, test := range map[string]struct {
		args         []string
		file, inside string
	}{
		"create":            {[]string{"--root", "/r", "create", "--bundle", "/b", "--pid-file", "/p", "id"}, "/b/config.json", "process"},
		"run":               {[]string{"run", "-b", "/b", "id"}, "/b/config.json", "process"},
		"exec":              {[]string{"--log", "/l", "exec", "--process", "/p", "--detach", "id"}, "/p", ""},
		"exec of a command": {[]string{"exec", "id", "sh"}, "", ""},
		"start":             {[]string{"start", "id"}, "", ""},
		"delete":            {[]string{"delete", "--force", "id"}, "", ""},
	} {
		file, inside := processFile(test.args)
		if file != test.file || inside != test.inside {
			t.Errorf("%s: %q in %q, want %q in %q", name, inside, file, test.inside, test.file)
		}
	}
}

func TestRestrictDropsOnlyWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct{ before, inside, after string }{
		"a bundle": {
			`{"ociVersion":"1.0","process":{"args":["sh"],"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"effective":["CAP_SYS_RESOURCE"]},"oomScoreAdj":-999}}`, "process",
			`{"ociVersion":"1.0","process":{"args":["sh"],"capabilities":{"bounding":["CAP_CHOWN"],"effective":[]},"oomScoreAdj":0}}`,
		},
		"a process":                  {`{"args":["sh"],"oomScoreAdj":5,"rlimits":[{"hard":18446744073709551615}]}`, "", `{"args":["sh"],"oomScoreAdj":5,"rlimits":[{"hard":18446744073709551615}]}`},
		"a bundle without either":    {`{"process":{"args":["sh"]}}`, "process", `{"process":{"args":["sh"]}}`},
		"a bundle without a process": {`{"hooks":{}}`, "process", `{"hooks":{}}`},
	} {
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := edit(file, test.inside); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.after, string(after)); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", name, diff)
		}
	}
}
