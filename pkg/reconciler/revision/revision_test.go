// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// A finding is reported once, after it lasted for a while, and again if it comes back.
func TestFindingsAreReportedOnce(t *testing.T) {
	values := Metrics(t)
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision())
	got, again := w.reconcile()
	w.check("at first", got)
	if again <= 0 || again > reportAfter {
		t.Errorf("reconciled again after %v, want at most %v", again, reportAfter)
	}
	if w.now = w.now.Add(reportAfter); values()["pullsecrets.images.uncovered{namespace=team,reason=Missing}"] != 0 {
		t.Error("it is counted before it lasted")
	}
	got, again = w.reconcile()
	w.check("later", got, `Warning NotCovered Container "user-container": image "ghcr.io/acme/app:v1" is not covered for tag resolution: Secret ghcr does not exist; create it`)
	if again != 0 {
		t.Errorf("reconciled again after %v at rest", again)
	}
	if got := values()["pullsecrets.images.uncovered{namespace=team,reason=Missing}"]; got != 1 {
		t.Errorf("%d images are counted, want 1", got)
	}
	got, _ = w.reconcile()
	w.check("once", got)
	if len(w.reads) != 1 {
		t.Errorf("read %q, want one read", w.reads)
	}

	key := types.NamespacedName{Namespace: ns, Name: "ghcr"}
	w.secrets["ghcr"] = pullSecret("ghcr", "ghcr.io", created, nil)
	w.r.secrets.observe(key, "1")
	w.r.secrets.refresh(w.ctx, key)
	w.check("covered", w.lasting())
	if got := values(); got["pullsecrets.images.uncovered{namespace=team,reason=Missing}"] != 0 {
		t.Errorf("images are counted that are covered: %v", got)
	}
	delete(w.secrets, "ghcr")
	w.r.secrets.observe(key, "")
	w.r.secrets.refresh(w.ctx, key)
	w.check("it is gone again", w.lasting(), "NotCovered")
	if err := w.r.ObserveDeletion(w.ctx, types.NamespacedName{Namespace: ns, Name: "app"}); err != nil {
		t.Fatal(err)
	}
	if got := values(); got["pullsecrets.images.uncovered{namespace=team,reason=Missing}"] != 0 {
		t.Errorf("images of a deleted Service are counted: %v", got)
	}
}

// A check that a demotion overtakes leaves nothing behind: another process counts the images now.
func TestDemotedDuringACheck(t *testing.T) {
	values := Metrics(t)
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision())
	key := types.NamespacedName{Namespace: ns, Name: "app"}
	w.reconcile()
	images := w.r.images
	w.r.images = func() grant.ImageSettings {
		w.lost[key] = true
		w.r.memory.Demote(bucketOf(w.lost))
		return images()
	}
	w.lasting()
	w.r.findings.Each(func(key types.NamespacedName, all *[]finding) { t.Errorf("%s: %v is remembered", key, *all) })
	if got := values()["pullsecrets.images.uncovered{namespace=team,reason=Missing}"]; got != 0 {
		t.Errorf("%d images are counted, want none", got)
	}
}

func TestWhatIsReported(t *testing.T) {
	copyLabels := grant.CopyLabels("ghcr")
	granted := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = []string{"ghcr.io"} })
	other := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	})
	unready := ClusterPullSecret("hub", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.SecretName = "ghcr"
		cps.Status.MarkSourceNotFound(cps.Spec.SecretRef)
	})
	sourced := unready.DeepCopy()
	sourced.Spec.SecretRef = v1alpha1.SecretReference{Namespace: ns, Name: "ghcr"}
	outdated := granted.DeepCopy()
	outdated.Status.Expires = new(metav1.NewTime(created))
	always := unready.DeepCopy()
	always.Spec.Always = &v1alpha1.Always{ServiceAccounts: []string{"*"}}
	bare := revision(WithRevisionPullSecrets())
	broken := pullSecret("ghcr", "x", created, nil)
	broken.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":[]}`)
	routed := func(r *servingv1.Revision) { r.Labels["serving.knative.dev/routingState"] = "active" }
	ignore := config.Default()
	ignore.Uncovered = config.UncoveredIgnore
	for _, test := range []struct {
		reason  string
		config  *config.Config
		objects []runtime.Object
		want    []string
		reads   int
	}{
		{reason: "the user's Secret covers it", objects: []runtime.Object{declares("ghcr"), app(), revision(), pullSecret("ghcr", "ghcr.io", created, nil)}, reads: 1},
		{reason: "a copy covers it, without a read", objects: []runtime.Object{declares("ghcr"), app(), revision(), pullSecret("ghcr", "ghcr.io", created, copyLabels), granted}},
		{reason: "a copy is not created yet", objects: []runtime.Object{declares("ghcr"), app(), revision(), granted}, reads: 1},
		{reason: "a copy that is created when its source is ready", objects: []runtime.Object{declares("ghcr"), app(), revision(), unready}, reads: 1,
			want: []string{"Secret ghcr does not exist; do not create it: the copy is created when the source of ClusterPullSecret hub is ready"}},
		{reason: "the source itself does not exist", objects: []runtime.Object{declares("ghcr"), app(), revision(), sourced}, reads: 1, want: []string{"create it, or remove it from the list"}},
		{reason: "a Secret of the user in place of such a copy", objects: []runtime.Object{declares("ghcr"), app(), revision(), unready, pullSecret("ghcr", "ghcr.io", created, nil)}, reads: 1},
		{reason: "a copy that has expired", objects: []runtime.Object{declares("ghcr"), app(), revision(), pullSecret("ghcr", "ghcr.io", created, copyLabels), outdated},
			want: []string{"Secret ghcr is a copy: replace the credential in the source of ClusterPullSecret ghcr, and the copy follows"}},
		{reason: "a copy of a ClusterPullSecret that is gone", objects: []runtime.Object{declares("ghcr"), app(), revision(), pullSecret("ghcr", "ghcr.io", created, copyLabels)}},
		{reason: "a copy that is not granted", objects: []runtime.Object{declares("ghcr"), app(), revision(), other}, reads: 1, want: []string{"no ClusterPullSecret grants it"}},
		{reason: "a Secret that no reader can use", objects: []runtime.Object{declares("ghcr"), app(), revision(), broken}, reads: 1, want: []string{"Secret ghcr is invalid"}},
		{reason: "the ServiceAccount covers it", objects: []runtime.Object{
			declares("other"), app(), revision(WithRevisionPullSecrets()), ServiceAccount(ns, "default", nil, "ghcr"), pullSecret("ghcr", "ghcr.io", created, nil),
		}, reads: 1},
		{reason: "the list hides the ServiceAccount's", objects: []runtime.Object{
			declares("other"), app(), revision(WithRevisionPullSecrets("other"), WithDigests(1)), ServiceAccount(ns, "default", nil, "ghcr"),
			pullSecret("ghcr", "ghcr.io", created, nil), pullSecret("other", "quay.io", created, nil),
		}, reads: 2, want: []string{"for the kubelet: Secret ghcr has a credential"}},
		{reason: "a bound ServiceAccount lists it, although injection is disabled", objects: []runtime.Object{binds("default"), app(), bare, ServiceAccount(ns, "default", nil, "ghcr")},
			reads: 1, want: []string{"Secret ghcr does not exist; create it"}},
		{reason: "a bound ServiceAccount lists it, although the Service is disabled", objects: []runtime.Object{
			binds("*"), app(WithAnnotation(pullsecrets.InjectAnnotation, "disabled")), bare, ServiceAccount(ns, "default", nil, "ghcr"), pullSecret("ghcr", "ghcr.io", created, copyLabels), outdated,
		}, want: []string{"Secret ghcr is a copy: replace the credential in the source of ClusterPullSecret ghcr"}},
		{reason: "a bound ServiceAccount covers it", objects: []runtime.Object{binds("default"), app(), bare, ServiceAccount(ns, "default", nil, "ghcr"), pullSecret("ghcr", "ghcr.io", created, nil)}, reads: 1},
		{reason: "ServiceAccounts are bound by a ClusterPullSecret", objects: []runtime.Object{Namespace(ns), app(), bare, ServiceAccount(ns, "default", nil, "ghcr"), always},
			reads: 1, want: []string{"do not create it: the copy is created when the source of ClusterPullSecret hub is ready"}},
		{reason: "a registry rejected it, and nothing in the list of the bound ServiceAccount matches", objects: []runtime.Object{
			binds("default"), app(), revision(WithRevisionPullSecrets(), rejected), ServiceAccount(ns, "default", nil, "ghcr"), pullSecret("ghcr", "quay.io", created, nil),
		}, reads: 1, want: []string{"no key of the pull secrets matches"}},
		{reason: "a registry rejected it, and the ServiceAccount is still to be bound", objects: []runtime.Object{
			binds("default"), app(), revision(WithRevisionPullSecrets(), rejected), ServiceAccount(ns, "default", nil),
		}},
		{reason: "a bound ServiceAccount has more than a list of its owner, who did not opt in", objects: []runtime.Object{
			binds("default"), app(), revision(WithRevisionPullSecrets("own"), WithDigests(1)), ServiceAccount(ns, "default", nil, "ghcr"),
			pullSecret("ghcr", "ghcr.io", created, nil), pullSecret("own", "quay.io", created, nil),
		}},
		{reason: "a copy that nobody asks for", objects: []runtime.Object{declares("other"), app(), revision(WithRevisionPullSecrets("other", "ghcr")), granted, pullSecret("other", "quay.io", created, nil)},
			reads: 2, want: []string{"Secret ghcr does not exist; create it, or remove it from the list"}},
		{reason: "another ServiceAccount is bound", objects: []runtime.Object{binds("builder"), app(), bare, ServiceAccount(ns, "default", nil, "ghcr")}},
		{reason: "the Namespace is excluded, and binds ServiceAccounts", objects: []runtime.Object{
			Namespace(ns, WithNamespaceLabel(pullsecrets.ExcludeLabel, "true")), app(), bare, ServiceAccount(ns, "default", nil, "ghcr"), always,
		}},
		{reason: "the Service has not opted in", objects: []runtime.Object{Namespace(ns), app(), revision()}},
		{reason: "the Service is disabled", objects: []runtime.Object{declares("ghcr"), app(WithAnnotation(pullsecrets.InjectAnnotation, "disabled")), revision()}},
		{reason: "the Namespace is excluded", objects: []runtime.Object{Namespace(ns, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithNamespaceLabel(pullsecrets.ExcludeLabel, "true")), app(), revision()}},
		{reason: "the setting is ignore", config: ignore, objects: []runtime.Object{declares("ghcr"), app(), revision(rejected)}},
		{reason: "an old Revision without traffic", objects: []runtime.Object{
			declares("ghcr"), app(func(svc *servingv1.Service) { svc.Status.LatestCreatedRevisionName = "app-00002" }), revision(),
		}},
		{reason: "an old Revision with traffic", objects: []runtime.Object{
			declares("ghcr"), app(func(svc *servingv1.Service) { svc.Status.LatestCreatedRevisionName = "app-00002" }), revision(routed),
		}, reads: 1, want: []string{"Revision app-00001: container"}},
		{reason: "a registry rejected it, and nothing matches", objects: []runtime.Object{declares("ghcr"), app(), revision(rejected), pullSecret("ghcr", "quay.io", created, nil)}, reads: 1, want: []string{"no key of the pull secrets matches"}},
		{reason: "perhaps public", objects: []runtime.Object{declares("ghcr"), app(), revision(), pullSecret("ghcr", "quay.io", created, nil)}, reads: 1},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.config == nil {
				test.config = config.Default()
			}
			w := newWorld(t, test.config, test.objects...)
			w.check("Events", w.lasting(), test.want...)
			if len(w.reads) != test.reads {
				t.Errorf("read %q, want %d reads", w.reads, test.reads)
			}
		})
	}
}

// What very many Revisions of a Service cost is limited, and the newest counts in any case.
func TestManyRevisions(t *testing.T) {
	objects := []runtime.Object{declares("ghcr"), app(func(svc *servingv1.Service) { svc.Status.LatestCreatedRevisionName = "app-99999" })}
	for i := range 100 {
		objects = append(objects, NewRevision(ns, fmt.Sprintf("app-%05d", i), WithRevisionPullSecrets("ghcr"), func(r *servingv1.Revision) {
			r.Labels["serving.knative.dev/routingState"] = "active"
		}))
	}
	w := newWorld(t, config.Default(), append(objects, NewRevision(ns, "app-99999", WithRevisionPullSecrets("newest")))...)
	if got := w.lasting(); len(got) != maxFindings {
		t.Errorf("%d Events are recorded, want %d", len(got), maxFindings)
	}
	if !slices.Contains(w.reads, "newest") {
		t.Errorf("read %q, not what the newest Revision lists", w.reads)
	}
}

// A credential that expires is reported when its time comes.
func TestExpiry(t *testing.T) {
	single := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.Registries, cps.Status.Expires = []string{"ghcr.io"}, new(metav1.NewTime(created.Add(2*time.Hour)))
	})
	several := single.DeepCopy()
	several.Status.Registries = []string{"ghcr.io", "quay.io"}
	annotated := pullSecret("ghcr", "ghcr.io", created, nil)
	annotated.Annotations = map[string]string{pullsecrets.ExpiresAnnotation: created.Add(2 * time.Hour).Format(time.RFC3339)}
	for reason, objects := range map[string][]runtime.Object{
		"the user's Secret":                 {annotated},
		"a copy":                            {single, pullSecret("ghcr", "ghcr.io", created, grant.CopyLabels("ghcr"))},
		"a copy for more than one registry": {several, pullSecret("ghcr", "ghcr.io", created, grant.CopyLabels("ghcr"))},
	} {
		w := newWorld(t, config.Default(), append(objects, declares("ghcr"), app(), revision())...)
		var want []string
		wait := time.Duration(0)
		if len(objects) == 1 || objects[0] == single {
			want, wait = []string{"its credential expired at 2026-01-02T05:04:05Z"}, time.Hour
		}
		got, again := w.reconcile()
		if w.check(reason+", before", got); again != wait {
			t.Errorf("%s: reconciled again after %v, want %v", reason, again, wait)
		}
		w.now = w.now.Add(time.Hour)
		w.check(reason+", after", w.lasting(), want...)
	}
}

// A copy for Docker Hub has two keys for one credential.
func TestExpiryOfDockerHub(t *testing.T) {
	for _, test := range []struct {
		registries []string
		expired    bool
	}{
		{[]string{"docker.io", "index.docker.io"}, true},
		{[]string{"index.docker.io", "docker.io"}, true},
		{[]string{"docker.io/acme", "index.docker.io/acme"}, true},
		{[]string{"docker.io/acme", "index.docker.io"}, false},
		{[]string{"docker.io", "ghcr.io", "index.docker.io"}, false},
		{nil, false},
	} {
		hub := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
			cps.Status.Registries, cps.Status.Expires = test.registries, new(metav1.NewTime(created))
		})
		w := newWorld(t, config.Default(), hub, pullSecret("ghcr", "docker.io", created, grant.CopyLabels("ghcr")), declares("ghcr"), app(),
			revision(func(r *servingv1.Revision) { r.Spec.Containers[0].Image = "docker.io/acme/app:v1" }))
		var want []string
		if test.expired {
			want = []string{"its credential expired at 2026-01-02T03:04:05Z"}
		}
		w.check(strings.Join(test.registries, ","), w.lasting(), want...)
	}
}

// No credential stays in memory.
func TestNoCredentialIsKept(t *testing.T) {
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision(), pullSecret("ghcr", "ghcr.io", created, nil))
	w.reconcile()
	w.secrets = nil
	if text := fmt.Sprintf("%+v %+v", w.r.secrets.known[types.NamespacedName{Namespace: ns, Name: "ghcr"}].facts, w.r.findings); strings.Contains(text, "hunter2") {
		t.Error("a password is kept: ", text)
	}
}
