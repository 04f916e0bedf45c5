// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// finding is what a command reports with -o json.
type finding struct{ Code, Severity, Object, Message, Remedy, Command, Docs string }

// report is the part of the output with -o json that all commands have.
type report struct {
	Version    string
	Result     json.RawMessage
	Findings   []finding
	NotChecked []struct{ What, Why string }
}

// first returns the code of the first finding that is not informational, or an empty string.
func (r report) first() string {
	for _, f := range r.Findings {
		if f.Severity != "info" {
			return f.Code
		}
	}
	return ""
}

// plugin runs a command of kn or kubectl with our plugin in PATH, and returns its output and exit
// code.
func (p *person) plugin(tool string, args ...string) (output string, code int) {
	p.t.Helper()
	binary := env.Tool(p.t, "kn-pullsecrets")
	folder := p.t.TempDir()
	for _, name := range []string{"kn-pullsecrets", "kubectl-pullsecrets"} {
		if err := os.Symlink(binary, filepath.Join(folder, name)); err != nil {
			p.t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(p.t.Context(), env.Tool(p.t, tool), args...)
	cmd.Env = []string{"KUBECONFIG=" + p.kubeconfig, "HOME=" + filepath.Dir(p.kubeconfig), "PATH=" + folder + string(filepath.ListSeparator) + os.Getenv("PATH")}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s %q: %v", tool, args, err)
	}
	return text.String(), cmd.ProcessState.ExitCode()
}

// reported runs a command of the plugin and returns its report.
func (p *person) reported(args ...string) (report, int) {
	p.t.Helper()
	output, code := p.plugin("kn-pullsecrets", append(args, "-o", "json")...)
	var r report
	if err := json.Unmarshal([]byte(output), &r); err != nil || r.Version == "" {
		p.t.Fatalf("%q prints %v:\n%s", args, err, output)
	}
	return r, code
}

// waitForFinding waits until explain reports this code first for Service app.
func (p *person) waitForFinding(code string) (f finding) {
	p.t.Helper()
	eventually(p.t, func(context.Context) error {
		r, exit := p.reported("explain", "app", "-n", p.ns)
		if r.first() != code {
			return fmt.Errorf("explain app reports %q, want %q: %+v", r.first(), code, r.Findings)
		}
		if want := min(1, len(code)); exit != want {
			return fmt.Errorf("exit code %d, want %d", exit, want)
		}
		if len(r.Findings) > 0 {
			f = r.Findings[0]
		}
		return nil
	})
	return f
}

// waitForNoFinding waits until explain does not report this code for Service app.
func (p *person) waitForNoFinding(code string) {
	p.t.Helper()
	eventually(p.t, func(context.Context) error {
		r, _ := p.reported("explain", "app", "-n", p.ns)
		if slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Code == code }) {
			return fmt.Errorf("explain app reports %+v, want no %s", r.Findings, code)
		}
		return nil
	})
}

// repair runs the command of a finding as a user would, with values for its placeholders.
func (p *person) repair(f finding) {
	p.t.Helper()
	if f.Command == "" {
		p.t.Fatalf("%s has no command: %+v", f.Code, f)
	}
	cmd := exec.CommandContext(p.t.Context(), "sh", "-e", "-c", strings.ReplaceAll(f.Command, "USER", "robot"))
	cmd.Env = []string{
		"KUBECONFIG=" + p.kubeconfig, "HOME=" + filepath.Dir(p.kubeconfig), "TOKEN=hunter2",
		"PATH=" + filepath.Dir(env.Tool(p.t, "kubectl")) + string(filepath.ListSeparator) + os.Getenv("PATH"),
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", f.Command, err, output)
	}
}

// uses is an edit that sets the images of a Service.
func uses(image string) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		containers[0].(map[string]any)["image"] = image
		_ = unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers") // The path exists.
	}
}

// byDigest is an image that no test pulls.
func byDigest(repository string) string {
	return repository + "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}

// Each broken set-up is named by the first finding, and the command that comes with it corrects
// it.
func TestExplainNamesBrokenSetups(t *testing.T) {
	t.Parallel()
	const image = "registry.example.com/acme/app"
	config := func(text string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "own"}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)},
		}
	}
	for name, test := range map[string]struct {
		options []env.NamespaceOption
		secret  *corev1.Secret
		edits   []func(*unstructured.Unstructured)
		prepare func(*tenant)
		code    string
		// repairs means that nothing is left to report after the command.
		repairs bool
	}{
		"missing":      {options: []env.NamespaceOption{optedIn("own")}, code: "Missing", repairs: true},
		"wrong type":   {options: []env.NamespaceOption{optedIn("own")}, secret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Type: corev1.SecretTypeOpaque}, code: "WrongType", repairs: true},
		"malformed":    {options: []env.NamespaceOption{optedIn("own")}, secret: config(`{"auths":{"registry.example.com":{"auth":"%"}}}`), code: "Malformed"},
		"wrong key":    {options: []env.NamespaceOption{optedIn("own")}, secret: decorated(config(`{"auths":{"registry.example.com/v2":{"auth":"YTpi"}}}`)), code: "WrongKey", repairs: true},
		"excluded":     {options: []env.NamespaceOption{optedIn("own"), env.Labelled(pullsecrets.ExcludeLabel, "yes")}, secret: pullSecret("own", "registry.example.com", "one"), code: "Excluded"},
		"mistyped key": {options: []env.NamespaceOption{env.Annotated("pullsecrets.dev/secret", "own")}, code: "MisplacedKey"},
		"invalid item": {options: []env.NamespaceOption{optedIn("Own_Secret")}, code: "InvalidAnnotation"},
		"hidden account": {
			secret: pullSecret("own", "registry.example.com", "one"), code: "AccountHidden", repairs: true,
			prepare: func(n *tenant) { n.setAccountSecrets("own") },
			edits: []func(*unstructured.Unstructured){func(object *unstructured.Unstructured) {
				_ = unstructured.SetNestedSlice(object.Object, []any{map[string]any{"name": "other"}}, "spec", "template", "spec", "imagePullSecrets") // The path exists.
			}},
		},
		"annotation of the template": {
			secret: pullSecret("own", "registry.example.com", "one"), code: "MisplacedKey",
			edits: []func(*unstructured.Unstructured){func(object *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(object.Object, "own", "spec", "template", "metadata", "annotations", pullsecrets.SecretsAnnotation) // The path exists.
			}},
		},
		"expired": {options: []env.NamespaceOption{optedIn("own")}, code: "Expired", repairs: false, secret: func() *corev1.Secret {
			s := pullSecret("own", "registry.example.com", "one")
			s.Annotations = map[string]string{"pullsecrets.dev/expires": "2020-01-01T00:00:00Z"}
			return s
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, test.options...)
			alice := n.person("alice")
			if test.secret != nil {
				if err := n.makeSecret(t.Context(), test.secret.DeepCopy()); err != nil {
					t.Fatal(err)
				}
			}
			if test.prepare != nil {
				test.prepare(n)
			}
			n.applyAs("by-digest.yaml", "app", append(slices.Clone(test.edits), uses(byDigest(image)))...)
			f := alice.waitForFinding(test.code)
			if f.Message == "" || f.Remedy == "" || !strings.HasPrefix(f.Docs, "docs/findings.md#") {
				t.Errorf("finding is %+v", f)
			}
			if !test.repairs {
				return
			}
			var before *corev1.Secret
			if name == "wrong key" {
				var err error
				if before, err = n.Kube.CoreV1().Secrets(n.ns).Get(t.Context(), test.secret.Name, metav1.GetOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			alice.repair(f)
			if n.Kind == env.Local {
				alice.waitForFinding(map[bool]string{true: "Missing"}[name == "hidden account"])
			} else {
				alice.waitForNoFinding(test.code) // A node may also have reported that it cannot pull the image.
			}
			if before != nil {
				n.checkKept(before)
			}
		})
	}
}

// decorated adds to a Secret what other tools rely on.
func decorated(secret *corev1.Secret) *corev1.Secret {
	secret.Labels, secret.Annotations = map[string]string{"example.com/tool": "one"}, map[string]string{"example.com/note": "two"}
	secret.Data["other"] = []byte("three")
	return secret
}

// checkKept checks that a command changed only the docker config of a Secret.
func (n *tenant) checkKept(before *corev1.Secret) {
	n.t.Helper()
	after, err := n.Kube.CoreV1().Secrets(n.ns).Get(n.t.Context(), before.Name, metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	if string(after.Data["other"]) != string(before.Data["other"]) || after.UID != before.UID || !after.CreationTimestamp.Equal(&before.CreationTimestamp) ||
		!maps.Equal(after.Labels, before.Labels) || !maps.Equal(after.Annotations, before.Annotations) {
		n.t.Errorf("the metadata was %+v and is %+v", before.ObjectMeta, after.ObjectMeta)
	}
}

// A change that is deferred, and one that is not granted, are named with what brings them.
func TestExplainNamesDeferredAndWithheld(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	n := newTenant(t, withoutAdmission)
	alice := n.person("alice")
	n.applyAs("by-tag.yaml", "app")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name)
	n.waitForEvent(service("app"), "BackfillDeferred", p.name)
	r, _ := alice.reported("explain", "app", "-n", n.ns)
	codes := map[string]finding{}
	for _, f := range r.Findings {
		codes[f.Code] = f
	}
	if codes["NotGranted"].Message == "" || codes["BackfillDeferred"].Command == "" {
		t.Fatalf("findings are %+v", r.Findings)
	}
	alice.repair(codes["NotGranted"])
	n.waitForCopy(p.name, "one")
	alice.repair(codes["BackfillDeferred"])
	n.waitForList("app", p.name)
	text := alice.run(nil, "kn-pullsecrets", "explain", "app", "--fail-on", "never")
	checkInOrder(t, text, "Service "+n.ns+"/app", "PULL SECRET", p.name, "namespace", "copy of "+p.name)
}

// kn and kubectl find the plugin, and each command works on a real cluster.
func TestPluginOfKnAndKubectl(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	n := newTenant(t, p.granted(), optedIn(p.name))
	alice := n.person("alice")
	n.applyAs("by-digest.yaml", "app")
	n.waitForList("app", p.name)
	n.waitForCopy(p.name, "one")
	for _, tool := range []string{"kn", "kubectl"} {
		output, _ := alice.plugin(tool, "pullsecrets", "status", "--fail-on", "never")
		checkInOrder(t, output, "NAMESPACE", n.ns, "app", "CLUSTERPULLSECRET", p.name)
	}
	output, code := alice.plugin("kn", "pullsecrets", "plan", "--secrets", p.name+",other")
	if code != 0 {
		t.Errorf("plan: exit code %d", code)
	}
	checkInOrder(t, output, n.ns, "app", "now", "other (namespace)", "Services: 1 now")
	output, _ = alice.plugin("kn", "pullsecrets", "check", "--fail-on", "never")
	for _, check := range []string{"Kubernetes", "rights of the controller", "ClusterPullSecrets", "webhook answers", "webhook configurations", "webhook order", "certificates", "policies", "policies for an outage", "leader"} {
		if line := lineOf(output, check); !strings.Contains(line, " ok ") {
			t.Errorf("check: %q, want ok, in\n%s", line, output)
		}
	}
	output, code = alice.plugin("kn", "pullsecrets", "check", "--pre")
	if code != 0 || !strings.Contains(output, "rights to install") {
		t.Errorf("check --pre: exit code %d\n%s", code, output)
	}
	output, _ = alice.plugin("kn", "pullsecrets", "uninstall", "--dry-run")
	checkInOrder(t, lineOf(output, "Service "), "Service")
	for _, want := range []string{"added " + p.name + " (namespace)", "copy of ClusterPullSecret " + p.name} {
		if !strings.Contains(output, want) {
			t.Errorf("uninstall --dry-run lacks %q:\n%s", want, output)
		}
	}
	r, code := alice.reported("uninstall", "--verify")
	if code != 1 || r.first() != "Leftover" {
		t.Errorf("uninstall --verify: exit code %d, %q", code, r.first())
	}
	left := map[string]bool{}
	for _, f := range r.Findings {
		left[f.Object] = true
		if f.Code == "NotProven" {
			t.Errorf("uninstall --verify as an administrator: %+v", f)
		}
	}
	for _, want := range []string{"Role knative-serving/pullsecrets-controller", "RoleBinding knative-serving/pullsecrets-webhook"} {
		if !left[want] {
			t.Errorf("uninstall --verify lacks %s: %+v", want, r.Findings)
		}
	}
	// kn itself exits with 1 where a plugin exits with another code.
	if output, code = alice.plugin("kubectl", "pullsecrets", "explain", "absent"); code != 2 || !strings.Contains(output, "error: ") {
		t.Errorf("explain absent: exit code %d, %s", code, output)
	}
}

// lineOf returns the first line that starts with a text.
func lineOf(output, start string) string {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, start) {
			return line
		}
	}
	return ""
}

// Somebody who may see Services and no Secrets learns what can be known without them, and what
// was not checked.
func TestReadOnlyUserOfThePlugin(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("own"))
	n.applyAs("by-digest.yaml", "app", annotated("pullsecrets.dev/Secrets", "typo"))
	n.waitForList("app", "own")
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"serving.knative.dev"}, Resources: []string{"services", "revisions"}, Verbs: []string{"get", "list"},
	}}}
	if _, err := n.Kube.RbacV1().Roles(n.ns).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	viewer := "viewer-of-" + n.ns
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "viewer"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: viewer}},
	}
	if _, err := n.Kube.RbacV1().RoleBindings(n.ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	admin := n.person("alice")
	admin.kubeconfig = n.Kubeconfig
	var output string
	eventually(t, func(context.Context) error { // RBAC takes a moment.
		var code int
		if output, code = admin.plugin("kn", "pullsecrets", "explain", "app", "-n", n.ns, "--as", viewer); code != 1 {
			return fmt.Errorf("exit code %d:\n%s", code, output)
		}
		return nil
	})
	for _, want := range []string{
		"Secrets in namespace " + n.ns + ": not checked (cannot get secrets)",
		"ClusterPullSecrets: not checked (cannot list clusterpullsecrets.pullsecrets.dev)",
		"Namespace " + n.ns + ", so what is declared is not known: not checked (cannot get namespaces)",
		"own", "namespace", "warning MisplacedKey: Service " + n.ns + "/app", "pullsecrets.dev/secrets",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("explain lacks %q:\n%s", want, output)
		}
	}
	for _, guess := range []string{"Missing", "NoMatch"} {
		if strings.Contains(output, guess) {
			t.Errorf("explain guesses %s:\n%s", guess, output)
		}
	}
	output, _ = admin.plugin("kn", "pullsecrets", "status", "-n", n.ns, "--as", viewer, "--fail-on", "never")
	checkInOrder(t, output, n.ns, "app", "not checked", "Secrets in namespace")
}

// retry has Knative build a Revision again that was never Ready, and refuses one that is.
func TestRetryOfThePlugin(t *testing.T) {
	env.Get(t).Need(t, env.RevisionOutcomes)
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	n.applyAs("by-digest.yaml", "good")
	n.waitForReady("good")
	if output, code := alice.plugin("kubectl", "pullsecrets", "retry", "good"); code != 2 || !strings.Contains(output, "it is or was Ready") {
		t.Errorf("retry of a Ready Service: exit code %d, %s", code, output)
	}
	n.labelNamespace(env.RevisionsLabel, env.RevisionsFail)
	n.applyAs("by-digest.yaml", "app")
	n.waitForFailed()
	revisions := services.GroupVersion().WithResource("revisions")
	name := n.latestCreated("app")
	before, err := n.Dynamic.Resource(revisions).Namespace(n.ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Knative may write the status of the Revision at any time, which the preconditions reject.
	eventually(t, func(context.Context) error {
		output, code := alice.plugin("kn", "pullsecrets", "retry", "app")
		if code != 0 {
			return fmt.Errorf("exit code %d: %s", code, output)
		}
		return nil
	})
	eventually(t, func(ctx context.Context) error {
		after, err := n.Dynamic.Resource(revisions).Namespace(n.ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && after.GetUID() == before.GetUID() {
			err = errors.New("the Revision is the same")
		}
		return err
	})
	n.labelNamespace(env.RevisionsLabel, nil)
	n.waitForReady("app")
}

// latestCreated returns the name of the newest Revision of a Service.
func (n *tenant) latestCreated(service string) string {
	n.t.Helper()
	name, _, _ := unstructured.NestedString(n.get(service).Object, "status", "latestCreatedRevisionName")
	return name
}

// The page about the command line shows what it does.
func TestCommandLineAsDocumented(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	for _, tool := range []string{"kn", "kn-pullsecrets"} {
		env.Tool(t, tool) // It is in the folder of kubectl then, where the reader finds it.
	}
	r := n.reader("create namespace team-a", "get namespace "+n.ns, "team-a", n.ns)
	r.assign("TOKEN", "hunter2")
	text := section(t, "cli.md", "A first finding")
	commands, printed := pages.Blocks(text, "sh"), pages.Blocks(text, "text")
	if len(commands) != 2 || len(printed) != 1 {
		t.Fatalf("The section has %d blocks of commands and %d of output, want 2 and 1", len(commands), len(printed))
	}
	output := r.follow(commands[0])
	checkInOrder(t, output, strings.Split(strings.TrimSpace(r.names.Replace(printed[0])), "\n")...)
	output = r.follow(commands[1])
	checkInOrder(t, output, "No findings.", "NAMESPACE", n.ns, "shop", "ghcr", "No findings.")
}

// The examples of verify ask a registry with a Secret of the namespace, and with the source of a
// ClusterPullSecret. A password that no longer works is reported.
func TestVerifyAsDocumented(t *testing.T) {
	t.Parallel()
	registry, p := newLoopbackRegistry(t), barePlatform(t)
	registry.setPassword("acme", "hunter2")
	source := pullSecret("acme", registry.host, "hunter2")
	source.Name = p.name
	p.keepSource(source)
	p.grant()
	n := newTenant(t, p.granted())
	own := pullSecret("acme", registry.host, "hunter2")
	own.Name = "ghcr"
	n.keepOwn(own)
	n.serve("shop", []string{registry.host + "/acme/shop:v1"})
	for _, tool := range []string{"kn", "kn-pullsecrets"} {
		env.Tool(t, tool) // It is in the folder of kubectl then, where the reader finds it.
	}
	r := n.reader("clusterpullsecret/ghcr", "clusterpullsecret/"+p.name, "ghcr.io", registry.host, "team-a", n.ns)
	text := section(t, "cli.md", "Does a credential work")
	commands, printed := pages.Blocks(text, "sh"), pages.Blocks(text, "text")
	if len(commands) != 2 || len(printed) != 1 {
		t.Fatalf("The section has %d blocks of commands and %d of output, want 2 and 1", len(commands), len(printed))
	}
	for _, block := range commands {
		checkInOrder(t, r.follow(block), strings.Fields(r.names.Replace(printed[0]))...)
	}
	registry.setPassword("acme", "another")
	report, code := r.reported("verify", "secret/ghcr", "-n", n.ns, "--image", registry.host+"/acme/shop:v1")
	if code != 1 || report.first() != "CredentialRejected" {
		t.Errorf("with a revoked password: exit code %d, findings %+v", code, report.Findings)
	}
}

// A Secret that was corrected after the registry had rejected the Revision is not called rejected:
// a retry is due, and the command of the finding does it.
func TestExplainAfterACorrection(t *testing.T) {
	t.Parallel()
	registry := newLoopbackRegistry(t)
	registry.setPassword("own", "right")
	n := newTenant(t, optedIn("own"))
	n.keepOwn(pullSecret("own", registry.host, "wrong"))
	app := n.reject(registry, "own", "app-00001")
	alice := n.person("alice")
	for _, tool := range []string{"kn", "kn-pullsecrets"} {
		env.Tool(t, tool) // It is in the folder of kubectl then, where the command finds it.
	}
	alice.waitForFinding("PullRejected")
	if err := n.writeSecret(t.Context(), pullSecret("own", registry.host, "right")); err != nil {
		t.Fatal(err)
	}
	alice.repair(alice.waitForFinding("RetryDue"))
	app.waitForRetry()
	n.waitForReady("app")
	alice.waitForFinding("")
}
