// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

// valid returns a valid ClusterPullSecret with changes.
func valid(changes ...func(*ClusterPullSecret)) *ClusterPullSecret {
	c := &ClusterPullSecret{
		ObjectMeta: metav1.ObjectMeta{Name: "ghcr"},
		Spec: ClusterPullSecretSpec{
			SecretRef:         SecretReference{Namespace: "pullsecrets-sources", Name: "ghcr-robot"},
			NamespaceSelector: &metav1.LabelSelector{},
			SecretName:        "ghcr",
			DeletionPolicy:    DeletionPolicyDelete,
		},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func TestValidate(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	label64 := label63 + "a"

	tests := []struct {
		name   string
		change func(*ClusterPullSecret)
		// want lists one "message: path" of each error, in part; none means
		// that the object is valid.
		want []string
	}{{
		name:   "minimal",
		change: func(*ClusterPullSecret) {},
	}, {
		name: "everything set",
		change: func(c *ClusterPullSecret) {
			c.Spec.NamespaceSelector = &metav1.LabelSelector{
				MatchLabels:      map[string]string{"team": "true"},
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}}},
			}
			c.Spec.SecretName = label63
			c.Spec.Always = &Always{Services: true, ServiceAccounts: []string{"default", "*", "build.bot"}}
			c.Spec.DeletionPolicy = DeletionPolicyRetain
		},
	}, {
		name: "defaults not yet filled in",
		change: func(c *ClusterPullSecret) {
			c.Spec.SecretName = ""
			c.Spec.DeletionPolicy = ""
		},
	}, {
		name: "a name still to be generated",
		change: func(c *ClusterPullSecret) {
			c.Name, c.GenerateName = "", "ghcr-"
		},
	}, {
		name:   "name at the limit of a label value",
		change: func(c *ClusterPullSecret) { c.Name = label63 },
	}, {
		name:   "name too long for a label value",
		change: func(c *ClusterPullSecret) { c.Name = label64 },
		want:   []string{"invalid value: " + label64 + ": metadata.name"},
	}, {
		name:   "no source",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef = SecretReference{} },
		want:   []string{"missing field(s): spec.secretRef.name, spec.secretRef.namespace"},
	}, {
		name:   "no source namespace",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef.Namespace = "" },
		want:   []string{"missing field(s): spec.secretRef.namespace"},
	}, {
		name:   "source namespace is no name",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef.Namespace = "a.b" },
		want:   []string{"invalid value: a.b: spec.secretRef.namespace"},
	}, {
		name:   "source in the installation's own namespace",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef.Namespace = "pullsecrets-system" },
		want:   []string{"invalid value: pullsecrets-system: spec.secretRef.namespace"},
	}, {
		name:   "no source name",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef.Name = "" },
		want:   []string{"missing field(s): spec.secretRef.name"},
	}, {
		name:   "source name is no name",
		change: func(c *ClusterPullSecret) { c.Spec.SecretRef.Name = "Robot" },
		want:   []string{"invalid value: Robot: spec.secretRef.name"},
	}, {
		name:   "no selector",
		change: func(c *ClusterPullSecret) { c.Spec.NamespaceSelector = nil },
		want:   []string{"missing field(s): spec.namespaceSelector"},
	}, {
		name: "selector with a bad label value",
		change: func(c *ClusterPullSecret) {
			c.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "not a value"}
		},
		want: []string{`Invalid value: "not a value"`, "spec.namespaceSelector.matchLabels"},
	}, {
		name: "selector with a bad operator",
		change: func(c *ClusterPullSecret) {
			c.Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Is"}}
		},
		want: []string{"spec.namespaceSelector.matchExpressions[0].operator"},
	}, {
		name: "selector whose operator wants values",
		change: func(c *ClusterPullSecret) {
			c.Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpIn}}
		},
		want: []string{"spec.namespaceSelector.matchExpressions[0].values"},
	}, {
		name:   "secretName with capitals",
		change: func(c *ClusterPullSecret) { c.Spec.SecretName = "GHCR" },
		want:   []string{"invalid value: GHCR: spec.secretName"},
	}, {
		name:   "secretName with a slash",
		change: func(c *ClusterPullSecret) { c.Spec.SecretName = "a/b" },
		want:   []string{"invalid value: a/b: spec.secretName"},
	}, {
		name:   "secretName that is a Secret's name but too long for a label value",
		change: func(c *ClusterPullSecret) { c.Spec.SecretName = label64 },
		want:   []string{"invalid value: " + label64 + ": spec.secretName", "no more than 63"},
	}, {
		name:   "secretName with dots",
		change: func(c *ClusterPullSecret) { c.Spec.SecretName = "ghcr.io" },
	}, {
		name:   "ServiceAccount that is no name",
		change: func(c *ClusterPullSecret) { c.Spec.Always = &Always{ServiceAccounts: []string{"default", "Build", ""}} },
		want: []string{
			"invalid value: Build: spec.always.serviceAccounts[1]",
			"invalid value: : spec.always.serviceAccounts[2]",
		},
	}, {
		name:   "no globs but the one",
		change: func(c *ClusterPullSecret) { c.Spec.Always = &Always{ServiceAccounts: []string{"build-*"}} },
		want:   []string{"invalid value: build-*: spec.always.serviceAccounts[0]"},
	}, {
		name: "ServiceAccount listed twice",
		change: func(c *ClusterPullSecret) {
			c.Spec.Always = &Always{ServiceAccounts: []string{"default", "*", "default", "*"}}
		},
		want: []string{
			"invalid value: default: spec.always.serviceAccounts[2]",
			"already listed at index 0",
			"invalid value: *: spec.always.serviceAccounts[3]",
			"already listed at index 1",
		},
	}, {
		name: "registries and verification",
		change: func(c *ClusterPullSecret) {
			c.Spec.Registries = []string{"ghcr.io", "registry.example.com:5000/acme/app_1", "10.0.0.1:5000/acme/", "docker.io/acme"}
			c.Spec.Verify = &Verify{Images: []string{"ghcr.io/acme/app:1"}, Interval: &metav1.Duration{Duration: time.Minute}}
		},
	}, {
		name: "registries that no image has",
		change: func(c *ClusterPullSecret) {
			c.Spec.Registries = []string{"https://ghcr.io", "*.example.com", "ghcr.io/acme/app:1", "GHCR.io", "", "ghcr.io/v2/acme", "a", "a", strings.Repeat("a", 256)}
		},
		want: []string{
			"spec.registries[0]", "no scheme", "spec.registries[1]", "wildcards", "spec.registries[2]", "no tag", "spec.registries[3]", "lower case",
			"spec.registries[4]", "spec.registries[5]", "begin with v2", "spec.registries[7]", "already listed at index 6", "spec.registries[8]",
		},
	}, {
		name:   "too many registries",
		change: func(c *ClusterPullSecret) { c.Spec.Registries = make([]string, 65) },
		want:   []string{"at most 64 items"},
	}, {
		name: "verification of what is no image, and too often",
		change: func(c *ClusterPullSecret) {
			c.Spec.Verify = &Verify{Images: []string{"a b", "x", "x", "https://ghcr.io/app"}, Interval: &metav1.Duration{Duration: time.Second}}
		},
		want: []string{"spec.verify.images[0]", "spec.verify.images[2]", "already listed at index 1", "spec.verify.images[3]", "spec.verify.interval", "at least 1m0s"},
	}, {
		name:   "unknown deletionPolicy",
		change: func(c *ClusterPullSecret) { c.Spec.DeletionPolicy = "delete" },
		want:   []string{"invalid value: delete: spec.deletionPolicy", "must be Delete or Retain"},
	}, {
		name: "all mistakes are reported at once",
		change: func(c *ClusterPullSecret) {
			c.Name = label64
			c.Spec = ClusterPullSecretSpec{SecretName: "A", DeletionPolicy: "never", Always: &Always{ServiceAccounts: []string{"B"}}}
		},
		want: []string{
			"metadata.name", "spec.secretRef.name", "spec.secretRef.namespace", "spec.namespaceSelector",
			"spec.secretName", "spec.deletionPolicy", "spec.always.serviceAccounts[0]",
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			object := valid(test.change)
			before := object.DeepCopy()
			err := object.Validate(t.Context())
			switch {
			case len(test.want) == 0 && err != nil:
				t.Errorf("Validate = %v, want no error", err)
			case len(test.want) != 0 && err == nil:
				t.Errorf("Validate accepted %+v", object.Spec)
			}
			for _, want := range test.want {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("Validate = %q, which lacks %q", err, want)
				}
			}
			if diff := cmp.Diff(before, object); diff != "" {
				t.Error("Validate changed the object (-before, +after):", diff)
			}
		})
	}
}

// An object that is no longer valid must not be stuck: its status remains writable, and
// its finalizer removable.
func TestValidateLetsGo(t *testing.T) {
	bad := func(c *ClusterPullSecret) { c.Spec.SecretName = "NOT VALID" }
	deleted := func(c *ClusterPullSecret) { c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }

	tests := []struct {
		name   string
		ctx    func(context.Context) context.Context
		object *ClusterPullSecret
		ok     bool
	}{{
		name:   "update of the object",
		ctx:    func(ctx context.Context) context.Context { return apis.WithinUpdate(ctx, valid()) },
		object: valid(bad),
	}, {
		name:   "update of the status",
		ctx:    func(ctx context.Context) context.Context { return apis.WithinSubResourceUpdate(ctx, valid(), "status") },
		object: valid(bad),
		ok:     true,
	}, {
		name:   "update of an object that is being deleted",
		ctx:    func(ctx context.Context) context.Context { return apis.WithinUpdate(ctx, valid()) },
		object: valid(bad, deleted),
		ok:     true,
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.object.Validate(test.ctx(t.Context())); (err == nil) != test.ok {
				t.Errorf("Validate = %v, want accepted: %t", err, test.ok)
			}
		})
	}
}

// Revisions reference copies by name, so the name is immutable, whether explicit or
// defaulted.
func TestSecretNameIsImmutable(t *testing.T) {
	named := func(name string) func(*ClusterPullSecret) {
		return func(c *ClusterPullSecret) { c.Spec.SecretName = name }
	}
	own := valid().Name
	for _, test := range []struct {
		before, after string
		ok            bool
	}{{"", "", true}, {"", own, true}, {own, "", true}, {"other", "other", true}, {"", "other", false}, {"other", "", false}, {"other", own, false}} {
		ctx := apis.WithinUpdate(t.Context(), valid(named(test.before)))
		if err := valid(named(test.after)).Validate(ctx); (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), "spec.secretName") {
			t.Errorf("From %q to %q: %v, want accepted: %t", test.before, test.after, err, test.ok)
		}
	}
}

// Copies accept all labels and annotations but those that define who owns a Secret.
func TestCopyMetadataIsValidated(t *testing.T) {
	for key, ok := range map[string]bool{
		"team": true, "example.com/team": true, "argocd.argoproj.io/compare-options": true, "notkubernetes.io/x": true,
		"pullsecrets.dev/x": false, "x.pullsecrets.dev/y": false, "app.kubernetes.io/managed-by": false, "kubernetes.io/x": false,
		"kubectl.kubernetes.io/last-applied-configuration": false, "k8s.io/x": false, "meta.helm.sh/release-name": false, "no key": false, "": false, "a/b/c": false,
	} {
		for field, metadata := range map[string]CopyMetadata{
			"labels": {Labels: map[string]string{key: "x"}}, "annotations": {Annotations: map[string]string{key: "x"}},
		} {
			err := valid(func(c *ClusterPullSecret) { c.Spec.CopyMetadata = &metadata }).Validate(t.Context())
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "spec.copyMetadata."+field) {
				t.Errorf("%s: %q: %v, want accepted: %t", field, key, err, ok)
			}
		}
	}
	many := map[string]string{}
	for i := range 33 {
		many[fmt.Sprint("key-", i)] = ""
	}
	for reason, metadata := range map[string]CopyMetadata{
		"a value that no label has": {Labels: map[string]string{"team": "not a value"}},
		"too many labels":           {Labels: many},
		"too many annotations":      {Annotations: many},
		"too large":                 {Annotations: map[string]string{"x": strings.Repeat("x", 65<<10)}},
	} {
		if err := valid(func(c *ClusterPullSecret) { c.Spec.CopyMetadata = &metadata }).Validate(t.Context()); err == nil {
			t.Errorf("%s is accepted", reason)
		}
	}
}
