// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// endLabel is set on the watched objects when the witness has seen enough.
const endLabel = "e2e.test/end"

// witness watches all changes of a pull Secret, of the ServiceAccounts and of the
// Revisions of Service app, and records what must not happen while Services run: that the
// Secret is deleted, recreated or loses its credential, that a list loses an entry, or
// that there is one more Revision.
type witness struct {
	*tenant
	secret *corev1.Secret
	// usable returns an error unless a node could still pull with the Secret.
	usable func(*corev1.Secret) error
	lists  map[string][]string

	mu     sync.Mutex
	faults []string
	// ended are the kinds whose watch has received the end label.
	ended map[string]bool
}

// watchOver starts a witness, which sees all changes from here on.
func (n *tenant) watchOver(secret string, usable func(*corev1.Secret) error) *witness {
	n.t.Helper()
	w := &witness{tenant: n, usable: usable, lists: map[string][]string{}, ended: map[string]bool{}}
	secrets, accounts, revisions := n.Kube.CoreV1().Secrets(n.ns), n.Kube.CoreV1().ServiceAccounts(n.ns), n.Serving.ServingV1().Revisions(n.ns)
	var err error
	if w.secret, err = secrets.Get(n.t.Context(), secret, metav1.GetOptions{}); err != nil {
		n.t.Fatal(err)
	}
	all, err := accounts.List(n.t.Context(), metav1.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, account := range all.Items {
		w.lists[account.Name] = namesOf(account.ImagePullSecrets)
	}
	// Objects of the Services of settle are not watched.
	ofApp := "serving.knative.dev/service=app"
	made, err := revisions.List(n.t.Context(), metav1.ListOptions{LabelSelector: ofApp})
	if err != nil {
		n.t.Fatal(err)
	}
	one := "metadata.name=" + secret
	w.start(w.secret.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = one
		return secrets.Watch(ctx, o)
	})
	w.start(all.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		return accounts.Watch(ctx, o)
	})
	w.start(made.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = ofApp
		return revisions.Watch(ctx, o)
	})
	return w
}

func (w *witness) start(version string, open func(context.Context, metav1.ListOptions) (watch.Interface, error)) {
	w.t.Helper()
	// It resumes a broken watch, and reports if it cannot.
	watcher, err := toolswatch.NewRetryWatcherWithContext(w.t.Context(), version, &cache.ListWatch{WatchFuncWithContext: open})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(watcher.Stop)
	go func() {
		for event := range watcher.ResultChan() {
			w.see(event)
		}
	}()
}

func (w *witness) see(event watch.Event) {
	switch object := event.Object.(type) {
	case *corev1.Secret:
		w.seeSecret(event.Type, object)
	case *corev1.ServiceAccount:
		w.seeAccount(event.Type, object)
	case *servingv1.Revision:
		if event.Type == watch.Added {
			w.note("Revision %s was created", object.Name)
		}
	default:
		w.note("watch failed: %s %v", event.Type, describe(event.Object))
	}
}

func describe(object runtime.Object) string {
	if status, ok := object.(*metav1.Status); ok {
		return status.Message
	}
	return fmt.Sprintf("%T", object)
}

func (w *witness) seeSecret(kind watch.EventType, secret *corev1.Secret) {
	if kind == watch.Deleted {
		w.note("Secret %s was deleted", secret.Name)
		return
	}
	if secret.UID != w.secret.UID {
		w.note("Secret %s was recreated", secret.Name)
	}
	if err := w.usable(secret); err != nil {
		w.note("Secret %s became unusable: %v", secret.Name, err)
	}
	if secret.Labels[endLabel] != "" {
		w.end("Secret")
	}
}

func (w *witness) seeAccount(kind watch.EventType, account *corev1.ServiceAccount) {
	if kind == watch.Deleted {
		w.note("ServiceAccount %s was deleted", account.Name)
	}
	list := namesOf(account.ImagePullSecrets)
	for _, name := range w.lists[account.Name] {
		if !slices.Contains(list, name) {
			w.note("ServiceAccount %s lost %s and has %q", account.Name, name, list)
		}
	}
	if account.Labels[endLabel] != "" {
		w.end("ServiceAccount")
	}
}

func (w *witness) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *witness) end(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[kind] = true
}

// check waits until the watches have reached this moment and reports what they saw.
func (w *witness) check() {
	w.t.Helper()
	mark := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{endLabel: "seen"}}})
	options := metav1.PatchOptions{FieldManager: user}
	_, err := w.Kube.CoreV1().Secrets(w.ns).Patch(w.t.Context(), w.secret.Name, types.MergePatchType, mark, options)
	if err == nil {
		_, err = w.Kube.CoreV1().ServiceAccounts(w.ns).Patch(w.t.Context(), "default", types.MergePatchType, mark, options)
	}
	if err != nil {
		w.t.Errorf("%v, after the watch saw %q", err, w.seen())
		return
	}
	eventually(w.t, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ended["Secret"] || !w.ended["ServiceAccount"] {
			return fmt.Errorf("only the watches of %v have ended, after %q", w.ended, w.faults)
		}
		return nil
	})
	for _, fault := range w.seen() {
		w.t.Error(fault)
	}
}

func (w *witness) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

func namesOf(refs []corev1.LocalObjectReference) []string {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	return names
}

// logins returns the credentials of a pull Secret by registry, as user:password.
func logins(secret *corev1.Secret) map[string]string {
	var config struct {
		Auths map[string]struct{ Username, Password, Auth string }
	}
	if json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &config) != nil {
		return nil
	}
	found := make(map[string]string, len(config.Auths))
	for registry, entry := range config.Auths {
		found[registry] = entry.Username + ":" + entry.Password
		if auth, err := base64.StdEncoding.DecodeString(entry.Auth); err == nil && len(auth) > 0 {
			found[registry] = string(auth)
		}
	}
	return found
}

// credentialsKept returns a check for a witness: the Secret must keep its credentials, in
// any form.
func credentialsKept(t *testing.T, from *corev1.Secret) func(*corev1.Secret) error {
	t.Helper()
	want := logins(from)
	if len(want) == 0 {
		t.Fatalf("Secret %s contains no credential", from.Name)
	}
	return func(secret *corev1.Secret) error {
		got := logins(secret)
		for registry, login := range want {
			if got[registry] != login {
				return fmt.Errorf("login for %s is %q, want %q", registry, got[registry], login)
			}
		}
		return nil
	}
}
