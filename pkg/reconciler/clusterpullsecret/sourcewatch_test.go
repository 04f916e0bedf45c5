// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"sync"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// observed is a watch that reports when it is stopped.
type observed struct {
	watch.Interface
	stop func()
}

func (o observed) Stop() {
	o.stop()
	o.Interface.Stop()
}

// observe reports when watches of Secrets are opened and closed.
func observe(t *testing.T, client *fake.Clientset) (opened, closed chan string) {
	opened, closed = make(chan string, 10), make(chan string, 10)
	client.PrependWatchReactor("secrets", func(action clientgotesting.Action) (bool, watch.Interface, error) {
		restrictions := action.(clientgotesting.WatchAction).GetWatchRestrictions()
		what := action.GetNamespace() + " " + restrictions.Fields.String()
		w, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		if err != nil {
			t.Error(err)
			return true, nil, err
		}
		opened <- what
		return true, observed{w, sync.OnceFunc(func() { closed <- what })}, nil
	})
	return opened, closed
}

// TestSourceWatches lists what a watch of a source reports, from its start to its end.
func TestSourceWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(sourceOf("7", one))
		opened, closed := observe(t, client)
		notified := make(chan v1alpha1.SecretReference, 10)
		s := &sourceWatches{client: client, changed: func(ref v1alpha1.SecretReference) { notified <- ref }}
		secrets := client.CoreV1().Secrets(ref.Namespace)
		followed := func() error {
			s.follow(t.Context(), ref)
			return nil
		}
		for _, step := range []struct {
			reason                   string
			do                       func() error
			notified, opened, closed int
		}{
			{"the first event", followed, 1, 1, 0},
			{"it is watched already", followed, 0, 0, 0},
			{"a change", func() error { return second(secrets.Update(t.Context(), sourceOf("8", two), metav1.UpdateOptions{})) }, 1, 0, 0},
			{"the same version again", func() error { return second(secrets.Update(t.Context(), sourceOf("8", two), metav1.UpdateOptions{})) }, 0, 0, 0},
			{"a deletion", func() error { return secrets.Delete(t.Context(), ref.Name, metav1.DeleteOptions{}) }, 1, 0, 0},
			{"an addition", func() error { return second(secrets.Create(t.Context(), sourceOf("9", one), metav1.CreateOptions{})) }, 1, 0, 0},
			{"it is still referenced", func() error { s.keep(sets.New(ref)); return nil }, 0, 0, 0},
			{"it is no longer referenced", func() error { s.keep(nil); return nil }, 0, 0, 1},
			{"a change after the watch ended", func() error { return second(secrets.Update(t.Context(), sourceOf("10", two), metav1.UpdateOptions{})) }, 0, 0, 0},
			{"the first event of a new watch", followed, 1, 1, 0},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if w, o, c := len(notified), len(opened), len(closed); w != step.notified || o != step.opened || c != step.closed {
				t.Errorf("%s: notified %d times, %d watches opened and %d closed, want %d, %d and %d", step.reason, w, o, c, step.notified, step.opened, step.closed)
			}
			for range len(notified) {
				if got := <-notified; got != ref {
					t.Errorf("%s: notified of %s, want %s", step.reason, got, ref)
				}
			}
			for _, watches := range []chan string{opened, closed} {
				for range len(watches) {
					if got := <-watches; got != "pullsecrets-sources metadata.name=ghcr" {
						t.Errorf("%s: watched is %q, want the one Secret", step.reason, got)
					}
				}
			}
		}
	})
}
