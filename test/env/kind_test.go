// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// root is the root of the repository, relative to this package.
const root = "../.."

// The versions in test/e2e-kind.sh and its workflow include those of local clusters and
// those that the README promises, and each has a node image.
func TestKindVersionsMatchThePromisedOnes(t *testing.T) {
	var images map[string]string
	readYAML(t, "test/kind/nodes.yaml", &images)
	for minor, image := range images {
		if want := `^kindest/node:v` + regexp.QuoteMeta(minor) + `\.[0-9]+@sha256:[0-9a-f]{64}$`; !regexp.MustCompile(want).MatchString(image) {
			t.Errorf("the node image for Kubernetes %s is %s, want one of that version by digest", minor, image)
		}
	}

	var workflow struct {
		Jobs struct {
			E2E struct {
				Strategy struct {
					Matrix struct {
						Kubernetes, Knative []string
						Include             []struct{ Kubernetes, Knative string }
					}
				}
			}
		}
	}
	readYAML(t, ".github/workflows/kind.yaml", &workflow)
	matrix := workflow.Jobs.E2E.Strategy.Matrix
	if got, want := matrix.Kubernetes, slices.Sorted(maps.Keys(images)); !slices.Equal(got, want) {
		t.Errorf("the workflow runs Kubernetes %q, and there are node images for %q", got, want)
	}
	knatives := slices.Clone(matrix.Knative)
	for _, one := range matrix.Include {
		knatives = append(knatives, one.Knative)
		if images[one.Kubernetes] == "" {
			t.Errorf("the workflow runs Kubernetes %s, for which there is no node image", one.Kubernetes)
		}
	}

	var major, minor, patch int
	if _, err := fmt.Sscanf(versionIn(t, "test/controlplane/go.mod", "k8s.io/kubernetes"), "v%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	kubernetes := fmt.Sprintf("%d.%d", major, minor)
	if images[kubernetes] == "" {
		t.Errorf("Local clusters run Kubernetes %s, for which there is no node image", kubernetes)
	}
	if _, err := fmt.Sscanf(versionIn(t, "go.mod", "knative.dev/serving"), "v%d.%d.%d", &major, &minor, &patch); err != nil {
		t.Fatal(err)
	}
	// Knative's module version v0.(27+n) is release 1.n.
	knative := fmt.Sprintf("%d.%d", major+1, minor-27)
	if !slices.ContainsFunc(matrix.Knative, func(release string) bool { return strings.HasPrefix(release, knative+".") }) {
		t.Errorf("the programs are built with Knative %s, and the workflow runs %q", knative, matrix.Knative)
	}
	help, err := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "test/e2e-kind.sh"), "help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, help)
	}
	for _, want := range []string{"KUBERNETES=" + kubernetes + " ", fmt.Sprintf("KNATIVE=%s.%d ", knative, patch)} {
		if !strings.Contains(string(help), want) {
			t.Errorf("script's help lacks the default %q:\n%s", want, help)
		}
	}

	promise := regexp.MustCompile(`Knative Serving (\d+\.\d+).*, Kubernetes (\d+\.\d+)`).FindStringSubmatch(readFile(t, "README.md"))
	if promise == nil {
		t.Fatal("README does not state the supported versions")
	}
	if !slices.ContainsFunc(knatives, func(release string) bool { return strings.HasPrefix(release, promise[1]+".") }) {
		t.Errorf("the README promises Knative %s, and the workflow runs %q", promise[1], knatives)
	}
	if images[promise[2]] == "" {
		t.Errorf("the README promises Kubernetes %s, for which there is no node image", promise[2])
	}
}

// Where kind cannot run, the script reports everything that is missing before it does
// anything: for the machine's Docker, and for one of its own.
func TestKindReportsEverythingThatIsMissing(t *testing.T) {
	const good = "2 16777216000 4 Ubuntu 24.04.3 LTS [name=apparmor name=seccomp,profile=builtin name=cgroupns]"
	for name, test := range map[string]struct {
		without []string          // programs
		env     map[string]string // for the script and the fake docker
		want    []string
	}{
		"nothing is": {},
		"programs": {
			without: []string{"docker", "go", "curl"},
			want:    []string{"docker is not installed: see", "go is not installed: see", "curl is not installed: see"},
		},
		"the daemon": {
			env:  map[string]string{"REFUSAL": "permission denied while trying to connect"},
			want: []string{"docker's daemon does not answer: start it, or let this user use it (permission denied while trying to connect)"},
		},
		"a near daemon": {
			env:  map[string]string{"ENDPOINT": "ssh://builder"},
			want: []string{"docker's daemon is at ssh://builder, and"},
		},
		"docker itself": {env: map[string]string{"ENDPOINT": ""}, want: []string{"docker is another program of that name here"}},
		"a reachable network": {
			env:  map[string]string{"INFO": "2 16777216000 4 Docker Desktop [name=seccomp]"},
			want: []string{"Docker Desktop runs in a virtual machine"},
		},
		"root, memory, CPUs and cgroups": {
			env:  map[string]string{"INFO": "1 4294967296 2 Ubuntu [name=seccomp name=rootless]"},
			want: []string{"docker's daemon is rootless", "docker has 4096 MiB of memory, and the cluster needs 6144", "docker has 2 CPUs, and Pods", "docker uses cgroup v1"},
		},
		"watches of files": {
			env:  map[string]string{"INSTANCES": "128"},
			want: []string{"fs.inotify.max_user_instances is 128"},
		},
		"the node image": {
			env:  map[string]string{"PULL": "no such host"},
			want: []string{"docker cannot pull kindest/node:"},
		},
		"versions": {
			env:  map[string]string{"KUBERNETES": "1.20", "KNATIVE": "v1.23"},
			want: []string{"there is no node image for KUBERNETES=1.20", "KNATIVE=v1.23 is no release"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for _, program := range []string{"awk", "dirname", "grep"} {
				found, err := exec.LookPath(program)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(found, filepath.Join(path, program)); err != nil {
					t.Fatal(err)
				}
			}
			for program, script := range map[string]string{
				"uname": "echo Linux", "go": "", "curl": "", "sysctl": `echo "$INSTANCES"`, "id": "echo 1000",
				"docker": `case "$1" in
version) [ -z "$REFUSAL" ] || { echo "$REFUSAL" >&2; exit 1; } ;;
context) [ -n "$ENDPOINT" ] && echo "$ENDPOINT" ;;
info) echo "$INFO" ;;
image) [ -z "$PULL" ] ;;
pull) echo "$PULL" >&2; exit 1 ;;
*) echo "docker $*" ;;
esac`,
			} {
				if slices.Contains(test.without, program) {
					continue
				}
				if err := writeFile(filepath.Join(path, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			variables := map[string]string{"PATH": path, "INFO": good, "ENDPOINT": "unix:///var/run/docker.sock", "INSTANCES": "512"}
			maps.Copy(variables, test.env)
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), bash, filepath.Join(kindTree(t), "test/e2e-kind.sh"), "check")
			for name, value := range variables {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			output, _ := cmd.CombinedOutput() // The exit status is checked below.
			const alternative = "e2e-kind: without the machine's Docker: "
			var lines []string
			alternatives := 0
			for line := range strings.Lines(string(output)) {
				switch {
				case strings.Contains(line, "the cgroup controller"): // The machine that runs this test may not delegate all.
				case strings.HasPrefix(line, alternative):
					alternatives++
				case line != "Docker is the machine's\n":
					lines = append(lines, line)
				}
			}
			// Neither root nor Debian's tools are there.
			if usable := !slices.ContainsFunc(lines, func(line string) bool {
				return strings.Contains(line, "ocker") || strings.Contains(line, "inotify") || strings.Contains(line, "node image")
			}); usable != (alternatives == 0) {
				t.Errorf("script printed %d lines about a Docker of its own:\n%s", alternatives, output)
			}
			if len(lines) != len(test.want) {
				t.Errorf("script printed\n%s\nwant %d lines", strings.Join(lines, ""), len(test.want))
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "e2e-kind: "+want) }) {
					t.Errorf("script did not print %q:\n%s", want, strings.Join(lines, ""))
				}
			}
			want := 0
			if len(lines) > 0 {
				want = 2
			}
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("script exited with %d, want %d, and printed:\n%s", got, want, output)
			}
		})
	}
}

// kindTree returns a copy of the files that the script reads, in which no cluster exists.
func kindTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for _, file := range []string{
		"go.mod", "test/controlplane/go.mod", "test/e2e-kind.sh", "test/kind/docker.sh", "test/kind/nodes.yaml", "test/env/unreachable-registries",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(filepath.Join(tree, file), []byte(readFile(t, file)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// kindStandIn is a fake for docker, kind and all other programs that the script calls. It
// records the calls.
const kindStandIn = `#!/bin/sh
self="${0##*/}"
echo "$self $*" >> "$NOTES"
case "$self $1 $2" in
"docker context "*) echo unix:///var/run/docker.sock ;;
"docker info "*) echo "2 16777216000 4 Ubuntu [name=seccomp]" ;;
"docker inspect "*) case "$*" in *main) echo 172.18.0.3 ;; *) echo 172.18.0.4 ;; esac ;;
"sysctl "*) echo 512 ;;
"go run ./test/env/cmd/cluster") for program in kubectl registry app ko; do cp "$0" ".cluster/bin/$program"; done ;;
"go run ./test/suite")
  case "$*" in *-build) exit ;; esac
  echo "the suite" >> "$NOTES"
  exit "$RESULT" ;;
"go run "*"generate_cert.go") touch cert.pem key.pem ;;
"docker import "* | "docker exec "*) cat > /dev/null ;;
"kind get clusters") echo "$CLUSTERS" ;;
"kind get nodes") echo pullsecrets-e2e-control-plane ;;
"kind export logs") mkdir -p "$5" ;;
"go env "*) echo amd64 ;;
"go "*) # It builds this program under each name.
  while [ $# -gt 1 ]; do
    if [ "$1" = -o ]; then output="$2"; fi
    shift
  done
  case "$output" in */) output="$output${1##*/}" ;; esac
  cp "$0" "$output" ;;
esac
`

// The script runs its steps in order and deletes what it created, even if the suite
// fails, but never a cluster that existed before.
func TestKindDeletesOnlyWhatItCreated(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT RUN: the script requires Linux")
	}
	for name, test := range map[string]struct {
		env     []string
		status  int
		want    []string // these calls, in this order
		wantNot []string
	}{
		"after success": {
			env: []string{"RESULT=0"},
			want: []string{
				"kind create cluster", "docker import", "docker run", "docker exec", "kubectl apply", "kubectl apply", "the suite", "docker rm", "kind delete cluster",
			},
			wantNot: []string{"kind export logs"},
		},
		"after a failure": {
			env: []string{"RESULT=3"}, status: 3,
			want: []string{"kind create cluster", "the suite", "kind export logs", "docker logs", "docker rm", "kind delete cluster"},
		},
		"not where it is kept": {
			env: []string{"RESULT=3", "KEEP=1"}, status: 3,
			want: []string{"kind create cluster", "the suite", "kind export logs"}, wantNot: []string{"kind delete cluster"},
		},
		"not where it is somebody's": {
			env: []string{"CLUSTERS=pullsecrets-e2e"}, status: 1,
			want: []string{"kind get clusters"}, wantNot: []string{"kind create cluster", "kind delete cluster"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree, path := kindTree(t), t.TempDir()
			programs := []string{}
			for _, program := range []string{"curl", "docker", "go", "sysctl"} {
				programs = append(programs, filepath.Join(path, program))
			}
			for _, program := range programs {
				if err := writeFile(program, []byte(kindStandIn), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			notes := filepath.Join(tree, "notes")
			cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(tree, "test/e2e-kind.sh"))
			cmd.Env = append(os.Environ(), "PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH"), "NOTES="+notes, "KUBERNETES=", "KNATIVE=", "KEEP=")
			cmd.Env = append(cmd.Env, test.env...)
			output, err := cmd.CombinedOutput()
			if strings.Contains(string(output), "the cgroup controller") {
				t.Skip("NOT RUN: this machine does not delegate the required cgroup controllers")
			}
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != test.status {
				t.Fatalf("%v, want status %d:\n%s", err, test.status, output)
			}
			content, err := os.ReadFile(notes)
			if err != nil {
				t.Fatal(err)
			}
			calls := string(content)
			for _, call := range test.wantNot {
				if strings.Contains(calls, call) {
					t.Errorf("script called %q:\n%s", call, calls)
				}
			}
			rest := calls
			for _, call := range test.want {
				_, after, found := strings.Cut(rest, "\n"+call)
				if !found {
					t.Errorf("script did not call %q in order:\n%s", call, calls)
				}
				rest = after
			}
		})
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readFile(t, file)), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// versionIn returns the version of a module that a go.mod requires.
func versionIn(t *testing.T, file, module string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(module) + ` (v\S+)`).FindStringSubmatch(readFile(t, file))
	if found == nil {
		t.Fatalf("%s does not require %s", file, module)
	}
	return found[1]
}
