// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clienttesting "k8s.io/client-go/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/docs"
	"pullsecrets.dev/pkg/explain"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares an output with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want, +got; -update writes it):\n%s", name, diff)
	}
}

const dockerConfig = `{"auths":{"docker.io":{"auth":"cm9ib3Q6Y0FuQXJZLWh1bnRlcjI="},"hub.docker.com":{"auth":"cm9ib3Q6Y0FuQXJZLWh1bnRlcjIK"},"ghcr.io":{"identitytoken":"cAnArY-hunter2"}}}`

const toPlan = `
apiVersion: v1
kind: List
items:
- apiVersion: serving.knative.dev/v1
  kind: Service
  metadata: {name: new, namespace: team-b}
  spec: {template: {spec: {containers: [{image: ghcr.io/acme/app:v1}]}}}
- apiVersion: v1
  kind: Secret
  metadata: {name: ghcr, namespace: team-b}
  type: kubernetes.io/dockerconfigjson
  stringData: {".dockerconfigjson": "cAnArY-hunter2"}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: named, namespace: team-b, resourceVersion: "4", generation: 1}
spec: {template: {metadata: {name: named-one}, spec: {containers: [{image: ghcr.io/acme/app:v1}]}}}
status: {observedGeneration: 1, latestCreatedRevisionName: named-one, latestReadyRevisionName: named-one}
`

// commands are all commands, with their input and exit code.
var commands = []struct {
	name, in string
	args     []string
	code     int
}{
	{"explain", "", []string{"explain", "shop", "-n", "team-a"}, 0},
	{"explain-failing", "", []string{"explain", "web", "-n", "team-a"}, 1},
	{"status", "", []string{"status", "-A"}, 1},
	{"lint", dockerConfig, []string{"lint", "-"}, 1},
	{"plan", "", []string{"plan", "-n", "team-a", "--secrets", "ghcr,other"}, 0},
	{"plan-offline", toPlan, []string{"plan", "-f", "-", "--secrets", "ghcr"}, 0},
	{"check", "", []string{"check"}, 1},
	{"check-pre", "", []string{"check", "--pre"}, 1},
	{"retry", "", []string{"retry", "web", "-n", "team-a"}, 0},
	{"verify", "", []string{"verify", "ghcr", "-n", "team-a"}, 0},
	{"verify-images", "", []string{"verify", "secret/ghcr", "-n", "team-a", "--image", "ghcr.io/acme/other:v1", "--image", "ghcr.io/unreachable:v1", "--image", "quay.io/acme/app:v1"}, 1},
	{"uninstall", "", []string{"uninstall", "--dry-run"}, 0},
	{"uninstall-verify", "", []string{"uninstall", "--verify"}, 1},
}

// The output of each command is as in its golden file, in all formats, and contains no
// credential, which run checks.
func TestCommands(t *testing.T) {
	for _, test := range commands {
		for _, format := range []string{"", "wide", "json", "yaml"} {
			args := test.args
			if format != "" {
				args = append(slices.Clone(args), "-o", format)
			}
			r := newWorld().run(t, test.in, args...)
			if r.code != test.code || r.err != "" {
				t.Errorf("%v: exit code %d, want %d: %s", args, r.code, test.code, r.err)
			}
			switch format {
			case "":
				golden(t, test.name, r.out)
			case "json":
				golden(t, test.name+".json", r.out)
				checkDocument(t, test.args[0], []byte(r.out))
			case "yaml":
				raw, err := yaml.YAMLToJSON([]byte(r.out))
				if err != nil {
					t.Fatal(err)
				}
				checkDocument(t, test.args[0], raw)
			}
		}
	}
}

// checkDocument checks what all documents have.
func checkDocument(t *testing.T, command string, raw []byte) {
	t.Helper()
	var d struct {
		Version, Command     string
		Result               any
		Findings, NotChecked []map[string]any
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "pullsecrets.dev/cli/v1" || d.Command != command || d.Result == nil || d.Findings == nil || d.NotChecked == nil {
		t.Errorf("document is %s", raw)
	}
	for _, f := range d.Findings {
		if !slices.Contains(explain.Codes, explain.Code(f["code"].(string))) || f["docs"] == "" || f["severity"] == "" {
			t.Errorf("finding is %v", f)
		}
	}
}

// Wrong usage is an error with exit code 2.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"explain"}, {"explain", "shop", "-o", "xml"}, {"explain", "absent", "-n", "team-a"}, {"status", "--fail-on", "all"},
		{"status", "-A", "-n", "team-a"}, {"plan", "--secrets", "Not_A_Name"}, {"plan", "-f", "absent.yaml"}, {"lint", "absent.json"}, {"uninstall"},
		{"uninstall", "--dry-run", "--verify"}, {"migrate"}, {"migrate", "--from", "docker"}, {"migrate", "--from", "hand", "-o", "json"}, {"migrate", "--from", "hand", "-o", "wide"}, {"verify"}, {"verify", "absent", "-n", "team-a"}, {"verify", "pod/x"}, {"verify", "cps/ghcr"}, {"unknown"}, {"retry", "shop", "-n", "team-a"},
	} {
		if r := newWorld().run(t, "", args...); r.code != exitError || !strings.HasPrefix(r.err, "error: ") {
			t.Errorf("%v: exit code %d, want %d: %s", args, r.code, exitError, r.err)
		}
	}
}

// --fail-on decides which findings count for the exit code.
func TestFailOn(t *testing.T) {
	for value, want := range map[string]int{"error": 1, "warning": 1, "info": 1, "never": 0} {
		if r := newWorld().run(t, "", "explain", "web", "-n", "team-a", "--fail-on", value); r.code != want {
			t.Errorf("--fail-on=%s: exit code %d, want %d", value, r.code, want)
		}
	}
}

// What the caller may not read is reported, and never guessed.
func TestWithoutRights(t *testing.T) {
	for resource, want := range map[string]string{
		"secrets":            "Secrets in namespace team-a: not checked (cannot get secrets)",
		"namespaces":         "Namespace team-a, so what is declared is not known: not checked (cannot get namespaces)",
		"serviceaccounts":    "pull secrets of ServiceAccount default: not checked (cannot get serviceaccounts in namespace team-a)",
		"clusterpullsecrets": "ClusterPullSecrets: not checked (cannot list clusterpullsecrets.pullsecrets.dev)",
		"configmaps":         "settings of the installation, the defaults are assumed: not checked (cannot get configmaps in namespace pullsecrets-system)",
		"revisions":          "Revisions: not checked (cannot list revisions.serving.knative.dev in namespace team-a)",
		"pods":               "Pods, so errors of nodes are not known: not checked (cannot list pods in namespace team-a)",
		"events":             "Events: not checked (cannot list events in namespace team-a)",
	} {
		w := newWorld()
		w.forbid(resource)
		r := w.run(t, "", "explain", "web", "-n", "team-a", "--fail-on", "never")
		if r.code != 0 || !strings.Contains(r.out, want+"\n") {
			t.Errorf("without %s: exit code %d, %s\n%s", resource, r.code, r.err, r.out)
		}
	}
	w := newWorld()
	w.forbid("secrets")
	r := w.run(t, "", "status", "-A")
	golden(t, "status-without-secrets", r.out)
	for _, guess := range []explain.Code{explain.Missing, explain.NoMatch} {
		if strings.Contains(r.out, string(guess)) {
			t.Errorf("status guesses %s:\n%s", guess, r.out)
		}
	}
	w = newWorld()
	w.forbid("services")
	if r := w.run(t, "", "status", "-A"); r.code != exitError {
		t.Errorf("status without Services: exit code %d", r.code)
	}
}

// retry deletes exactly the Revision that failed before it was ever Ready, as it was read.
func TestRetry(t *testing.T) {
	w := newWorld()
	if r := w.run(t, "", "retry", "web", "-n", "team-a"); r.code != 0 {
		t.Fatal(r.err)
	}
	var deleted []string
	for _, action := range w.fakeServe.Actions() {
		if action, ok := action.(clienttesting.DeleteActionImpl); ok {
			deleted = append(deleted, action.Name)
			if p := action.DeleteOptions.Preconditions; p == nil || *p.UID != "web-2" || *p.ResourceVersion != "9" {
				t.Errorf("preconditions are %v", p)
			}
		}
	}
	if diff := cmp.Diff([]string{"web-00002"}, deleted); diff != "" {
		t.Errorf("deleted Revisions (-want, +got): %s", diff)
	}
	if r := newWorld().run(t, "", "retry", "web", "-n", "team-a", "--dry-run"); r.code != 0 || !strings.Contains(r.out, "would be deleted") {
		t.Errorf("a dry run: exit code %d: %s", r.code, r.out+r.err)
	}
	for reason, change := range map[string]func(*servingv1.Service, *servingv1.Revision){
		"it is or was Ready": func(svc *servingv1.Service, r *servingv1.Revision) { svc.Status.LatestReadyRevisionName = r.Name },
		"it gets traffic": func(svc *servingv1.Service, r *servingv1.Revision) {
			svc.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: r.Name}}
		},
		"it has not failed":           func(_ *servingv1.Service, r *servingv1.Revision) { r.Status.Conditions = nil },
		"it is not the newest":        func(_ *servingv1.Service, r *servingv1.Revision) { r.Labels = nil },
		"has not observed the latest": func(svc *servingv1.Service, _ *servingv1.Revision) { svc.Generation++ },
		"it is being deleted already": func(_ *servingv1.Service, r *servingv1.Revision) {
			r.DeletionTimestamp = &now
			r.Finalizers = []string{"x"}
		},
		`Service team-a/web has no Revision`: func(svc *servingv1.Service, _ *servingv1.Revision) { svc.Status.LatestCreatedRevisionName = "" },
	} {
		w := newWorld()
		change(w.serving[1].(*servingv1.Service), w.serving[2].(*servingv1.Revision))
		r := w.run(t, "", "retry", "web", "-n", "team-a")
		if r.code != exitError || !strings.Contains(r.err, reason) {
			t.Errorf("%s: exit code %d: %s", reason, r.code, r.err)
		}
		for _, action := range w.fakeServe.Actions() {
			if action.GetVerb() == "delete" {
				t.Errorf("%s: a Revision was deleted", reason)
			}
		}
	}
	w = newWorld()
	w.fakeServe = nil
	w.forbid("revisions")
	if r := w.run(t, "", "retry", "web", "-n", "team-a"); r.code != exitError {
		t.Errorf("without rights: exit code %d", r.code)
	}
}

// The scripts have the documented commands, each once, and are valid for a shell.
func TestMigrate(t *testing.T) {
	for _, tool := range toolNames {
		r := newWorld().run(t, "", "migrate", "--from", tool)
		if r.code != 0 {
			t.Fatal(r.err)
		}
		check := exec.CommandContext(t.Context(), "sh", "-n")
		check.Stdin = strings.NewReader(r.out)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", tool, err, out, r.out)
		}
		for line := range strings.Lines(section(docs.Migration, "## "+tools[tool])) {
			if strings.HasPrefix(line, "kubectl") && strings.Count(r.out, line) != 1 {
				t.Errorf("%s: script has %d times %s", tool, strings.Count(r.out, line), line)
			}
		}
		for _, part := range []string{"\nSECRET=", "kubectl apply -f - <<YAML\n", "\nYAML\n"} {
			if !strings.Contains(r.out, part) {
				t.Errorf("%s: script lacks %q:\n%s", tool, part, r.out)
			}
		}
	}
}

// Completion knows the names of Services, namespaces and tools.
func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "explain", "-n", "team-a", ""}, "shop\nweb\n"},
		{[]string{"__complete", "retry", "-n", "team-a", ""}, "shop\nweb\n"},
		{[]string{"__complete", "status", "-n", ""}, "team-a\n"},
		{[]string{"__complete", "migrate", "--from", ""}, "hand\n"},
		{[]string{"__complete", "status", "-o", ""}, "json\n"},
	} {
		if r := newWorld().run(t, "", test.args...); !strings.Contains(r.out, test.want) {
			t.Errorf("%q: %s%s", test.args, r.out, r.err)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := newWorld().run(t, "", "completion", shell); r.code != 0 || !strings.Contains(r.out, "kn-pullsecrets") {
			t.Errorf("completion for %s: %d %s", shell, r.code, r.err)
		}
	}
}

// The names in messages are those by which the program was called.
func TestNamesOfPlugins(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/local/bin/kn-pullsecrets": "kn pullsecrets", "kubectl-pullsecrets": "kubectl pullsecrets", "kubectl-pullsecrets.exe": "kubectl pullsecrets",
	} {
		if got := displayName(program); got != want {
			t.Errorf("%s is called %q, want %q", program, got, want)
		}
	}
}

// A manifest of a Secret is linted like the Secret, and a broken one is not quoted.
func TestLintManifests(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"kind: Secret\nmetadata: {name: ghcr, namespace: team-a}\ntype: kubernetes.io/dockerconfigjson\nstringData: {'.dockerconfigjson': '{\"auths\":{\"ghcr.io\":{\"auth\":\"YTpi\"}}}'}\n", "Secret team-a/ghcr\n"},
		{"kind: Secret\nmetadata: {name: opaque}\ntype: Opaque\n", "neither kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg"},
		{`{"ghcr.io":{"auth":"YTpi"}}`, "ghcr.io/*"},
		{canary, "Invalid JSON at byte 1"},
		{"kind: Secret\ndata: {x: " + canary + "}\n", "data must be base64"},
		{"kind: ConfigMap\n", "no Secret among them"},
	} {
		if r := newWorld().run(t, test.in, "lint", "-"); !strings.Contains(r.out+r.err, test.want) {
			t.Errorf("%q: %s%s", test.in, r.out, r.err)
		}
	}
}

// Only requests that read are sent by all commands but retry, a dry run of check and its reviews
// of rights.
func TestCommandsWriteNothing(t *testing.T) {
	for _, test := range commands {
		if test.name == "retry" {
			continue
		}
		w := newWorld()
		w.run(t, test.in, test.args...)
		for _, action := range slices.Concat(w.fakeKube.Actions(), w.fakeServe.Actions(), w.fakeMeta.Actions()) {
			review := strings.HasSuffix(action.GetResource().Resource, "subjectaccessreviews")
			if !slices.Contains([]string{"get", "list"}, action.GetVerb()) && !review {
				t.Errorf("%s sends %s %s", test.name, action.GetVerb(), action.GetResource().Resource)
			}
		}
	}
}

// A Namespace of a file has the label that the API server sets, by which grants select it.
func TestPlanSelectsNamespacesOfAFile(t *testing.T) {
	r := newWorld().run(t, "", "plan", "-f", "../../docs/examples/docker-hub.yaml")
	if r.code != 0 || !strings.Contains(r.out, "clusterpullsecret/") {
		t.Errorf("exit code %d, %s%s", r.code, r.out, r.err)
	}
}

// Manifests that name no namespace are in the one of the flag.
func TestPlanUsesTheNamespaceOfTheFlag(t *testing.T) {
	const manifest = `{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: new}, spec: {template: {spec: {containers: [{image: app}]}}}}`
	for want, args := range map[string][]string{"team-z": {"-n", "team-z"}, "default": nil} {
		r := newWorld().run(t, manifest, append([]string{"plan", "-f", "-", "--secrets", "ghcr"}, args...)...)
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%v: exit code %d, want %s: %s%s", args, r.code, want, r.out, r.err)
		}
	}
}

// Images of volumes are asked for, too.
func TestVerifyAsksForImageVolumes(t *testing.T) {
	w := newWorld()
	shop := w.serving[0].(*servingv1.Service)
	shop.Spec.Template.Spec.Containers[0].Image = "docker.io/library/nginx"
	shop.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "ghcr.io/acme/model:v1"}}}}
	w.serving = w.serving[:1]
	w.accepted = []string{"ghcr.io/acme/model:v1"}
	if r := w.run(t, "", "verify", "ghcr", "-n", "team-a"); r.code != 0 || !strings.Contains(r.out, "ghcr.io/acme/model:v1") {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
	}
}

// The ServiceAccount of an earlier Revision is read, with the Secrets that it lists.
func TestExplainReadsServiceAccountsOfEarlierRevisions(t *testing.T) {
	w := newWorld()
	web := w.serving[1].(*servingv1.Service)
	earlier := w.serving[2].(*servingv1.Revision).DeepCopy()
	earlier.Name, earlier.Spec.ServiceAccountName, earlier.Spec.ImagePullSecrets = "web-00001", "old", nil
	web.Status.LatestCreatedRevisionName = "web-00002"
	web.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: "web-00001"}}
	w.serving = append(w.serving, earlier)
	w.kube = append(w.kube, fixture.ServiceAccount("team-a", "old", nil, "gone"))
	r := w.run(t, "", "explain", "web", "-n", "team-a")
	_, of, _ := strings.Cut(r.out, "container user-container of Revision web-00001")
	if of, _, _ = strings.Cut(of, "(not read)"); !strings.Contains(of, "gone  ") || strings.Contains(of, "quay  ") {
		t.Errorf("the first entry of Revision web-00001 should be gone: %s%s", r.out, r.err)
	}
}
