// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
)

// examples is the directory of the documentation's examples, relative to this package.
const examples = "../../docs/examples"

// Every example works as described. It creates its own namespaces, and comments in it
// give the expected pull secrets of its Services:
//
//	# expect: NAMESPACE/SERVICE: SECRET, SECRET
//
// All copies of its ClusterPullSecrets, if any, must exist.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s contains no examples", examples)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			e := env.Get(t)
			liftRate(t, e)
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			expectations := expectationsIn(t, string(content))
			applyExample(t, e, file, string(content))
			for _, want := range expectations {
				n := &tenant{Env: e, t: t, ns: want.namespace}
				n.waitForList(want.service, want.secrets...)
			}
			for _, object := range parse(t, file, string(content)) {
				if object.GetKind() == "ClusterPullSecret" {
					waitForCopies(t, e, object.GetName())
				}
			}
			// Other Services have got their pull secrets by now, so this one would have
			// too.
			for _, want := range expectations {
				n := &tenant{Env: e, t: t, ns: want.namespace}
				n.checkList(want.service, want.secrets...)
			}
		})
	}
}

// waitForCopies waits until a ClusterPullSecret is Ready and has copies.
func waitForCopies(t *testing.T, e *env.Env, name string) {
	t.Helper()
	cps, err := versioned.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{Env: e, t: t, name: name, cps: cps}
	p.waitForStatus("that all copies exist", func(c *v1alpha1.ClusterPullSecret) bool {
		n := c.Status.Namespaces
		return c.IsReady() && n != nil && n.Wanted > 0 && n.Synced == n.Wanted
	})
}

// applyExample applies the file until all of it is accepted, because a file may create
// the namespaces and kinds that it uses. It deletes the objects after the test.
func applyExample(t *testing.T, e *env.Env, file, content string) {
	t.Helper()
	objects := parse(t, file, content)
	for _, object := range objects {
		if object.GetKind() == "Namespace" {
			// Nothing of a file is there before it is applied, and here a Service can be Ready sooner
			// than the controller knows the registries of a source. Then its change is deferred.
			set(object, env.RevisionsWait, "metadata", "labels", env.RevisionsLabel)
		}
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, object := range objects {
			client, err := resource(e, object)
			if err == nil {
				err = client.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("delete %s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	})
	eventually(t, func(ctx context.Context) error {
		var failures []error
		for _, object := range objects {
			failures = append(failures, apply(ctx, e, object.DeepCopy()))
		}
		return errors.Join(failures...)
	})
}

// expectation is the expected list of a Service of an example.
type expectation struct {
	namespace, service string
	secrets            []string
}

// expectationsIn parses the comments. The slash and the first colon after it are the
// separators; the list may be empty.
func expectationsIn(t *testing.T, content string) []expectation {
	t.Helper()
	var all []expectation
	for lines := bufio.NewScanner(strings.NewReader(content)); lines.Scan(); {
		text, found := strings.CutPrefix(lines.Text(), "# expect:")
		if !found {
			continue
		}
		want, err := parseExpectation(text)
		if err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		all = append(all, want)
	}
	if len(all) == 0 {
		t.Fatal("the example has no line \"# expect: NAMESPACE/SERVICE: SECRET, SECRET\"")
	}
	return all
}

func parseExpectation(text string) (expectation, error) {
	object, secrets, ok := strings.Cut(text, ":")
	namespace, service, slash := strings.Cut(strings.TrimSpace(object), "/")
	if !ok || !slash || namespace == "" || service == "" {
		return expectation{}, fmt.Errorf("want NAMESPACE/SERVICE: SECRET, SECRET")
	}
	want := expectation{namespace: namespace, service: service}
	for secret := range strings.SplitSeq(secrets, ",") {
		if secret = strings.TrimSpace(secret); secret != "" {
			want.secrets = append(want.secrets, secret)
		}
	}
	return want, nil
}
