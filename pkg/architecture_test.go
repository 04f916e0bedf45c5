// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package pkg has no code. Its tests enforce the rules for all packages: allowed imports,
// what the pure core must not use, direct dependencies and their reasons, and licence headers.
package pkg

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "pullsecrets.dev"

// layer defines which packages of this module the packages that match pattern may import.
// Patterns are those of path.Match, and a trailing "/..." includes subpackages. "SELF" in may
// is the importing package.
type layer struct {
	pattern string
	may     []string
	why     string
}

// layers is the architecture: who may import whom. A package belongs to the
// first layer that matches it.
var layers = []layer{{
	pattern: "pkg/apis/...",
	may:     []string{"pkg/apis/..."},
	why:     "the API is what everything else, other people's programs included, is built on",
}, {
	pattern: "pkg/annotation",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/coverage",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/dockerconfig",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/grant",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/merge",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/template",
	may:     core,
	why:     pure,
}, {
	pattern: "pkg/knative",
	may:     core,
	why:     "Knative's settings are read the same by every program, so they know none of them",
}, {
	pattern: "pkg/rollout",
	may:     append(slices.Clone(core), "pkg/config"),
	why:     "when a Service may be changed is decided alike by who changes it and by who explains it",
}, {
	pattern: "pkg/explain",
	may:     append(slices.Clone(core), "pkg/catalog", "pkg/config", "pkg/rollout"),
	why:     pure,
}, {
	pattern: "pkg/cli",
	may:     append(slices.Clone(core), "docs", "pkg/client/clientset/...", "pkg/config", "pkg/explain", "pkg/knative", "pkg/verify"),
	why:     "it reads and prints, and what it reads is judged by pkg/explain",
}, {
	pattern: "docs",
	why:     "it is the documentation",
}, {
	pattern: "pkg/client/...",
	may:     []string{"pkg/apis/...", "pkg/client/..."},
	why:     "it is generated from the API alone",
}, {
	pattern: "pkg/config",
	may:     core,
	why:     "settings are read the same by every program, so they know none of them",
}, {
	pattern: "pkg/fair",
	why:     "a rate is shared alike wherever tenants share one",
}, {
	pattern: "pkg/events",
	may:     append(slices.Clone(core), "pkg/fair", "pkg/memory"),
	why:     "what is reported is worded in one place, apart from who reports it",
}, {
	pattern: "pkg/trim",
	may:     core,
	why:     "what caches keep is decided apart from who reads them",
}, {
	pattern: "pkg/absent",
	may:     append(slices.Clone(core), "pkg/client/..."),
	why:     "a kind that a profile does not use is absent for every program in the same way",
}, {
	pattern: "pkg/catalog",
	may:     append(slices.Clone(core), "pkg/client/listers/..."),
	why:     "what is granted is looked up in the same way by every program",
}, {
	pattern: "pkg/contest",
	may:     core,
	why:     "when to stop is decided alike for every kind of object",
}, {
	pattern: "pkg/freshread",
	why:     "how reads are shared does not depend on what is read",
}, {
	pattern: "pkg/memory",
	why:     "how a process remembers and forgets does not depend on what",
}, {
	pattern: "pkg/verify",
	may:     core,
	why:     "whether a registry accepts a credential does not depend on who wants to know",
}, {
	pattern: "pkg/source",
	may:     core,
	why:     "credentials are read in one place, which holds them no longer than a copy takes",
}, {
	pattern: "pkg/metrics",
	may:     core,
	why:     "what several programs count is counted in the same way",
}, {
	pattern: "pkg/probes",
	why:     "whether a program is alive has nothing to do with what it does",
}, {
	pattern: "pkg/reconciler/*/resources",
	may:     append(slices.Clone(core), "pkg/config", "pkg/rollout"),
	why:     "what a reconciler makes is computed without a cluster, so that it can be tested without one",
}, {
	pattern: "pkg/reconciler/testing",
	may:     append(slices.Clone(core), "pkg/client/...", "pkg/trim"),
	why:     "it helps the tests of every reconciler, so it knows none of them",
}, {
	pattern: "pkg/reconciler/*",
	may:     append(slices.Clone(core), "pkg/catalog", "pkg/client/...", "pkg/config", "pkg/contest", "pkg/events", "pkg/fair", "pkg/freshread", "pkg/knative", "pkg/memory", "pkg/metrics", "pkg/rollout", "pkg/source", "pkg/trim", "pkg/verify", "SELF/resources"),
	why:     "reconcilers and admission never import each other: what two of them need moves down into a package named after its subject",
}, {
	pattern: "pkg/webhook",
	may:     append(slices.Clone(core), "pkg/catalog", "pkg/client/...", "pkg/config", "pkg/fair", "pkg/knative", "pkg/metrics", "pkg/trim"),
	why:     "reconcilers and admission never import each other: what two of them need moves down into a package named after its subject",
}, {
	pattern: "cmd/*",
	may:     []string{"pkg/..."},
	why:     "a program is a list of what it runs, and nothing imports a program",
}, {
	pattern: "test/env/...",
	may:     []string{"test/env", "pkg/apis/..."},
	why:     blackBox,
}, {
	pattern: "test/e2e/model",
	why:     "it is the contract in other words, so it shares none with the code",
}, {
	pattern: "test/e2e/pairs",
	why:     "it makes requests up, and knows nothing of what happens to them",
}, {
	pattern: "test/e2e/...",
	may:     []string{"test/env", "test/fleet", "test/monitoring", "test/pages", "test/e2e/...", "pkg/apis/...", "pkg/client/clientset/..."},
	why:     blackBox,
}, {
	pattern: "test/demo",
	may:     []string{"test/env", "pkg/apis/...", "pkg/client/clientset/..."},
	why:     blackBox,
}, {
	pattern: "test/suite",
	may:     []string{"test/env", "pkg/apis/..."},
	why:     "it runs tests, and knows nothing of what they test.",
}, {
	pattern: "test/kind/...",
	why:     "these run in or for the containers of a kind cluster.",
}, {
	pattern: "test/matrix",
	why:     "it runs the suite on other versions, and knows nothing of clusters.",
}, {
	pattern: "test/monitoring",
	why:     "it runs what is in config/monitoring, and knows nothing of clusters.",
}, {
	pattern: "test/pages",
	may:     nil,
	why:     "it reads the documentation, and knows nothing of clusters.",
}, {
	pattern: "test/workflows",
	may:     []string{"test/pages"},
	why:     "it reads workflows and the documentation, and knows nothing of clusters.",
}, {
	pattern: "test/words",
	why:     "it reads text, and needs no other package for that",
}, {
	pattern: "test/fleet",
	may:     []string{"test/env", "pkg/apis/..."},
	why:     blackBox,
}, {
	pattern: "test/bench/...",
	may:     []string{"test/env", "test/fleet", "test/bench/...", "pkg/apis/...", "pkg/client/clientset/..."},
	why:     blackBox,
}, {
	pattern: "prototype/credential-provider/images",
	may:     []string{"test/env"},
	why:     "it fills the registries of test clusters, and knows nothing of what is pulled",
}, {
	pattern: "prototype/...",
	may:     append(slices.Clone(core), "pkg/catalog", "pkg/client/clientset/...", "pkg/config", "pkg/source", "prototype/credential-provider/api"),
	why:     "a prototype decides by the rules of the project, and nothing of the project depends on it",
}, {
	pattern: "config",
	may:     []string{"pkg/apis/...", "pkg/config"},
	why:     "it compares the manifests with the API and with how settings are read",
}, {
	pattern: "pkg",
	why:     "it is this test",
}}

// core is the API and the pure packages.
var core = []string{"pkg/apis/...", "pkg/annotation", "pkg/coverage", "pkg/dockerconfig", "pkg/grant", "pkg/merge", "pkg/template"}

const (
	pure     = "the rules are pure, so that admission, reconcilers and tests can never disagree about them"
	blackBox = "it tests the programs from outside, as its users do, so that it runs against any cluster"
)

// testOnly are further packages that the tests of any package may import.
var testOnly = []string{"pkg/reconciler/testing", "pkg/client/..."}

// impure are packages that the pure core must not import, because the same input could give
// different output with them.
var impure = map[string]string{
	"bufio":         "input and output",
	"context":       "a pure function has nothing to cancel and carries no values",
	"crypto/rand":   "chance",
	"embed":         "input and output",
	"io":            "input and output",
	"io/fs":         "input and output",
	"log":           "a log is an effect; return what is to be said",
	"log/slog":      "a log is an effect; return what is to be said",
	"math/rand":     "chance",
	"math/rand/v2":  "chance",
	"net":           "input and output",
	"net/http":      "input and output",
	"os":            "input and output",
	"os/exec":       "input and output",
	"path/filepath": "it asks the machine that it runs on",
	"runtime":       "it asks the machine that it runs on",
	"sync":          "shared state",
	"sync/atomic":   "shared state",
	"syscall":       "input and output",
	"time":          "the clock; take a time as an argument of another type",
	"unsafe":        "it is never needed here",
}

// pureModules are packages of other modules that the pure core may import: types of the
// Kubernetes API, validation of names, and names of images.
var pureModules = []string{
	"github.com/distribution/reference",
	"github.com/google/go-containerregistry/pkg/name",
	"k8s.io/api/core/v1",
	"k8s.io/apimachinery/pkg/api/equality",
	"k8s.io/apimachinery/pkg/api/resource",
	"k8s.io/apimachinery/pkg/api/validation/path",
	"k8s.io/apimachinery/pkg/apis/meta/v1",
	"k8s.io/apimachinery/pkg/labels",
	"k8s.io/apimachinery/pkg/util/sets",
	"k8s.io/apimachinery/pkg/util/validation",
	"knative.dev/pkg/apis",
	"knative.dev/serving/pkg/apis/config",
	"knative.dev/serving/pkg/apis/serving",
	"knative.dev/serving/pkg/apis/serving/v1",
}

// exceptions are imports that only one package of the core may use.
var exceptions = map[string]string{
	"pkg/template": "context", // Knative's defaulting takes its settings from one.
}

// dependencies are the allowed direct dependencies, each with its reason.
var dependencies = map[string]string{
	"github.com/distribution/reference":                           "image names are parsed as the kubelet parses them",
	"github.com/spf13/cobra":                                      "commands, flags and completion, as in kubectl and kn",
	"k8s.io/cli-runtime":                                          "the flags of kubectl for clusters, and its tables",
	"github.com/google/go-cmp":                                    "tests compare whole values",
	"github.com/google/go-containerregistry":                      "image names are parsed as Knative's tag resolution parses them",
	"github.com/google/go-containerregistry/pkg/authn/kubernetes": "tests compare pkg/dockerconfig with the keychain of Knative's tag resolution, which policy-controller has too",
	"go.opentelemetry.io/otel":                                    "metrics, as in every Knative component",
	"go.opentelemetry.io/otel/metric":                             "metrics, as in every Knative component",
	"go.opentelemetry.io/otel/sdk/metric":                         "tests read what is recorded",
	"go.uber.org/zap":                                             "logs, as in every Knative component",
	"gopkg.in/evanphx/json-patch.v4":                              "admission applies its patch before it answers, as the API server will",
	"k8s.io/api":                                                  "Namespaces, Secrets, ServiceAccounts, Events",
	"k8s.io/apiextensions-apiserver":                              "tests check the CRD",
	"k8s.io/apimachinery":                                         "object metadata, labels, the rules for names",
	"k8s.io/client-go":                                            "talks to the API server",
	"knative.dev/networking":                                      "the local cluster of the tests answers in place of an ingress",
	"knative.dev/pkg":                                             "the framework of controllers, webhooks and their configuration",
	"knative.dev/serving":                                         "the Services that this is about",
	"sigs.k8s.io/yaml":                                            "tests read manifests",
}

// listed is the output of "go list" for a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestWhoMayImportWhom(t *testing.T) {
	for _, p := range list(t) {
		name := own(p.ImportPath)
		l := layerOf(name)
		if l == nil {
			t.Errorf("Package %s belongs to no layer.\n"+
				"Why: who may import whom is decided before a package is used, not after.\n"+
				"Do:  add it to layers in pkg/architecture_test.go, and to ARCHITECTURE.md.", name)
			continue
		}
		check := func(imports, may []string, where string) {
			for _, imported := range imports {
				target, ours := strings.CutPrefix(imported, module+"/")
				if !ours || target == name || allowed(target, name, may) {
					continue
				}
				t.Errorf("%s%s imports %s.\n"+
					"Why not: %s.\n"+
					"Do:      move what both need down into a package named after its subject, or hand it in as an argument.",
					name, where, target, l.why)
			}
		}
		check(p.Imports, l.may, "")
		check(p.TestImports, append(slices.Clone(l.may), testOnly...), " (tests)")
		check(p.XTestImports, append(slices.Clone(l.may), testOnly...), " (tests)")
	}
}

// The layers are only enforced if their patterns are matched correctly.
func TestTheRulesAreReadRight(t *testing.T) {
	for _, test := range []struct {
		importer, imported string
		want               bool
	}{
		{"pkg/merge", "pkg/annotation", true},
		{"pkg/merge", "pkg/apis/pullsecrets", true},
		{"pkg/merge", "pkg/config", false},
		{"pkg/merge", "pkg/client/clientset/versioned", false},
		{"pkg/apis/pullsecrets/v1alpha1", "pkg/apis/pullsecrets", true},
		{"pkg/apis/pullsecrets/v1alpha1", "pkg/merge", false},
		{"pkg/reconciler/service", "pkg/reconciler/service/resources", true},
		{"pkg/reconciler/service", "pkg/reconciler/namespace/resources", false},
		{"pkg/reconciler/service", "pkg/reconciler/namespace", false},
		{"pkg/reconciler/service", "pkg/reconciler/testing", false},
		{"pkg/reconciler/service", "pkg/webhook", false},
		{"pkg/reconciler/service/resources", "pkg/client/clientset/versioned", false},
		{"pkg/webhook", "pkg/reconciler/service", false},
		{"cmd/controller", "pkg/reconciler/service", true},
		{"cmd/webhook", "cmd/controller", false},
		{"test/e2e", "pkg/client/clientset/versioned", true},
		{"test/e2e", "pkg/client/informers/externalversions", false},
		{"test/e2e", "pkg/merge", false},
		{"prototype/credential-provider/server", "pkg/grant", true},
		{"prototype/credential-provider/server", "test/env", false},
		{"cmd/controller", "prototype/credential-provider/api", false},
	} {
		l := layerOf(test.importer)
		if l == nil {
			t.Errorf("%s belongs to no layer", test.importer)
		} else if got := allowed(test.imported, test.importer, l.may); got != test.want {
			t.Errorf("May %s import %s? Read as %t, want %t", test.importer, test.imported, got, test.want)
		}
	}
}

// ARCHITECTURE.md has a row for each layer, with what it may import.
func TestArchitectureIsDocumented(t *testing.T) {
	content, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			documented[strings.Trim(cells[0], "| `")] = strings.TrimSuffix(strings.TrimSpace(cells[2]), " |")
		}
	}
	for _, l := range layers {
		if l.pattern == "pkg" {
			continue // Who reads of this test is in it.
		}
		if got, want := documented[l.pattern], l.imports(); got != want {
			t.Errorf("ARCHITECTURE.md says that %s may import %q, want %q", l.pattern, got, want)
		}
		delete(documented, l.pattern)
	}
	for pattern := range documented {
		t.Errorf("ARCHITECTURE.md has a row for %s, which is not a layer", pattern)
	}
}

// imports lists the allowed imports as ARCHITECTURE.md does.
func (l layer) imports() string {
	var parts []string
	may := l.may
	if len(may) >= len(core) && slices.Equal(may[:len(core)], core) {
		parts, may = append(parts, "the core"), may[len(core):]
	}
	for _, pattern := range may {
		if pattern == "SELF/resources" {
			parts = append(parts, "its own `resources`")
		} else {
			parts = append(parts, "`"+pattern+"`")
		}
	}
	if len(parts) == 0 {
		return "nothing of ours"
	}
	return strings.Join(parts, ", ")
}

func TestTheCoreIsPure(t *testing.T) {
	for _, p := range list(t) {
		name := own(p.ImportPath)
		if l := layerOf(name); l == nil || l.why != pure {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module+"/") {
				continue // TestWhoMayImportWhom looks at these.
			}
			if reason, found := impure[imported]; found && exceptions[name] != imported {
				t.Errorf("%s imports %q: %s.\nWhy not: %s.\nDo:      take a value as an argument, and return one.",
					name, imported, reason, pure)
			}
			if strings.Contains(imported, ".") && !slices.Contains(pureModules, imported) {
				t.Errorf("%s imports %s.\nWhy not: %s.\nDo:      without it; or, if it is as pure, add it to pureModules in pkg/architecture_test.go.",
					name, imported, pure)
			}
		}
	}
}

func TestDependenciesHaveReasons(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(run(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, require := range mod.Require {
		if require.Indirect {
			continue
		}
		required[require.Path] = true
		if dependencies[require.Path] == "" {
			t.Errorf("go.mod requires %s without a reason.\n"+
				"Why not: each dependency is code that runs with our permissions and has to be kept up to date.\n"+
				"Do:      without it; or give the reason in dependencies in pkg/architecture_test.go.", require.Path)
		}
	}
	for dependency := range dependencies {
		if !required[dependency] {
			t.Errorf("go.mod no longer requires %s: remove it from dependencies in pkg/architecture_test.go.", dependency)
		}
	}
}

// Every file that is not generated has a licence header.
func TestLicenceHeaders(t *testing.T) {
	want := []string{"Copyright The Pull Secrets for Knative Authors", "SPDX-License-Identifier: Apache-2.0"}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", ".cluster"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		comment := commentOf(file)
		if comment == "" {
			return nil
		}
		first, err := firstLines(file, 10)
		if err != nil {
			return err
		}
		if !strings.Contains(first, comment+" "+want[0]+"\n"+comment+" "+want[1]+"\n") {
			t.Errorf("%s does not start with the licence header:\n%s %s\n%s %s",
				filepath.ToSlash(file), comment, want[0], comment, want[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// commentOf returns the comment marker of a file, or an empty string if it needs no licence
// header.
func commentOf(file string) string {
	switch filepath.Ext(file) {
	case ".go":
		return "//"
	case ".sh", ".yaml", ".yml":
		return "#"
	}
	switch filepath.Base(file) {
	case "Makefile":
		return "#"
	case "run": // .ci/run
		return "#"
	}
	return ""
}

func firstLines(file string, n int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var first strings.Builder
	for scanner := bufio.NewScanner(f); n > 0 && scanner.Scan(); n-- {
		first.WriteString(scanner.Text() + "\n")
	}
	return first.String(), nil
}

func layerOf(name string) *layer {
	for i := range layers {
		if matches(layers[i].pattern, name) {
			return &layers[i]
		}
	}
	return nil
}

func allowed(target, importer string, may []string) bool {
	return slices.ContainsFunc(may, func(pattern string) bool {
		return matches(strings.Replace(pattern, "SELF", importer, 1), target)
	})
}

func matches(pattern, name string) bool {
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return name == base || strings.HasPrefix(name, base+"/")
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// own returns the path of a package within the module.
func own(importPath string) string {
	return strings.TrimPrefix(importPath, module+"/")
}

// list returns every package of the module, end-to-end tests included.
func list(t *testing.T) []listed {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(run(t, "list", "-e", "-tags=e2e,tools", "-json=ImportPath,Imports,TestImports,XTestImports", "./..."))))
	var packages []listed
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// run runs the go command at the root of the module.
func run(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return out
}
