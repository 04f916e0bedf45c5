// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

const (
	// migrationPage is followed literally, and these are parts of it.
	migrationPage = "migration.md"
	theFourSteps  = "Do [the four steps](#the-four-steps)"
	// pageLabel is the label with which the page selects namespaces.
	pageLabel = "example.com/team"
)

// migration moves from another tool's copies to those of a ClusterPullSecret as in
// docs/migration.md. The tool is simulated: after every command it does what the real one
// would do.
type migration struct {
	*reader
	p *platform
	// secret is the name of the copies, home the namespace of the tool, and left a
	// namespace that the tool serves and the ClusterPullSecret does not.
	secret     string
	home, left *tenant
	tool       tool
	// aftermath is checked at the end.
	aftermath func()
}

// tool simulates another program.
type tool interface {
	turn(ctx context.Context) error
}

// nobody simulates Secrets that were created by hand.
type nobody struct{}

func (nobody) turn(context.Context) error { return nil }

func newMigration(t *testing.T) *migration {
	t.Helper()
	p := barePlatform(t)
	n := newTenant(t, env.Labelled(pageLabel, p.name))
	m := &migration{p: p, secret: p.name, home: newTenant(t), left: newTenant(t), tool: nobody{}, aftermath: func() {}}
	m.reader = n.reader(
		"-n registry-creds-system", "-n "+m.home.ns, "-n imagepullsecret-patcher", "-n "+m.home.ns, "-n kube-system", "-n "+m.home.ns,
		"clusterpolicy sync-secrets", "clusterpolicy "+m.secret, "container-registry", m.secret, "name: shop", "name: app")
	return m
}

// assignAll makes the assignments of the section with the names of this test.
func (m *migration) assignAll(text, from string) {
	m.t.Helper()
	first := pages.Blocks(text, "sh")[0]
	if !assignment.MatchString(first) || strings.Contains(first, "kubectl") {
		m.t.Fatalf("section begins with\n%s\nwant assignments of its variables", first)
	}
	m.assignAs(first, map[string]string{"SECRET": m.secret, "FROM": from, "TEAM": m.p.name})
}

// take gives the tool its turn.
func (m *migration) take() {
	m.t.Helper()
	eventually(m.t, m.tool.turn)
}

// steps runs the blocks of commands in a text and gives the tool its turn after each.
func (m *migration) steps(text string) {
	m.t.Helper()
	for _, block := range pages.Blocks(text, "sh") {
		if assignment.MatchString(block) && !strings.Contains(block, "kubectl") {
			continue // Already done by assignAll.
		}
		m.follow(block)
		m.take()
	}
}

// checkSeen waits until the controller has handled the whole migration and reports what
// the witness saw.
func (m *migration) checkSeen(watching *witness) {
	m.t.Helper()
	list, _, err := m.accountList(m.t.Context(), "default")
	if err != nil {
		m.t.Fatal(err)
	}
	m.settle(list...) // The marker also gets the entries of its ServiceAccount.
	watching.check()
	m.waitForReady("app")
	m.checkRevisions("app", 1)
}

// running creates a Service with one Revision that uses the Secret. Its image is given by
// digest, so the controller may change it at any time.
func (m *migration) running(list ...string) {
	m.t.Helper()
	m.applyAs("by-digest.yaml", "app", func(service *unstructured.Unstructured) {
		if len(list) > 0 {
			if err := unstructured.SetNestedSlice(service.Object, refs(list), "spec", "template", "spec", "imagePullSecrets"); err != nil {
				m.t.Fatal(err)
			}
		}
	})
	m.waitForReady("app")
	m.checkRevisions("app", 1)
	m.checkList("app", list...)
}

// goThrough follows a section of the page while a witness watches. The Service that runs
// meanwhile has the list.
func (m *migration) goThrough(text, from string, list ...string) {
	m.t.Helper()
	m.take()
	m.running(list...)
	before := m.copyOf(m.secret)
	if before == nil {
		m.t.Fatal("the tool created no Secret")
	}
	watching := m.watchOver(m.secret, credentialsKept(m.t, before))

	m.assignAll(text, from)
	first, last, found := strings.Cut(text, theFourSteps)
	if !found {
		m.t.Fatalf("section does not contain %q", theFourSteps)
	}
	m.steps(first)
	m.steps(readSection(m.t, "The four steps"))
	m.checkAdopted(before)
	m.steps(last)
	m.aftermath()
	m.checkAdopted(before)
	m.checkSeen(watching)

	// From now on it is like any other copy.
	m.p.rotate("two")
	m.waitForCopy(m.secret, "two")
	m.take()
	if now := m.waitForCopy(m.secret, "two"); now.UID != before.UID {
		m.t.Error("the Secret was recreated")
	}
	m.waitForReady("app")
	m.checkRevisions("app", 1)
	m.checkList("app", list...)
}

func readSection(t *testing.T, heading string) string {
	t.Helper()
	return section(t, migrationPage, heading)
}

// checkAdopted checks that the Secret is now a copy and was not recreated.
func (m *migration) checkAdopted(before *corev1.Secret) {
	m.t.Helper()
	now := m.copyOf(m.secret)
	if now == nil {
		m.t.Fatal("the Secret was deleted")
	}
	if now.UID != before.UID {
		m.t.Error("the Secret was recreated, want it adopted")
	}
	if now.Labels[pullsecrets.ManagedByLabel] != pullsecrets.ManagedByValue || now.Labels[pullsecrets.ClusterPullSecretLabel] != m.secret {
		m.t.Errorf("the Secret has the labels %v, want those of a copy", now.Labels)
	}
	if len(now.OwnerReferences) > 0 || now.Annotations[pullsecrets.SourceResourceVersionAnnotation] == "" {
		m.t.Errorf("the Secret has the owners %v and the annotations %v, want none and the source's version", now.OwnerReferences, now.Annotations)
	}
}

// checkCleared checks that the Secret has no metadata of the tool left.
func (m *migration) checkCleared(parts ...string) {
	m.t.Helper()
	now := m.copyOf(m.secret)
	for key := range maps.Keys(now.Labels) {
		if slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(key, part) }) {
			m.t.Errorf("the Secret still has the label %s", key)
		}
	}
	for key := range maps.Keys(now.Annotations) {
		if slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(key, part) }) {
			m.t.Errorf("the Secret still has the annotation %s", key)
		}
	}
}

const byHand = "From Secrets made by hand"

// makeByHand follows the page of riff, and of Knative except for the editor in which the
// list is changed.
func (m *migration) makeByHand(username, password string) {
	m.t.Helper()
	m.kubectl("create", "secret", "docker-registry", m.secret,
		"--docker-server=registry.example.com", "--docker-email=robot@example.com", "--docker-username="+username, "--docker-password="+password)
	m.kubectl("patch", "serviceaccount", "default", "--patch", `{"imagePullSecrets": [{"name": "`+m.secret+`"}]}`)
}

func (m *migration) kubectl(args ...string) {
	m.t.Helper()
	m.run(nil, "kubectl", args...)
}

// Knative's own procedure: a Secret, in the list of the default ServiceAccount.
func TestMigrationFromKnativesPage(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.makeByHand("robot", "one")
	m.goThrough(readSection(t, byHand), m.ns)

	// Then the entry is handed over and is removed with the grant.
	m.steps(readSection(t, "Afterwards"))
	m.waitForAccount("default", map[string]string{m.secret: "clusterpullsecret/" + m.secret}, m.secret)
	m.waitForReady("app")
	m.checkRevisions("app", 1)
	m.p.withdraw()
	m.waitForNoCopy(m.secret)
	m.waitForAccount("default", nil)
}

// riff's procedure: the same with a key of a service account.
func TestMigrationFromRiffsPage(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.makeByHand("_json_key", `{"type": "service_account", "private_key": "-----BEGIN\n…\"\n"}`)
	m.goThrough(readSection(t, byHand), m.ns)
}

// The way back: the Secrets are kept as they were.
func TestMigrationBackKeepsSecrets(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.makeByHand("robot", "one")
	m.running()
	before := m.copyOf(m.secret)
	watching := m.watchOver(m.secret, credentialsKept(t, before))
	m.assignAll(readSection(t, byHand), m.ns)
	m.steps(readSection(t, "The four steps"))
	m.steps(readSection(t, "Going back"))
	now := m.copyOf(m.secret)
	if now == nil || len(now.Labels) > 0 || len(now.Annotations) > 0 {
		t.Fatalf("the Secret is %v, want it kept without our labels and annotations", now)
	}
	m.checkSeen(watching)
}

// Knative's other way: the entry is in the template of one Service. It is replaced by the
// annotation, with kubectl apply of the two manifests.
func TestMigrationFromTemplates(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.kubectl("create", "secret", "docker-registry", m.secret, "--docker-server=registry.example.com", "--docker-username=robot", "--docker-password=one")
	apply := func(object *unstructured.Unstructured) {
		m.run(encode(object.Object), "kubectl", "apply", "-f", "-")
	}
	plain := manifests(t, m.Env, "by-digest.yaml")[0]
	listed := plain.DeepCopy()
	if err := unstructured.SetNestedSlice(listed.Object, refs([]string{m.secret}), "spec", "template", "spec", "imagePullSecrets"); err != nil {
		t.Fatal(err)
	}
	apply(listed)
	m.waitForReady("app")
	watching := m.watchOver(m.secret, credentialsKept(t, m.copyOf(m.secret)))

	m.assignAll(readSection(t, byHand), m.ns)
	m.assign("ACCOUNTS", "")
	m.steps(readSection(t, "The four steps"))
	said := parse(t, migrationPage, m.names.Replace(pages.Blocks(readSection(t, byHand), "yaml")[0]))[0]
	if said.GetName() != "app" {
		t.Fatalf("the page annotates Service %s", said.GetName())
	}
	plain.SetAnnotations(said.GetAnnotations())
	apply(plain)
	m.checkList("app", m.secret)
	m.checkLedger("app", map[string]string{m.secret: "service"})
	m.checkSeen(watching)
}

func TestMigrationFromRegistryCreds(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.makeAccount("robot", "own")
	m.tool = newRegistryCreds(m)
	m.aftermath = func() {
		// Objects that the deleted one still owns are collected, so the rest is kept.
		m.left.waitForCollection(m.secret)
	}
	m.goThrough(readSection(t, "From registry-creds"), m.ns)
	m.waitForAccount("robot", nil, "own", m.secret)
}

func TestMigrationFromImagePullSecretPatcher(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.tool = newPatcher(m)
	m.aftermath = func() {
		if value, found := m.copyOf(m.secret).Annotations["app.kubernetes.io/managed-by"]; found {
			t.Errorf("the Secret still has the annotation of %s", value)
		}
	}
	m.goThrough(readSection(t, "From imagepullsecret-patcher"), m.ns)
}

func TestMigrationFromReflector(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	original := newTenant(t)
	m.tool = newReflector(m, original)
	m.aftermath = func() {
		m.left.waitForNoCopy(m.secret) // The restarted tool does this.
		m.checkCleared("reflector")
	}
	m.goThrough(readSection(t, "From reflector"), original.ns, m.secret)
}

func TestMigrationFromKyverno(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	original := newTenant(t)
	m.tool = newKyverno(m, original)
	m.aftermath = func() { m.checkCleared("kyverno") }
	m.goThrough(readSection(t, "From Kyverno"), original.ns, m.secret)
}

// The page has commands that list the Secrets that cannot be adopted in place.
func TestMigrationListsSecretsThatCannotBeAdopted(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.assign("SECRET", m.secret)
	immutable := pullSecret(m.secret, "registry.example.com", "one")
	immutable.Immutable = new(true)
	legacy := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: m.secret}, Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(`{}`)}}
	for n, secret := range map[*tenant]*corev1.Secret{m.tenant: pullSecret(m.secret, "registry.example.com", "one"), m.home: immutable, m.left: legacy} {
		if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	found := pages.Blocks(readSection(t, "Before you start"), "sh")
	if len(found) != 1 {
		t.Fatalf("the section has %d blocks of commands, want 1", len(found))
	}
	listed := m.follow(found[0])
	checkContains(t, listed, m.home.ns, m.left.ns)
	if strings.Contains(listed, m.ns) {
		t.Errorf("%s is listed although it can be adopted:\n%s", m.ns, listed)
	}
}

// waitForCollection waits until the garbage collector has deleted the Secret. The
// collector discovers new kinds only twice a minute, so the timeout is longer.
func (n *tenant) waitForCollection(name string) {
	n.t.Helper()
	err := wait.PollUntilContextTimeout(n.t.Context(), glance, 5*timeout, true, func(context.Context) (bool, error) {
		return n.copyOf(name) == nil, nil
	})
	if err != nil {
		n.t.Fatalf("Secret %s still exists although its owner was deleted: %v", name, err)
	}
}
