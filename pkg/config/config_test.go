// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/configmap"
	logtesting "knative.dev/pkg/logging/testing"
)

func TestNewFromMap(t *testing.T) {
	with := func(change func(*Config)) *Config {
		c := Default()
		change(c)
		return c
	}
	tests := []struct {
		reason string
		data   map[string]string
		want   *Config
		err    string
	}{
		{reason: "nothing", want: Default()},
		{reason: "the example is no setting", data: map[string]string{"_example": "backfill: all"}, want: Default()},
		{
			reason: "everything",
			data: map[string]string{
				"excluded-namespaces":    "kube-*, sandbox ,,team-[ab]",
				"source-namespaces":      "vault, pullsecrets-sources",
				"backfill":               " all\n",
				"backfill-per-minute":    "0",
				"uncovered":              "ignore ",
				"retry-failed-revisions": " enabled",
			},
			want: &Config{
				ExcludedNamespaces:   []string{"kube-*", "sandbox", "team-[ab]"},
				SourceNamespaces:     sets.New("vault", "pullsecrets-sources"),
				Backfill:             BackfillAll,
				Uncovered:            UncoveredIgnore,
				RetryFailedRevisions: true,
			},
		},
		{
			reason: "nothing is excluded", data: map[string]string{"excluded-namespaces": ""},
			want: with(func(c *Config) { c.ExcludedNamespaces = []string{} }),
		},
		{
			reason: "sources anywhere", data: map[string]string{"source-namespaces": "*"},
			want: with(func(c *Config) { c.SourceNamespaces = nil }),
		},
		{
			reason: "a bad glob", data: map[string]string{"excluded-namespaces": "ok,[a"},
			err: `excluded-namespaces: "[a" is not a valid glob, such as team-*`,
		},
		{
			reason: "a bad namespace", data: map[string]string{"source-namespaces": "Vault"},
			err: `source-namespaces: "Vault" is not a valid namespace name; expected names separated by commas, or * for all`,
		},
		{
			reason: "sources beside the programs", data: map[string]string{"source-namespaces": "pullsecrets-system"},
			err: "source-namespaces: pullsecrets-system must not contain sources: it is the namespace of the installation",
		},
		{
			reason: "an unknown mode", data: map[string]string{"backfill": "yes"},
			err: `backfill: "yes" is not one of safe, all, report and disabled`,
		},
		{
			reason: "a rate with a unit", data: map[string]string{"backfill-per-minute": "60/m"},
			err: `backfill-per-minute: "60/m" is not a number of Services; expected 0 (no limit) or more`,
		},
		{
			reason: "a negative rate", data: map[string]string{"backfill-per-minute": "-1"},
			err: `backfill-per-minute: "-1" is not a number of Services; expected 0 (no limit) or more`,
		},
		{
			reason: "the defaults by name", data: map[string]string{"uncovered": "report", "retry-failed-revisions": "disabled"},
			want: Default(),
		},
		{
			reason: "another word for ignore", data: map[string]string{"uncovered": "disabled"},
			err: `uncovered: "disabled" is not one of report and ignore`,
		},
		{
			reason: "a boolean", data: map[string]string{"retry-failed-revisions": "true"},
			err: `retry-failed-revisions: "true" is not one of enabled and disabled`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := NewFromMap(tt.data)
			var msg string
			if err != nil {
				msg = err.Error()
			}
			if msg != tt.err {
				t.Fatalf("error = %q, want %q", msg, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
		})
	}
}

func TestExcludes(t *testing.T) {
	c := Default()
	for namespace, want := range map[string]bool{
		"default": false, "team-a": false, "kubernetes": false,
		"kube-system": true, "knative-serving": true, "openshift-builds": true,
		"pullsecrets-system": true, "pullsecrets-sources": true,
	} {
		if got := c.Excludes(namespace, nil); got != want {
			t.Errorf("Excludes(%s) = %v, want %v", namespace, got, want)
		}
	}
	for value, want := range map[string]bool{"true": true, "True": true, "yes": true, "": true, "no": true, "False": true, "false": false} {
		if got := c.Excludes("team-a", map[string]string{"pullsecrets.dev/exclude": value}); got != want {
			t.Errorf("with the label's value %q, Excludes() = %t, want %t", value, got, want)
		}
		if !c.Excludes("pullsecrets-system", map[string]string{"pullsecrets.dev/exclude": value}) {
			t.Errorf("the label's value %q includes the installation's own namespace", value)
		}
	}
}

func TestAllowsSource(t *testing.T) {
	c := Default()
	if !c.AllowsSource("pullsecrets-sources") || c.AllowsSource("team-a") || c.AllowsSource("pullsecrets-system") {
		t.Error("by default, sources may lie in pullsecrets-sources alone")
	}
	c.SourceNamespaces = nil
	if !c.AllowsSource("team-a") || c.AllowsSource("pullsecrets-system") {
		t.Error("with *, sources may lie everywhere but beside the programs")
	}
}

func TestStore(t *testing.T) {
	store := NewStore(logtesting.TestLogger(t))
	if diff := cmp.Diff(Default(), store.Load()); diff != "" {
		t.Errorf("before there is a ConfigMap (-want, +got):\n%s", diff)
	}
	cm := func(data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: Name}, Data: data}
	}
	watcher := configmap.NewStaticWatcher(cm(map[string]string{"backfill": "report"}))
	store.WatchConfigs(t.Context(), watcher)
	if got := FromContext(store.ToContext(context.Background())).Backfill; got != BackfillReport {
		t.Errorf("backfill = %s, want report", got)
	}
	store.OnConfigChanged(cm(map[string]string{"backfill": "maybe"}))
	if got := store.Load().Backfill; got != BackfillReport {
		t.Errorf("after a value that does not parse: backfill = %s, want the running configuration to stay", got)
	}
	if got := FromContext(context.Background()); got.Backfill != BackfillSafe {
		t.Errorf("without a store: backfill = %s, want the default", got.Backfill)
	}
}

// defaulted is a watcher of ConfigMaps that may be missing.
type defaulted struct {
	configmap.ManualWatcher
	fallback *corev1.ConfigMap
}

func (d *defaulted) WatchWithDefault(cm corev1.ConfigMap, o ...configmap.Observer) {
	d.fallback = &cm
	d.Watch(cm.Name, o...)
}

// No program waits for the ConfigMap, because it is written through an API server that may
// call the program.
func TestStoreWithoutConfigMap(t *testing.T) {
	t.Setenv("SYSTEM_NAMESPACE", "pullsecrets-system")
	cm := func(mode Backfill) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: "pullsecrets-system", ResourceVersion: "1"},
			Data:       map[string]string{"backfill": string(mode)},
		}
	}
	watcher := &defaulted{ManualWatcher: configmap.ManualWatcher{Namespace: "pullsecrets-system"}}
	ctx, _ := fakekubeclient.With(t.Context())
	store := NewStore(logtesting.TestLogger(t))
	store.WatchConfigs(ctx, watcher)
	if watcher.fallback == nil {
		t.Fatal("the store waits for a ConfigMap that is missing")
	}
	watcher.OnChange(watcher.fallback)
	if got := store.Load().Backfill; got != BackfillSafe {
		t.Errorf("without a ConfigMap: backfill = %s, want the default", got)
	}
	watcher.OnChange(cm(BackfillReport))
	watcher.OnChange(watcher.fallback) // It is deleted.
	if got := store.Load().Backfill; got != BackfillReport {
		t.Errorf("after its deletion: backfill = %s, want the last settings to stay", got)
	}
	watcher.OnChange(cm(BackfillAll))
	if got := store.Load().Backfill; got != BackfillAll {
		t.Errorf("after it was created again: backfill = %s, want all", got)
	}

	ctx, _ = fakekubeclient.With(t.Context(), cm(BackfillAll))
	watcher = &defaulted{ManualWatcher: configmap.ManualWatcher{Namespace: "pullsecrets-system"}}
	NewStore(logtesting.TestLogger(t)).WatchConfigs(ctx, watcher)
	if watcher.fallback != nil {
		t.Error("a program could start with the defaults although there are settings")
	}
}
