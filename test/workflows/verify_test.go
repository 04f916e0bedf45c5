// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pullsecrets.dev/test/pages"
)

const (
	repository = "acme/pullsecrets"
	version    = "v9.8.7"
	// issuer is who attests which workflow of GitHub runs.
	issuer = "https://token.actions.githubusercontent.com"
)

// standIn prints its name and arguments, and fails where a file that it is to read is missing,
// and for an image without a signature.
const standIn = `#!/usr/bin/env bash
set -e
echo "${0##*/} $*"
for argument; do
  case "${argument}" in
    */unsigned@*) exit 1 ;;
    *://* | *@* | -* | */* | verify* | attestation) ;;
    *) cat "${argument}" > /dev/null ;;
  esac
done
`

// The commands of docs/verify.md run in a folder with the files that the workflow publishes. The
// programs that need Sigstore and GitHub are replaced by ones that print their arguments, which
// must be what the workflow signs.
func TestVerificationAsDocumented(t *testing.T) {
	release := read(t)["release.yaml"]
	published := publishedFiles(t, release)
	folder, programs := t.TempDir(), t.TempDir()
	const image = "ghcr.io/" + repository + "/controller@sha256:0123"
	const chart = "ghcr.io/" + repository + "/charts/pullsecrets@sha256:4567"
	for _, file := range published {
		switch file {
		case "sha256sums.txt":
		case "chart.txt":
			write(t, filepath.Join(folder, file), chart+"\n", 0o600)
		default:
			write(t, filepath.Join(folder, file), image+"\n", 0o600)
		}
	}
	for _, program := range []string{"cosign", "gh"} {
		write(t, filepath.Join(programs, program), standIn, 0o700)
	}
	script := "set -eo pipefail\nsha256sum release.yaml images.txt > sha256sums.txt\n"
	for _, heading := range []string{"The files", "The Helm chart", "The images", "How they were built"} {
		text, err := pages.Section(filepath.Join(root, "docs"), "verify.md", heading)
		if err != nil {
			t.Fatal(err)
		}
		blocks := pages.Blocks(text, "bash")
		if len(blocks) == 0 {
			t.Errorf("docs/verify.md has no commands under %q", heading)
		}
		script += strings.Join(blocks, "")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "REPOSITORY="+repository, "VERSION="+version, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the commands fail: %v\n%s", err, out)
	}
	const (
		workflow = repository + "/.github/workflows/release.yaml"
		signer   = "--certificate-identity https://github.com/" + workflow + "@refs/tags/" + version + " --certificate-oidc-issuer " + issuer
		builder  = "--signer-workflow " + workflow + " --source-ref refs/tags/" + version
	)
	want := fmt.Sprintf(`cosign verify-blob sha256sums.txt --bundle sha256sums.txt.sigstore.json %[1]s
release.yaml: OK
images.txt: OK
cosign verify %[5]s %[1]s
cosign verify %[1]s %[3]s
gh attestation verify release.yaml --repo %[4]s --deny-self-hosted-runners %[2]s
gh attestation verify oci://%[3]s --repo %[4]s --deny-self-hosted-runners %[2]s
gh attestation verify oci://%[5]s --repo %[4]s --deny-self-hosted-runners %[2]s
gh attestation verify kubectl-pullsecrets.yaml --bundle provenance.intoto.jsonl --repo %[4]s %[2]s
`, signer, builder, image, repository, chart)
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("commands of docs/verify.md (-want, +got): %s", diff)
	}
}

// The documented command fails if one image is not signed, wherever it is in the list.
func TestVerificationFailsForOneImage(t *testing.T) {
	text, err := pages.Section(filepath.Join(root, "docs"), "verify.md", "The images")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write(t, filepath.Join(folder, "cosign"), standIn, 0o700)
	const signed, unsigned = "ghcr.io/" + repository + "/controller@sha256:0123\n", "ghcr.io/" + repository + "/unsigned@sha256:4567\n"
	for images, fails := range map[string]bool{signed + signed: false, unsigned + signed: true, signed + unsigned: true} {
		write(t, filepath.Join(folder, "images.txt"), images, 0o600)
		cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(pages.Blocks(text, "bash"), ""))
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "REPOSITORY="+repository, "VERSION="+version)
		if out, err := cmd.CombinedOutput(); (err != nil) != fails {
			t.Errorf("command for\n%sends with %v:\n%s", images, err, out)
		}
	}
}

// The release workflow signs and describes what docs/verify.md verifies.
func TestReleaseWorkflowSignsWhatIsVerified(t *testing.T) {
	release := read(t)["release.yaml"]
	// A run for a tag has the reference refs/tags/..., which is in the identity that signs.
	push, _ := release.On["push"].(map[string]any)
	if len(release.On) != 1 || len(push) != 1 || push["tags"] == nil {
		t.Errorf("the release workflow runs on %v, want tags alone", release.On)
	}
	var commands strings.Builder
	var subjects []string
	for _, step := range release.Jobs["sign"].Steps {
		commands.WriteString(step.Run)
		if strings.HasPrefix(step.Uses, "actions/attest@") {
			subjects = append(subjects, fmt.Sprint(step.With["subject-checksums"]))
		}
	}
	if want := []string{"sha256sums.txt", "images.sha256"}; !slices.Equal(subjects, want) {
		t.Errorf("there is provenance of %v, want %v", subjects, want)
	}
	for _, want := range []string{
		"cosign sign-blob --yes --bundle sha256sums.txt.sigstore.json sha256sums.txt\n",
		"cosign sign --yes \"$image\"\n", "done < <(cat images.txt chart.txt)\n", "> provenance.intoto.jsonl",
	} {
		if !strings.Contains(commands.String(), want) {
			t.Errorf("the job that signs does not run %q", want)
		}
	}
	for before, after := range map[string]string{"test": "build", "build": "sign", "sign": "publish"} {
		if got := release.Jobs[after].Needs; got != before {
			t.Errorf("job %s needs %q, want %s", after, got, before)
		}
	}
}

// The toolchain with which users build a release again is the one that builds it.
func TestDocumentedToolchain(t *testing.T) {
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/verify.md"))
	if err != nil {
		t.Fatal(err)
	}
	pins := regexp.MustCompile(`(?m)^toolchain (\S+)$`).FindSubmatch(module)
	if pins == nil || !strings.Contains(string(page), "GOTOOLCHAIN="+string(pins[1])+" ") {
		t.Errorf("go.mod has the toolchain %q, and docs/verify.md another one", pins)
	}
}

// publishedFiles are the files that the workflow adds to a release, one for each pattern.
func publishedFiles(t *testing.T, release workflow) []string {
	t.Helper()
	for _, step := range release.Jobs["publish"].Steps {
		if _, files, found := strings.Cut(step.Run, "--generate-notes \\\n"); found {
			return strings.Fields(strings.ReplaceAll(files, "*", "linux-amd64"))
		}
	}
	t.Fatal("the release workflow publishes nothing")
	return nil
}

func write(t *testing.T, file, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
