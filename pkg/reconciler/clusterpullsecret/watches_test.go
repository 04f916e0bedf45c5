// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// hopeless is how long a test waits for what is to come at once.
const hopeless = 30 * time.Second

// receive waits for what is to come.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(hopeless):
		t.Fatalf("%s: never", what)
		panic("unreachable")
	}
}

// observed is a watch that tells when it is stopped.
type observed struct {
	watch.Interface
	stop func()
}

func (o observed) Stop() {
	o.stop()
	o.Interface.Stop()
}

// observe returns when watches of Secrets are opened and closed.
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

// TestSourceWatches follows a source from its first look to the last.
func TestSourceWatches(t *testing.T) {
	client := fake.NewClientset(sourceOf("7", one))
	opened, closed := observe(t, client)
	woken := make(chan v1alpha1.SecretReference, 10)
	s := &sourceWatches{client: client, changed: func(ref v1alpha1.SecretReference) { woken <- ref }}
	s.follow(t.Context(), ref)
	s.follow(t.Context(), ref)
	const exactly = "pullsecrets-sources metadata.name=ghcr"
	if got := receive(t, opened, "the watch"); got != exactly {
		t.Errorf("watched is %q, want %q", got, exactly)
	}

	secrets := client.CoreV1().Secrets(ref.Namespace)
	must := func(_ *corev1.Secret, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(secrets.Update(t.Context(), sourceOf("8", two), metav1.UpdateOptions{}))
	receive(t, woken, "the wake by a change")
	if err := secrets.Delete(t.Context(), ref.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	receive(t, woken, "the wake by a deletion")
	must(secrets.Create(t.Context(), sourceOf("9", one), metav1.CreateOptions{}))
	if got := receive(t, woken, "the wake by an addition"); got != ref {
		t.Errorf("%s wakes, want %s", got, ref)
	}
	// Events come in order, so the first look would have woken before these.
	if more := len(woken); more > 0 {
		t.Errorf("woken %d times more than by a change, a deletion and an addition", more)
	}
	if more := len(opened); more > 0 {
		t.Errorf("%d watches more than one of one source", more)
	}

	s.keep(sets.New(ref))
	if len(s.stopped) != 1 || len(closed) > 0 {
		t.Error("a source that is kept is not followed any more")
	}
	s.keep(nil)
	if got := receive(t, closed, "the end of the watch"); got != exactly || len(s.stopped) != 0 {
		t.Errorf("stopped is %q, and %d are followed; want %q and none", got, len(s.stopped), exactly)
	}
	s.follow(t.Context(), ref)
	receive(t, opened, "the watch anew")
}
