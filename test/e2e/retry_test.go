// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// usualAttempts is the number of attempts after which Knative waits for 16 seconds before its next
// one. The attempts come after 0, 1, 2, 4 and 8 seconds. RETRY_ATTEMPTS=7 is more than a minute.
const usualAttempts = 5

// attemptsToWaitFor returns how many attempts of Knative a test waits for, and how long Knative then
// waits.
func attemptsToWaitFor(t *testing.T) (attempts int, wait time.Duration) {
	t.Helper()
	attempts = usualAttempts
	if text := os.Getenv("RETRY_ATTEMPTS"); text != "" {
		var err error
		if attempts, err = strconv.Atoi(text); err != nil || attempts < 2 {
			t.Fatalf("RETRY_ATTEMPTS is %q, want a number from 2 on", text)
		}
	}
	return attempts, time.Second << (attempts - 1)
}

// rejection is a Service whose image a registry rejects.
type rejection struct {
	*tenant
	registry *loopbackRegistry
	// revision is the name of its Revision, and uid the UID of the first one.
	revision string
	uid      types.UID
	// waits is how long Knative waits, since the last attempt, which was made before last.
	waits time.Duration
	last  time.Time
}

// reject creates a Service with an image of an account, and waits until Knative has backed off
// from the registry.
func (n *tenant) reject(registry *loopbackRegistry, account, revision string, edits ...func(*unstructured.Unstructured)) *rejection {
	n.t.Helper()
	n.serve("app", []string{registry.host + "/" + account + "/app:v1"}, edits...)
	r := &rejection{tenant: n, registry: registry, revision: revision}
	attempts, wait := attemptsToWaitFor(n.t)
	r.waitForAttempts(attempts, 0)
	r.waits, r.last = wait, time.Now()
	r.uid = r.current()
	return r
}

// waitForAttempts waits until Knative has made a number of attempts after the first requests.
func (r *rejection) waitForAttempts(attempts, after int) {
	r.t.Helper()
	eventually(r.t, func(context.Context) error {
		// Each attempt has two requests.
		if got := r.registry.agents("") - after; got < 2*attempts {
			return fmt.Errorf("registry has %d requests, want %d", got, 2*attempts)
		}
		return nil
	})
}

// checkTook checks how long it took since Knative's last attempt, if Knative waits for so long that
// a slow machine makes no difference.
func (r *rejection) checkTook(retried bool) {
	r.t.Helper()
	took := time.Since(r.last).Round(time.Second)
	r.t.Logf("Ready %s after the last attempt of Knative, which waits for %s", took, r.waits)
	if r.waits >= time.Minute && retried != (took < r.waits/4) {
		r.t.Errorf("Service was Ready after %s, and Knative waits for %s; retried: %t", took, r.waits, retried)
	}
}

func (r *rejection) current() types.UID {
	r.t.Helper()
	revision, err := r.Serving.ServingV1().Revisions(r.ns).Get(r.t.Context(), r.revision, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return revision.UID
}

// waitForRetry waits until Knative has created the Revision again.
func (r *rejection) waitForRetry() {
	r.t.Helper()
	eventually(r.t, func(ctx context.Context) error {
		revision, err := r.Serving.ServingV1().Revisions(r.ns).Get(ctx, r.revision, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if revision.UID == r.uid {
			return fmt.Errorf("Revision %s has not been created again", r.revision)
		}
		r.uid = revision.UID
		return nil
	})
}

// checkSame checks that the Revision was not created again.
func (r *rejection) checkSame() {
	r.t.Helper()
	if r.current() != r.uid {
		r.t.Errorf("Revision %s was created again", r.revision)
	}
}

// rejectedCopy returns a Service for which the registry rejects the copy of a platform: the
// password is another one.
func rejectedCopy(t *testing.T, password string) (*platform, *rejection) {
	t.Helper()
	registry, p := newLoopbackRegistry(t), barePlatform(t)
	registry.setPassword(p.name, password)
	p.keepSource(pullSecret(p.name, registry.host, "first"))
	p.grant()
	n := newTenant(t, p.granted(), optedIn(p.name))
	n.waitForAnyCopy(p.name)
	return p, n.reject(registry, p.name, "app-00001")
}

// A Revision that the registry rejected is retried once for each change of its credential, if
// that is enabled. Otherwise it waits for Knative's next attempt. The test is not parallel,
// because it changes the settings.
func TestRetryOfARejectedRevision(t *testing.T) {
	o := newOperator(t)
	defer o.restore()

	t.Run("disabled", func(t *testing.T) {
		p, app := rejectedCopy(t, "second")
		controller, err := app.AsServiceAccount(t.Context(), pullsecrets.SystemNamespace, "controller")
		if err != nil {
			t.Fatal(err)
		}
		a := attempts{tenant: app.tenant, as: controller}
		a.checkRejectedBecause("only while retry-failed-revisions", "retrying without the setting", a.deleteRevision(app.revision))
		p.keepSource(pullSecret(p.name, app.registry.host, "second"))
		app.waitForReady("app")
		app.checkTook(false)
		app.checkSame()
		app.checkEvents(service("app"), "RevisionRetried", 0)
	})

	admin := newTenant(t).reader()
	for _, commands := range pages.Blocks(section(t, "operations.md", "Failed Revisions"), "sh") {
		admin.follow(commands)
	}
	settings, err := o.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Get(t.Context(), "config-pullsecrets", metav1.GetOptions{})
	if err != nil || settings.Data[retryFailed] != "enabled" {
		t.Fatalf("after the documented commands, %s is %q (%v)", retryFailed, settings.Data[retryFailed], err)
	}
	o.set(map[string]string{retryFailed: "enabled"})
	t.Run("enabled", func(t *testing.T) {
		t.Run("a copy that is rotated twice", func(t *testing.T) {
			t.Parallel()
			p, app := rejectedCopy(t, "third")
			app.checkEvents(service("app"), "RevisionRetried", 0)
			p.keepSource(pullSecret(p.name, app.registry.host, "second")) // Rejected, too.
			app.waitForRetry()
			// Two attempts, because a change in the second of the creation is left to Knative, and not
			// more: a busy Knative can miss that the old Revision was deleted, and keep its delay.
			app.waitForAttempts(2, app.registry.agents(""))
			p.keepSource(pullSecret(p.name, app.registry.host, "third"))
			app.waitForRetry()
			app.waitForReady("app")
			app.checkSame()
			app.checkRevisions("app", 1)
			app.checkRetries(2)
		})
		t.Run("a Secret of the tenant's own", func(t *testing.T) {
			t.Parallel()
			registry := newLoopbackRegistry(t)
			registry.setPassword("own", "first")
			app := newTenant(t, optedIn("own")).reject(registry, "own", "app-00001")
			app.waitForEvent(service("app"), "NotCovered", "tag resolution", "Secret own does not exist")
			app.keepOwn(pullSecret("own", registry.host, "first"))
			app.waitForRetry()
			app.waitForReady("app")
			app.checkTook(true)
			app.checkRevisions("app", 1)
			app.checkRetries(1)
		})
		t.Run("a template that names its Revision", func(t *testing.T) {
			t.Parallel()
			registry := newLoopbackRegistry(t)
			registry.setPassword("own", "first")
			app := newTenant(t, optedIn("own")).reject(registry, "own", "app-blue", func(service *unstructured.Unstructured) {
				set(service, "app-blue", "spec", "template", "metadata", "name")
			})
			app.keepOwn(pullSecret("own", registry.host, "first"))
			app.waitForRetry()
			app.waitForReady("app")
			app.checkRevisions("app", 1)
		})
		t.Run("a Namespace that opts in after the failure", func(t *testing.T) {
			t.Parallel()
			registry := newLoopbackRegistry(t)
			registry.setPassword("own", "first")
			app := newTenant(t).reject(registry, "own", "app-00001")
			app.keepOwn(pullSecret("own", registry.host, "first"))
			app.annotateNamespace(pullsecrets.SecretsAnnotation, "own")
			app.waitForReady("app") // by a Revision with the pull secret, not by a retry
			app.checkTook(true)
			app.checkRevisions("app", 2)
			app.checkSame()
		})
		t.Run("a Secret for another registry", func(t *testing.T) {
			t.Parallel()
			registry := newLoopbackRegistry(t)
			app := newTenant(t, optedIn("own")).reject(registry, "own", "app-00001")
			app.keepOwn(pullSecret("own", "registry.example.com", "x"))
			app.waitForEvent(service("app"), "NotCovered", "no key of the pull secrets matches")
			app.checkSame()
			app.checkEvents(service("app"), "RevisionRetried", 0)
		})
		t.Run("only what a registry rejected", checkWhatCanBeDeleted)
	})
}

// checkWhatCanBeDeleted checks, while retrying is enabled, that the controller can delete a Revision
// that a registry rejected, and no other one. All attempts are dry runs.
func checkWhatCanBeDeleted(t *testing.T) {
	t.Parallel()
	const (
		revision = "app-00001"
		// only is the rule of config/707-policy-revisions.yaml.
		only = "deletes only Revisions that were never Ready because a registry rejected their images"
	)
	attempt := func(n *tenant) attempts {
		controller, err := n.AsServiceAccount(t.Context(), pullsecrets.SystemNamespace, "controller")
		if err != nil {
			t.Fatal(err)
		}
		return attempts{tenant: n, as: controller}
	}
	// serves creates a Service of an image for which nobody has a credential.
	serves := func(registry *loopbackRegistry, reason string) *tenant {
		n := newTenant(t)
		n.serve("app", []string{registry.host + "/own/app:v1"})
		n.waitForMissing("app", reason)
		return n
	}
	registry, empty := newLoopbackRegistry(t), newLoopbackRegistry(t)
	rejected := attempt(serves(registry, "401 Unauthorized"))
	// From here on only the status of a Revision decides: the setting is in force.
	eventually(t, func(context.Context) error { return rejected.deleteRevision(revision) })

	empty.fail(http.StatusNotFound)
	absent := attempt(serves(empty, "404 Not Found"))
	absent.checkRejectedBecause(only, "deleting a Revision whose image does not exist", absent.deleteRevision(revision))

	failed := attempt(newTenant(t, env.Labelled(env.RevisionsLabel, env.RevisionsFail)))
	failed.apply("by-digest.yaml")
	failed.waitForFailed()
	failed.checkRejectedBecause(only, "deleting a Revision whose Pods do not start", failed.deleteRevision(revision))

	ready := attempt(newTenant(t))
	ready.apply("by-digest.yaml")
	ready.waitForReady("app")
	ready.checkRejectedBecause(only, "deleting a Revision that is Ready", ready.deleteRevision(revision))

	// Digests in the status mean that the tags were resolved, so that there may have been Pods. With
	// more of them than containers, Knative resolves the tag again, so that nothing else changes. It
	// may write an older status once, so the changes are repeated.
	for _, field := range []string{"containerStatuses", "initContainerStatuses"} {
		eventually(t, func(context.Context) error {
			rejected.patchStatus(revision, map[string]any{field: []any{map[string]any{"name": "one"}, map[string]any{"name": "two"}}})
			return rejected.rejectedBecause(only, rejected.deleteRevision(revision))
		})
		eventually(t, func(context.Context) error {
			rejected.patchStatus(revision, map[string]any{field: nil})
			return rejected.deleteRevision(revision)
		})
	}
}

// patchStatus changes the status of a Revision, as its administrator.
func (n *tenant) patchStatus(revision string, status map[string]any) {
	n.t.Helper()
	_, err := n.Serving.ServingV1().Revisions(n.ns).Patch(n.t.Context(), revision, types.MergePatchType,
		encode(map[string]any{"status": status}), metav1.PatchOptions{FieldManager: user}, "status")
	if err != nil {
		n.t.Fatalf("update the status of Revision %s: %v", revision, err)
	}
}

// checkRetries checks how often the Revision was retried, when that is reported.
func (r *rejection) checkRetries(want int) {
	r.t.Helper()
	r.waitForEvent(service("app"), "RevisionRetried", r.revision)
	eventually(r.t, func(context.Context) error {
		got := 0
		for _, event := range r.events(service("app"), "RevisionRetried") {
			got += int(max(event.Count, 1))
		}
		if got != want {
			return fmt.Errorf("Revision %s was retried %d times, want %d", r.revision, got, want)
		}
		return nil
	})
}
