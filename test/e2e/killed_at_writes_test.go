// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// The controller is killed at each write of a distribution, of a rotation and of both
// forms of revocation: once before the write reaches the API server, and once before the
// response reaches the controller. In every case the next controller reaches the same
// state as an undisturbed one, creates nothing twice, and changes nothing of the users.
//
// Each boundary has its own scene, and all scenes are alike. The first scene, without a
// kill, shows which writes there are. The order of writes in different namespaces may
// differ between runs, so a boundary is a write to a certain object and not the n-th
// write. A write that only a later run shows is added, until every write has been a
// boundary. The controller of the next scene continues with the earlier ones and is
// killed in turn, so the last controller has many kills to recover from.
func TestControllerIsKilledAtEachWrite(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl)
	liftRate(t, env.Get(t))
	controller := newFaultyController(t)
	k := &killings{t: t, controller: controller, shape: withoutPods(t, env.Get(t))}

	k.run(act{
		name: "distribution", begin: (*scene).grantToAll, is: (*scene).isDistributed,
		writes: []string{"PATCH CPS #1", "PUT CPS/status #1", "POST A/secrets #1", "PATCH A/serviceaccounts/builder #1", "PATCH A/serviceaccounts/default #1", "PATCH A/services/fleet-0000 #1", "POST B/secrets #1"},
	})
	k.run(act{
		name: "rotation", begin: func(s *scene) { s.rotate("two") }, is: (*scene).isDistributed,
		writes: []string{"PUT CPS/status #1", "PUT A/secrets/CPS #1"},
	})
	k.run(act{
		name: "revocation by the selector", begin: (*scene).selectNone, is: (*scene).isRevoked,
		writes: []string{"DELETE A/secrets/CPS #1", "PATCH A/secrets/CPS #1", "PATCH A/serviceaccounts/builder #1", "PATCH A/serviceaccounts/default #1", "PUT CPS/status #1"},
	})
	k.regrant()
	k.run(act{
		name: "revocation by deletion", begin: (*scene).deleteGrant, is: (*scene).isRevoked,
		writes: []string{"DELETE A/secrets/CPS #1", "PATCH A/secrets/CPS #1", "PATCH A/serviceaccounts/builder #1", "PATCH A/serviceaccounts/default #1", "PATCH CPS #1"},
	})
}

// act is an operation that the controller performs in each scene.
type act struct {
	name  string
	begin func(*scene)
	// is returns what is missing until the act is complete.
	is func(*scene) error
	// writes are boundaries that must have occurred, before and after; otherwise the test
	// shows nothing.
	writes []string
}

// killings are the scenes and the controller that is killed in them.
type killings struct {
	t          *testing.T
	controller *faultyController
	shape      func(int, *servingv1.Service)
	scenes     []*scene
	// granted is the number of scenes in which the first act has happened.
	granted int

	// mu guards the notes of the proxy.
	mu sync.Mutex
	// done counts the successful writes, by scene and write.
	done map[*scene]map[string]int
}

// boundary is a moment at which the controller is killed.
type boundary struct {
	write string
	when  fault
}

// run performs the act in every scene, with a boundary in each but the first.
func (k *killings) run(a act) {
	k.t.Helper()
	began := time.Now()
	k.done = map[*scene]map[string]int{}
	writes, met := k.watch(k.scene(0), a, boundary{})
	if met {
		k.t.Fatal("the undisturbed controller was killed")
	}
	want := k.scenes[0].picture()
	var boundaries []boundary
	add := func(writes []string) {
		for _, w := range writes {
			for _, when := range []fault{unsent, unanswered} {
				if b := (boundary{w, when}); !slices.Contains(boundaries, b) {
					boundaries = append(boundaries, b)
				}
			}
		}
	}
	add(writes)
	killed := map[boundary]bool{}
	for i := 0; i < len(boundaries); i++ {
		if k.granted > 0 && i+1 >= k.granted {
			k.t.Fatalf("%s: there are %d boundaries and %d scenes", a.name, len(boundaries), k.granted)
		}
		writes, met := k.watch(k.scene(i+1), a, boundaries[i])
		if met {
			killed[boundaries[i]] = true
		} else {
			k.t.Logf("%s: this time without %s", a.name, boundaries[i].write)
		}
		add(writes)
	}
	for _, w := range a.writes {
		for _, when := range []fault{unsent, unanswered} {
			if !killed[boundary{w, when}] {
				k.t.Errorf("%s: the controller was not killed at write %q (%v), only at %v", a.name, w, when, killed)
			}
		}
	}
	k.granted = max(k.granted, len(boundaries)+1)
	k.finish(a, want, k.scenes[:len(boundaries)+1])
	k.t.Logf("%s: killed %d times at %d boundaries in %s, of %q", a.name, len(killed), len(boundaries), time.Since(began).Round(time.Second), writes)
}

// watch starts the act in a scene and runs a controller until it reaches the boundary or
// the act is complete. It returns the writes of this scene so far, and whether the
// boundary was reached.
func (k *killings) watch(s *scene, a act, b boundary) (writes []string, met bool) {
	k.t.Helper()
	a.begin(s)
	before := maps.Clone(k.done[s])
	note := func(name string) {
		if !slices.Contains(writes, name) {
			writes = append(writes, name)
		}
	}
	k.controller.start(func(w write) fault {
		k.mu.Lock()
		defer k.mu.Unlock()
		name, ours := s.nameOf(w)
		if !ours {
			return none
		}
		// A rejected write changed nothing, so its retry is not another boundary.
		times := k.done[s][name] - before[name]
		name = fmt.Sprintf("%s #%d", name, times+1)
		if times == 0 {
			note(name)
		}
		if name != b.write {
			return none
		}
		met = true
		return b.when
	}, func(w write) {
		k.count(w)
		k.mu.Lock()
		defer k.mu.Unlock()
		if name, ours := s.nameOf(w); ours && w.done() {
			note(fmt.Sprintf("%s #%d", name, k.done[s][name]-before[name]))
		}
	})
	eventually(k.t, func(context.Context) error {
		if k.controller.proxy.stopped() {
			return nil
		}
		if err := a.is(s); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if met {
			return fmt.Errorf("%s: the write %s is still in progress", a.name, b.write)
		}
		return nil
	})
	k.controller.kill()
	return writes, met
}

// count records a successful write, in whichever scene.
func (k *killings) count(w write) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !w.done() {
		return
	}
	for _, s := range k.scenes {
		if name, ours := s.nameOf(w); ours {
			if k.done[s] == nil {
				k.done[s] = map[string]int{}
			}
			k.done[s][name]++
		}
	}
}

// finish runs a controller until all scenes have reached the same final state, and checks
// their writes. Only statuses may be written more often.
func (k *killings) finish(a act, want string, scenes []*scene) {
	k.t.Helper()
	k.controller.start(func(write) fault { return none }, k.count)
	for _, s := range scenes {
		var now string
		eventually(k.t, func(context.Context) error {
			if now = s.picture(); now != want {
				return fmt.Errorf("%s: final state differs from the undisturbed one (-want +got):\n%s", a.name, cmp.Diff(want, now))
			}
			return nil
		})
	}
	k.controller.kill()
	for i, s := range scenes {
		if now := s.users(); now != s.before {
			k.t.Errorf("%s: objects of the users have changed (-before +after):\n%s", a.name, cmp.Diff(s.before, now))
		}
		for name, times := range k.done[s] {
			if times != 1 && !strings.Contains(name, "CPS/status") {
				k.t.Errorf("%s: scene %d had write %s %d times, want once", a.name, i, name, times)
			}
		}
	}
}

// scenesAtOnce is the number of scenes that are created concurrently.
const scenesAtOnce = 8

// scene returns the i-th scene. Scenes are created while no controller runs.
func (k *killings) scene(i int) *scene {
	k.t.Helper()
	for i >= len(k.scenes) {
		for range scenesAtOnce {
			k.scenes = append(k.scenes, newScene(k.t, k.shape))
		}
		for _, s := range k.scenes[len(k.scenes)-scenesAtOnce:] {
			s.a.waitForReady(fleet.Name(0))
			s.before = s.users()
		}
	}
	return k.scenes[i]
}

// regrant reverts the revocation by selector in every scene.
func (k *killings) regrant() {
	k.t.Helper()
	for _, s := range k.scenes {
		if s.find() != nil {
			s.selectTeam(s.name)
		}
	}
	k.controller.start(func(write) fault { return none }, k.count)
	for _, s := range k.scenes {
		if s.find() != nil {
			eventually(k.t, func(context.Context) error { return s.isDistributed() })
		}
	}
	k.controller.kill()
}

// scene is a ClusterPullSecret for two Namespaces. A has a Service, a ServiceAccount with
// its own entries, and a user's Secret. B has a user's Secret with the name of the copy.
type scene struct {
	*platform
	a, b  *tenant
	roles *strings.Replacer
	// before is the state of the users' objects.
	before string
}

func newScene(t *testing.T, shape func(int, *servingv1.Service)) *scene {
	t.Helper()
	p := newPlatform(t)
	s := &scene{platform: p, a: newTenant(t, p.granted()), b: newTenant(t, p.granted())}
	s.a.makeAccount("builder", "own-b", "own-a")
	for n, name := range map[*tenant]string{s.a: "own", s.b: p.name} {
		secret := pullSecret(name, "own.example.com", "own")
		if _, err := n.Kube.CoreV1().Secrets(n.ns).Create(t.Context(), secret, metav1.CreateOptions{FieldManager: user}); err != nil {
			t.Fatal(err)
		}
	}
	if err := fleet.Create(t.Context(), s.Serving, s.a.ns, 0, 1, shape); err != nil {
		t.Fatal(err)
	}
	s.roles = strings.NewReplacer(
		"/api/v1/namespaces/"+s.a.ns, "A", "/api/v1/namespaces/"+s.b.ns, "B",
		"/apis/serving.knative.dev/v1/namespaces/"+s.a.ns, "A",
		"/apis/pullsecrets.dev/v1alpha1/clusterpullsecrets/"+p.name, "CPS",
		s.a.ns, "A", s.b.ns, "B", p.name, "CPS",
	)
	return s
}

// nameOf returns the scene-independent name of a write, if it belongs to this scene.
func (s *scene) nameOf(w write) (string, bool) {
	path := s.roles.Replace(w.path)
	return w.method + " " + path, path != w.path
}

func (s *scene) grantToAll() {
	s.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.Always = &v1alpha1.Always{Services: true, ServiceAccounts: []string{"*"}}
	})
}

// hold adds a tenant's finalizer to the copy.
func (s *scene) hold() {
	s.a.patchSecret(s.name, map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold"}}})
}

func (s *scene) selectTeam(team string) {
	s.patchGrant(map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{teamLabel: team}}})
}

func (s *scene) selectNone() {
	s.hold()
	s.selectTeam("none")
}

func (s *scene) deleteGrant() {
	s.hold()
	if err := s.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(s.t.Context(), s.name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal("delete the ClusterPullSecret: ", err)
	}
}

// find returns the ClusterPullSecret, or nil.
func (s *scene) find() *v1alpha1.ClusterPullSecret {
	s.t.Helper()
	found, err := s.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(s.t.Context(), s.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// isDistributed returns what is missing until A has a copy of the current source, all
// lists refer to it, and the status reports this and the conflict in B, which comes last.
func (s *scene) isDistributed() error {
	s.t.Helper()
	source, err := s.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Get(s.t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	found := s.find()
	if n := found.Status.Namespaces; !found.IsReady() || found.Status.ObservedGeneration != found.Generation || n == nil || n.Synced != 1 || n.Conflicted != 1 ||
		found.Status.Source == nil || found.Status.Source.ResourceVersion != source.ResourceVersion {
		return fmt.Errorf("status is %+v", found.Status)
	}
	if list := s.a.list(fleet.Name(0)); !slices.Equal(list, []string{s.name}) {
		return fmt.Errorf("Service has imagePullSecrets %q", list)
	}
	return s.accountsHave(s.name)
}

// isRevoked returns what is missing until neither copy nor binding exists and the
// ClusterPullSecret reports it or is gone.
func (s *scene) isRevoked() error {
	s.t.Helper()
	if s.a.copyOf(s.name) != nil {
		return fmt.Errorf("a copy exists")
	}
	if found := s.find(); found != nil && (found.Status.ObservedGeneration != found.Generation || found.Status.Namespaces.Selected != 0) {
		return fmt.Errorf("status is %+v", found.Status)
	}
	return s.accountsHave()
}

// accountsHave returns an error for a ServiceAccount that has other entries than its own
// and these.
func (s *scene) accountsHave(names ...string) error {
	for _, account := range []struct {
		*tenant
		name string
		own  []string
	}{{s.a, "builder", []string{"own-b", "own-a"}}, {s.a, "default", nil}, {s.b, "default", nil}} {
		list, _, err := account.accountList(s.t.Context(), account.name)
		if err != nil {
			return err
		}
		if !slices.Equal(list, slices.Concat(account.own, names)) {
			return fmt.Errorf("ServiceAccount %s has %q", account.name, list)
		}
	}
	return nil
}

// picture returns the state of the scene, equal for all scenes in the same state.
func (s *scene) picture() string {
	s.t.Helper()
	var all []any
	for _, n := range []*tenant{s.a, s.b} {
		all = append(all, n.secretsAndAccounts()...)
		list, err := n.Serving.ServingV1().Services(n.ns).List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, svc := range list.Items {
			all = append(all, svc.Name, svc.Generation, svc.Annotations[pullsecrets.AddedAnnotation], svc.Spec)
		}
		revisions, err := n.Serving.ServingV1().Revisions(n.ns).List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, revision := range revisions.Items {
			all = append(all, revision.Name, revision.Spec.ImagePullSecrets)
		}
	}
	version := "none"
	if found := s.find(); found != nil {
		all = append(all, found.Finalizers, found.DeletionTimestamp, found.Status.Registries, found.Status.Namespaces, found.Status.Failures)
		for _, c := range found.Status.Conditions {
			all = append(all, c.Type, c.Status, c.Reason, c.Message)
		}
		if found.Status.Source != nil {
			version = found.Status.Source.ResourceVersion
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(s.roles.Replace(string(text)), `"`+version+`"`, `"VERSION"`)
}

// secretsAndAccounts returns the Secrets and ServiceAccounts of a Namespace without the
// fields that differ between scenes.
func (n *tenant) secretsAndAccounts() []any {
	n.t.Helper()
	var all []any
	secrets, err := n.Kube.CoreV1().Secrets(n.ns).List(n.t.Context(), metav1.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, s := range secrets.Items {
		// The data contains names of the scene in encoded form.
		all = append(all, s.Name, s.Labels, s.Annotations, s.Finalizers, s.OwnerReferences, s.DeletionTimestamp, s.Type, slices.Sorted(maps.Keys(s.Data)), logins(&s))
	}
	accounts, err := n.Kube.CoreV1().ServiceAccounts(n.ns).List(n.t.Context(), metav1.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, account := range accounts.Items {
		all = append(all, account.Name, account.Annotations, account.ImagePullSecrets)
	}
	return all
}

// users returns the users' Secrets byte for byte, and the Service without the list of
// pull secrets.
func (s *scene) users() string {
	s.t.Helper()
	svc, err := s.Serving.ServingV1().Services(s.a.ns).Get(s.t.Context(), fleet.Name(0), metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	svc.Spec.Template.Spec.ImagePullSecrets = nil
	text, err := json.MarshalIndent([]any{s.a.copyOf("own"), s.b.copyOf(s.name), svc.Labels, svc.Spec}, "", "  ")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
