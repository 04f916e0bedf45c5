// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/template"
)

// knativeCluster is Knative's webhook with given settings, in Knative's own code.
type knativeCluster struct{ config *config.Config }

// knativeClusters have the settings of real clusters. Any of them may have set the
// defaults of an old template.
var knativeClusters = func() (all []knativeCluster) {
	features := map[string]string{}
	for _, feature := range []string{
		"multi-container", "kubernetes.podspec-affinity", "kubernetes.podspec-nodeselector", "kubernetes.podspec-tolerations",
		"kubernetes.podspec-securitycontext", "kubernetes.podspec-init-containers", "kubernetes.podspec-volumes-emptydir",
		"kubernetes.podspec-hostaliases", "kubernetes.podspec-runtimeclassname", "kubernetes.podspec-priorityclassname",
		"kubernetes.podspec-schedulername", "kubernetes.podspec-dnspolicy", "kubernetes.podspec-topologyspreadconstraints",
		"kubernetes.podspec-fieldref", "kubernetes.containerspec-addcapabilities",
	} {
		features[feature] = "enabled"
	}
	for _, data := range []map[string]string{
		{}, {"revision-timeout-seconds": "60", "revision-idle-timeout-seconds": "30", "revision-cpu-request": "100m", "revision-memory-limit": "1Gi"},
		{"container-name-template": "{{.Name}}", "enable-service-links": "default", "container-concurrency": "7"},
		{"secure-pod-defaults": "enabled", "revision-response-start-timeout-seconds": "10"},
	} {
		features["secure-pod-defaults"] = data["secure-pod-defaults"]
		d, err := config.NewDefaultsConfigFromMap(data)
		if err != nil {
			panic(err)
		}
		f, err := config.NewFeaturesConfigFromMap(features)
		if err != nil {
			panic(err)
		}
		complete := config.FromContextOrDefaults(context.Background())
		complete.Defaults, complete.Features = d, f
		all = append(all, knativeCluster{complete})
	}
	return all
}()

func parsed(raw []byte) (*servingv1.Service, error) {
	var svc servingv1.Service
	return &svc, json.Unmarshal(raw, &svc)
}

// admit handles a request as Knative's two webhooks do, or only the mutating one if
// validate is false (resourcesemantics/defaulting and validation).
func (k knativeCluster) admit(user string, old, requested []byte, validate bool) ([]byte, error) {
	svc, err := parsed(requested)
	if err != nil {
		return nil, err
	}
	base := config.ToContext(context.Background(), k.config)
	ctx := apis.WithinCreate(base)
	if old != nil {
		before, err := parsed(old)
		if err != nil {
			return nil, err
		}
		before.SetDefaults(base)
		ctx = apis.WithinUpdate(base, before)
	}
	svc.SetDefaults(apis.WithUserInfo(ctx, &authenticationv1.UserInfo{Username: user}))
	stored, err := json.Marshal(svc)
	if err != nil || !validate {
		return stored, err
	}
	if old != nil {
		before, err := parsed(old)
		if err != nil {
			return nil, err
		}
		ctx = apis.WithinUpdate(base, before)
	}
	if svc, err = parsed(stored); err != nil {
		return nil, err
	}
	if err := svc.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
		return nil, err
	}
	return stored, nil
}

// revises reports whether Knative creates a Revision when a Service is stored
// (pkg/reconciler/service: a difference beyond defaults is written, and a Configuration
// whose stored spec changed has a new generation).
func (k knativeCluster) revises(t *testing.T, old, stored []byte) bool {
	t.Helper()
	before, err := parsed(old)
	if err != nil {
		t.Fatal(err)
	}
	after, err := parsed(stored)
	if err != nil {
		t.Fatal(err)
	}
	existing := &servingv1.Configuration{Spec: *before.Spec.ConfigurationSpec.DeepCopy()}
	existing.SetDefaults(config.ToContext(context.Background(), k.config))
	if equality.Semantic.DeepEqual(existing.Spec, after.Spec.ConfigurationSpec) &&
		equality.Semantic.DeepEqual(before.Annotations, after.Annotations) {
		return false
	}
	was, _ := json.Marshal(before.Spec.ConfigurationSpec)
	is, _ := json.Marshal(after.Spec.ConfigurationSpec)
	return !bytes.Equal(was, is)
}

// scene is one request, as it would be without the webhook.
type scene struct {
	settings       int
	user           string
	old, requested []byte
	unknown        bool
	// writes is what the writer kept of our additions: all, the ledger, or nothing.
	writes int
	// state is the index of the old object's pull secrets and of what is declared.
	state int
	// missed means that the first call of the request fails, so that Knative receives the
	// request unchanged.
	missed bool
}

// states are the pull secrets that were injected and those that are declared.
var states = []struct{ has, declared string }{
	{"n", "n"}, {"n", "n,more"}, {"", "n"}, {"n", ""}, {"", ""},
}

// newScene returns a scene, or nil if Knative rejects the first manifest.
func newScene(d *dice) *scene {
	s := &scene{settings: d.next(len(knativeClusters)), user: pick(d, []string{"alice", "bob", "bob"}), writes: d.next(3), state: d.next(len(states))}
	before := s.settings
	if d.next(4) == 0 {
		before = d.next(len(knativeClusters))
	}
	first := d.newTemplate()
	whole := map[string]any{"metadata": map[string]any{"name": "app", "namespace": ns}, "spec": map[string]any{"template": first}}
	text, _ := json.Marshal(whole)
	old, err := knativeClusters[before].admit("alice", nil, text, true)
	if err != nil {
		return nil
	}
	s.old = old
	var live map[string]any
	if err := json.Unmarshal(old, &live); err != nil {
		return nil
	}
	spec := live["spec"].(map[string]any)
	next := first
	if d.next(3) == 0 { // A writer that changes what it has read.
		next = spec["template"].(map[string]any)
	}
	for range d.next(3) {
		s.unknown = d.edit(next) || s.unknown
	}
	spec["template"] = next
	if d.next(6) == 0 {
		live["metadata"].(map[string]any)["labels"] = map[string]any{"changed": "yes"}
	}
	if d.next(6) == 0 {
		spec["traffic"] = []any{map[string]any{"latestRevision": true, "percent": 100, "tag": "current"}}
	}
	if s.requested, err = json.Marshal(live); err != nil || !wellFormedList(s.requested) {
		return nil
	}
	s.missed = d.next(4) == 0
	return s
}

// wellFormedList reports whether the API server accepts the list of pull secrets, which
// is a map by name.
func wellFormedList(raw []byte) bool {
	o, err := decode(raw)
	if err != nil {
		return true
	}
	names, err := o.names()
	unique := sets.New(names...)
	return err == nil && unique.Len() == len(names) && !unique.Has("")
}

// with returns an object with pull secrets and a ledger of ours.
func with(t *testing.T, raw []byte, name string, list, ledger bool) []byte {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	if spec, ok := object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any); ok && list && name != "" {
		items, _ := spec["imagePullSecrets"].([]any)
		spec["imagePullSecrets"] = append(items, map[string]any{"name": name})
	}
	if metadata := object["metadata"].(map[string]any); ledger && name != "" {
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
			metadata["annotations"] = annotations
		}
		annotations[pullsecrets.AddedAnnotation] = fmt.Sprintf(`{%q:"namespace"}`, name)
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// oracle answers requests as a cluster with Knative does, with the webhook and without.
type oracle struct {
	ours                                [][]*serviceAdmission // by settings and state
	pairs, rejected, revised, unchanged int
}

func newOracle(t testing.TB) *oracle {
	o := &oracle{}
	for _, k := range knativeClusters {
		var services []*serviceAdmission
		for _, state := range states {
			w := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", state.declared)}, settings: template.NewSettings(k.config.Defaults, k.config.Features)}
			services = append(services, w.services(t))
		}
		o.ours = append(o.ours, services)
	}
	return o
}

// check runs a scene in a namespace without the webhook and in one with it, where the API
// server calls the webhook again after Knative.
func (o *oracle) check(t *testing.T, s *scene) {
	t.Helper()
	k := knativeClusters[s.settings]
	fail := func(law string, args ...any) {
		t.Errorf("%s\nsettings %d, state %+v, user %s, writes %d, missed %t\nold       %s\nrequested %s", fmt.Sprintf(law, args...), s.settings, states[s.state], s.user, s.writes, s.missed, s.old, s.requested)
	}
	alone, errAlone := k.admit(s.user, s.old, s.requested, true)

	has := states[s.state].has
	old := with(t, s.old, has, true, true)
	requested := with(t, s.requested, has, s.writes == 0, s.writes < 2)
	services := o.ours[s.settings][s.state]
	call := func(object []byte) []byte {
		r := request(t, "", "")
		r.Operation, r.UserInfo.Username = admissionv1.Update, s.user
		r.Object.Raw, r.OldObject.Raw = object, old
		return apply(t, r, services.Admit(t.Context(), r))
	}
	first := requested
	if !s.missed {
		first = call(requested)
	}
	between, errOurs := k.admit(s.user, old, first, false)
	var last, stored []byte
	if errOurs == nil {
		last = call(between)
		stored, errOurs = k.admit(s.user, old, last, true)
	}
	o.pairs++
	if (errAlone == nil) != (errOurs == nil) {
		fail("Knative alone answers %v, and with us %v", errAlone, errOurs)
	}
	if errAlone != nil || errOurs != nil {
		o.rejected++
		return
	}
	// If this Knative drops an unknown field, it finds no change, and the second call must
	// agree.
	if !s.missed && !s.unknown && !bytes.Equal(last, between) {
		fail("The second call changes what the first one and Knative made:\nafter the first %s\nafter Knative %s\nafter the second %s", first, between, last)
	}
	want := k.revises(t, s.old, alone)
	if want {
		o.revised++
	} else {
		o.unchanged++
	}
	if s.unknown {
		// A newer Knative may know the field and find a change where this one drops it.
		return
	}
	if got := k.revises(t, old, stored); got != want {
		fail("A Revision: %t, and by Knative alone %t\nstored %s", got, want, stored)
	}
	if got, want := modifier(stored), modifier(alone); got != want {
		fail("lastModifier is %s, and by Knative alone %s", got, want)
	}
}

func modifier(raw []byte) string {
	var object struct{ Metadata metav1.ObjectMeta }
	_ = json.Unmarshal(raw, &object)
	return object.Metadata.Annotations[serving.UpdaterAnnotation]
}

// TestKnativeAlone compares admission with Knative alone: a request is rejected with the
// webhook exactly if it is rejected without, creates a Revision exactly if it creates one
// without, and records the same user. The second call changes nothing.
func TestKnativeAlone(t *testing.T) {
	const pairs = 10000
	o := newOracle(t)
	for seed := uint64(0); o.pairs < pairs && !t.Failed(); seed++ {
		if s := newScene(newDice(binary.BigEndian.AppendUint64(nil, seed*0x9e3779b97f4a7c15))); s != nil {
			o.check(t, s)
		}
	}
	t.Logf("%d pairs: %d rejected, %d made a Revision, %d did not", o.pairs, o.rejected, o.revised, o.unchanged)
	for what, n := range map[string]int{"rejected": o.rejected, "made a Revision": o.revised, "did not": o.unchanged} {
		if !t.Failed() && n < pairs/10 {
			t.Errorf("only %d of %d requests %s", n, pairs, what)
		}
	}
}

func FuzzKnativeAlone(f *testing.F) {
	for seed := range 64 {
		f.Add(binary.BigEndian.AppendUint64(nil, uint64(seed)*0x9e3779b97f4a7c15))
	}
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if s := newScene(newDice(data)); s != nil {
			o.check(t, s)
		}
	})
}
