// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// waitForEvent waits for an Event on the ClusterPullSecret, in namespace default.
func (p *platform) waitForEvent(reason string, parts ...string) {
	p.t.Helper()
	n := &tenant{Env: p.Env, t: p.t, ns: metav1.NamespaceDefault}
	n.waitForEvent(about{"ClusterPullSecret", p.name}, reason, parts...)
}

// A source that can never pull an image is rejected with the invalid entry and a
// suggestion. A source that is probably wrong is used and reported. No status, Event or log
// contains a credential, wherever in the source it is.
func TestUnusableSourcesAreRejectedAndOddOnesReported(t *testing.T) {
	t.Parallel()
	// The logs are those of all tests, so it is the password of this one alone.
	password := "hunter2-" + rand.String(10)
	var hidden []string
	for key, parts := range map[string][]string{
		"hub.docker.com":             {`entry "hub.docker.com"`, "matches no image", "https://index.docker.io/v1/"},
		"https://index.docker.io/v1": {`entry "index.docker.io/v1"`, "https://index.docker.io/v1/"},
		"ghcr.io/acme/app:v1":        {"entry 1:", `use "ghcr.io/acme/app"`},
		"ghcr.io,quay.io":            {"entry 1:", "matches no image", `use "ghcr.io"`},
		// The password is in the key too.
		"ghcr.io/robot:" + password:      {"entry 1:", `use "ghcr.io/robot"`},
		"robot:" + password + "@ghcr.io": {"entry 1:", "expected a registry"},
	} {
		p := barePlatform(t)
		source := pullSecret(p.name, key, password)
		p.keepSource(source)
		p.grant()
		p.waitForSource(v1alpha1.ReasonSourceInvalid, parts...)
		p.waitForEvent(v1alpha1.ReasonSourceInvalid, parts...)
		hidden = append(hidden, p.checkHidden(source, password)...)
	}
	for key, odd := range map[string]struct {
		password string
		parts    []string
	}{
		"GHCR.IO":              {password, []string{"entry 1:", "use lower case"}},
		"registry-1.docker.io": {password, []string{`entry "registry-1.docker.io"`, "https://index.docker.io/v1/"}},
		"ghcr.io":              {password + "\n", []string{`entry "ghcr.io"`, "password ends with a line break"}},
	} {
		p := barePlatform(t)
		source := pullSecret(p.name, key, odd.password)
		p.keepSource(source)
		n := newTenant(t, p.granted(), optedIn(p.name))
		p.grant()
		n.waitForCopy(p.name, odd.password)
		c := p.waitForStatus("Ready", func(c *v1alpha1.ClusterPullSecret) bool { return c.IsReady() })
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
		if condition.Reason != v1alpha1.ReasonSourceQuestionable {
			t.Errorf("SourceReady is %s: %s", condition.Reason, condition.Message)
		}
		p.waitForEvent(v1alpha1.ReasonSourceQuestionable, odd.parts...)
		hidden = append(hidden, p.checkHidden(source, password, odd.password)...)
	}
	// A good source stays good with an additional useless key.
	p := barePlatform(t)
	source := pullSecret(p.name, "ghcr.io", password)
	source.Data[corev1.DockerConfigJsonKey] = []byte(strings.Replace(string(source.Data[corev1.DockerConfigJsonKey]),
		`{"auths":{`, `{"auths":{"hub.docker.com":{"auth":"dTpw"},`, 1))
	p.keepSource(source)
	p.grant()
	p.waitForStatus("a remark", func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
		return condition.IsTrue() && strings.Contains(condition.Message, `entry "hub.docker.com"`)
	})
	p.waitForEvent(v1alpha1.ReasonSourceQuestionable, `entry "hub.docker.com"`)
	hidden = append(hidden, p.checkHidden(source, password)...)
	checkNotLogged(t, p.Env, hidden)
}

// checkHidden checks that neither the ClusterPullSecret nor an Event about it contains a password of
// the source, and returns the forms in which it would be found.
func (p *platform) checkHidden(source *corev1.Secret, passwords ...string) (forms []string) {
	p.t.Helper()
	forms = append(forms, passwords...)
	for _, password := range passwords {
		// As in the field auth, and alone.
		for _, text := range []string{source.Name + ":" + password, password} {
			forms = append(forms, base64.StdEncoding.EncodeToString([]byte(text)))
		}
	}
	for _, data := range source.Data {
		forms = append(forms, base64.StdEncoding.EncodeToString(data))
	}
	object, err := p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(p.t.Context(), p.name, metav1.GetOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	texts := []string{string(encode(object))}
	n := &tenant{Env: p.Env, t: p.t, ns: metav1.NamespaceDefault}
	for _, event := range n.events(about{"ClusterPullSecret", p.name}, "") {
		texts = append(texts, string(encode(event)))
	}
	if len(object.Status.Conditions) == 0 || len(texts) < 2 {
		p.t.Errorf("ClusterPullSecret %s has %d conditions and %d Events, want some of each", p.name, len(object.Status.Conditions), len(texts)-1)
	}
	for _, text := range texts {
		for _, form := range forms {
			if strings.Contains(text, form) {
				p.t.Errorf("%q is in %s", form, text)
			}
		}
	}
	return forms
}

// checkNotLogged checks that none of the forms is in a log of the controller or the webhook, if these
// are files.
func checkNotLogged(t *testing.T, e *env.Env, forms []string) {
	t.Helper()
	if e.Kind != env.Local {
		return
	}
	processes, err := e.Processes.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"controller", "webhook"} {
		searched := 0
		for _, process := range processes {
			// The second process of one is named controller-1.
			if process.Name != program && !strings.HasPrefix(process.Name, program+"-") {
				continue
			}
			content, err := os.ReadFile(process.Log)
			if err != nil {
				t.Fatal(err)
			}
			searched += len(content)
			for _, form := range forms {
				if bytes.Contains(content, []byte(form)) {
					t.Errorf("%q is in %s", form, process.Log)
				}
			}
		}
		if searched == 0 {
			t.Errorf("the %s has logged nothing", program)
		}
	}
}

// A misspelled or misplaced key of ours is reported by a warning and by an Event, with
// the correct spelling or place.
func TestMisspelledAndMisplacedKeysAreReported(t *testing.T) {
	t.Parallel()
	n := newTenant(t, env.Annotated("pullsecrets.dev/secret", "ghcr"), env.Labelled(pullsecrets.SecretsAnnotation, "ghcr"))
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "Annotation pullsecrets.dev/secret", "pullsecrets.dev/secrets?")
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "Label pullsecrets.dev/secrets", "it is an annotation of a Namespace or a Service")

	onTemplate := func(object *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(object.Object, "ghcr", "spec", "template", "metadata", "annotations", pullsecrets.SecretsAnnotation); err != nil {
			panic(err)
		}
	}
	a := n.askToCreate("by-digest.yaml", nil, annotated("pullsecrets.dev/Secrets", "ghcr"), onTemplate).succeeded(t)
	a.checkList(t)
	a.checkWarned(t, "pullsecrets.dev/Secrets: unknown key", "the annotation pullsecrets.dev/secrets")
	a.checkWarned(t, "pullsecrets.dev/secrets: has no effect on the template of a Service")
	n.checkWarnings(a)
	n.waitForEvent(service("app"), "InvalidAnnotation", "Annotation pullsecrets.dev/Secrets: unknown key")
	n.waitForEvent(service("app"), "InvalidAnnotation", "on the template of a Service")

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot", Labels: map[string]string{pullsecrets.InjectAnnotation: "auto"}}}
	if _, err := n.Kube.CoreV1().ServiceAccounts(n.ns).Create(t.Context(), account, metav1.CreateOptions{FieldManager: user}); err != nil {
		t.Fatal(err)
	}
	n.waitForEvent(about{"ServiceAccount", "robot"}, "InvalidAnnotation", "Label pullsecrets.dev/inject: has no effect on a ServiceAccount")

	// After the Namespace is corrected, nothing is reported twice.
	n.patchNamespace(map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{"pullsecrets.dev/secret": nil, pullsecrets.SecretsAnnotation: "ghcr"},
		"labels":      map[string]any{pullsecrets.SecretsAnnotation: nil},
	}})
	n.settle("ghcr")
	n.checkEvents(n.namespace(), "InvalidAnnotation", 2)
	n.checkEvents(service("app"), "InvalidAnnotation", 2)
}

// The label excludes with any value such as True or yes: no copy is created and an
// existing one is deleted. Only false does not exclude.
func TestExcludedByAnyValue(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted(), optedIn(p.name))
	p.grant()
	n.waitForCopy(p.name, "one")
	for _, value := range []string{"True", "yes", ""} {
		n.labelNamespace(pullsecrets.ExcludeLabel, value)
		n.waitForNoCopy(p.name)
		p.waitForStatus("0/0", func(c *v1alpha1.ClusterPullSecret) bool {
			return c.Status.Namespaces != nil && c.Status.Namespaces.Wanted == 0
		})
		a := n.askToCreate("by-digest.yaml", dryRun).succeeded(t)
		a.checkList(t)
		n.labelNamespace(pullsecrets.ExcludeLabel, "false")
		n.waitForCopy(p.name, "one")
	}
}

// With inject: auto image volumes count too. Only the node pulls them, so a credential
// that the kubelet finds is enough.
func TestAutoCoversImageVolumes(t *testing.T) {
	t.Parallel()
	p := barePlatform(t)
	p.keepSource(pullSecret(p.name, "docker.io/acme", "one"))
	n := newTenant(t, p.granted(), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	allowFeature(t, n.Env, "kubernetes.podspec-volumes-image")
	p.grant()
	n.waitForCopy(p.name, "one")
	model := func(reference string) func(*unstructured.Unstructured) {
		return func(object *unstructured.Unstructured) {
			containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			containers[0].(map[string]any)["volumeMounts"] = []any{map[string]any{"name": "model", "mountPath": "/models"}}
			volumes := []any{map[string]any{"name": "model", "image": map[string]any{"reference": reference, "pullPolicy": "IfNotPresent"}}}
			for field, value := range map[string]any{"containers": containers, "volumes": volumes} {
				if err := unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", field); err != nil {
					panic(err)
				}
			}
		}
	}
	eventually(t, func(context.Context) error { // The webhooks have their own watches.
		a := n.askToCreate("by-digest.yaml", dryRun, model("acme/model:v3"))
		if a.err == nil && len(pullSecretsOf(a.object)) != 1 {
			return fmt.Errorf("a new Service gets %q", pullSecretsOf(a.object))
		}
		return a.err
	})
	n.askToCreate("by-digest.yaml", dryRun, model("quay.io/acme/model:v3")).succeeded(t).checkList(t)
	n.applyAs("by-digest.yaml", "unseen", unadmitted, annotated(pullsecrets.InjectAnnotation, "auto"), model("acme/model:v3"))
	n.waitForList("unseen", p.name)
}
