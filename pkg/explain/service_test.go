// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/merge"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// canary is a password that no report may contain.
const canary = "cAnArY-hunter2"

// unauthorized is Knative's message about a tag that could not be resolved.
const unauthorized = `Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)`

// entry returns an entry of a docker config, with the key before it.
func entry(key, password string) string {
	return fmt.Sprintf("%q:{\"auth\":%q}", key, base64.StdEncoding.EncodeToString([]byte("robot:"+password)))
}

// read returns what is known of a Secret, as the command line reads it.
func read(secretType corev1.SecretType, data map[string][]byte) Secret {
	object := &corev1.Secret{Type: secretType, Data: data}
	return Secret{
		Secret:      coverage.Secret{State: coverage.Known, Facts: dockerconfig.Inspect(secretType, data)},
		Replaceable: ReplaceableOf(object), Updatable: UpdatableOf(object),
	}
}

// holds returns a Secret with these entries.
func holds(entries ...string) Secret {
	return raw(`{"auths":{` + strings.Join(entries, ",") + `}}`)
}

func raw(text string) Secret {
	return read(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)})
}

var (
	absent = Secret{Secret: coverage.Secret{State: coverage.Absent}}
	opaque = read(corev1.SecretTypeOpaque, nil)
)

// jwt returns a JSON Web Token that expires at second 900.
func jwt() string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":900,"x":"%s"}`, canary)) + "."
}

// setup changes objects that are in order.
type setup func(*Objects)

// objects returns a Service that fails with 401 in a Namespace that declares ghcr, a good Secret.
func objects(setups ...setup) *Objects {
	o := &Objects{
		Settings:  Settings{Config: config.Default()},
		Service:   fixture.Service("team-a", "shop", fixture.WithConfigurationsReady(corev1.ConditionFalse), fixture.WithPullSecrets("ghcr"), fixture.WithAnnotation(pullsecrets.AddedAnnotation, `{"ghcr":"namespace"}`)),
		Namespace: fixture.Namespace("team-a", fixture.WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr")),
		Account:   fixture.ServiceAccount("team-a", "default", nil),
		Secrets:   map[string]Secret{"ghcr": holds(entry("ghcr.io", canary))},
		Now:       metav1.Unix(1000, 0),
	}
	o.Service.Spec.Template.Spec.Containers[0].Name = "user-container"
	o.Service.Status.Conditions[0].Message = unauthorized
	revision := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "shop-00002", Labels: map[string]string{serving.ServiceLabelKey: "shop"}}}
	revision.Spec.PodSpec = *o.Service.Spec.Template.Spec.PodSpec.DeepCopy()
	revision.Status.Conditions = duckv1.Conditions{{Type: servingv1.RevisionConditionContainerHealthy, Status: corev1.ConditionFalse, Reason: "ContainerMissing", Message: unauthorized}}
	o.Revisions = []*servingv1.Revision{revision}
	for _, change := range setups {
		change(o)
	}
	return o
}

func edit(options ...fixture.ServiceOption) setup {
	return func(o *Objects) {
		for _, option := range options {
			option(o.Service)
		}
	}
}

// bare is a Service to which nothing was added.
func bare(o *Objects) {
	o.Service.Spec.Template.Spec.ImagePullSecrets = nil
	delete(o.Service.Annotations, pullsecrets.AddedAnnotation)
	o.Revisions[0].Spec.ImagePullSecrets = nil
}

func namespace(options ...fixture.NamespaceOption) setup {
	return func(o *Objects) {
		for _, option := range options {
			option(o.Namespace)
		}
	}
}

func secret(name string, s Secret) setup { return func(o *Objects) { o.Secrets[name] = s } }

func account(annotations map[string]string, secrets ...string) setup {
	return func(o *Objects) { o.Account = fixture.ServiceAccount("team-a", "default", annotations, secrets...) }
}

func grants(options ...fixture.ClusterPullSecretOption) setup {
	return func(o *Objects) { o.Offered = append(o.Offered, fixture.ClusterPullSecret("ghcr", options...)) }
}

func ready(o *Objects) {
	fixture.WithConfigurationsReady(corev1.ConditionTrue)(o.Service)
	o.Revisions[0].Name = "shop-00001"
	o.Revisions[0].Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: corev1.ConditionTrue}}
}

// pod has a container that waits for its image.
func pod(container string) setup {
	return func(o *Objects) {
		o.Service.Status.Conditions[0].Message, o.Revisions = "", nil
		status := corev1.ContainerStatus{Name: container}
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "pull access denied: 401 Unauthorized"}
		o.Pods = []*corev1.Pod{{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{status}}}}
	}
}

func image(reference string) setup { return edit(fixture.WithImage(reference)) }

func event(kind, name, reason, message string) setup {
	return func(o *Objects) {
		o.Events = append(o.Events, corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, Type: corev1.EventTypeWarning,
			Reason: reason, Message: message, Source: corev1.EventSource{Component: EventSource},
		})
	}
}

// Each broken set-up is named by the first finding, which has the command that corrects it.
func TestBrokenSetups(t *testing.T) {
	const rewrites = `kubectl -n team-a create secret docker-registry ghcr --docker-server=ghcr.io --docker-username=USER --docker-password="$TOKEN" --dry-run=client -o json | kubectl -n team-a patch secret ghcr --type=merge --patch-file=/dev/stdin`
	for _, test := range []struct {
		reason  string
		setups  []setup
		code    Code
		message string
		command string
	}{
		{"the Secret is missing", []setup{secret("ghcr", absent)}, Missing, "Secret ghcr does not exist",
			`kubectl -n team-a create secret docker-registry ghcr --docker-server=ghcr.io --docker-username=USER --docker-password="$TOKEN"`},
		{"the Secret has the wrong type", []setup{secret("ghcr", opaque)}, WrongType, `type "Opaque"`, "kubectl replace --force -f -"},
		{"the Secret is no JSON", []setup{secret("ghcr", raw(canary))}, Malformed, "invalid JSON at byte 1", "kubectl -n team-a edit secret ghcr"},
		{"an entry is no base64", []setup{secret("ghcr", raw(`{"auths":{"ghcr.io":{"auth":"%%"}}}`))}, Malformed, "not base64", "kubectl -n team-a edit secret ghcr"},
		{"the key docker.io of a Secret of the user's", []setup{image("acme/app:v1"), secret("ghcr", holds(entry("docker.io", canary)))}, WrongKey,
			`key "docker.io" of Secret ghcr does not match`, "--docker-server=https://index.docker.io/v1/"},
		{"the first match is expired and hides another", []setup{edit(fixture.WithPullSecrets("ghcr", "own")), secret("ghcr", holds(entry("ghcr.io", jwt()))), secret("own", holds(entry("ghcr.io", canary)))},
			Shadowed, "Secret own is not used", rewrites},
		{"the token is expired", []setup{secret("ghcr", holds(entry("ghcr.io", jwt())))}, Expired, "expired at 1970-01-01T00:15:00Z", rewrites},
		{"the annotation says that it is expired", []setup{func(o *Objects) {
			s := o.Secrets["ghcr"]
			s.Expires = metav1.Unix(900, 0)
			o.Secrets["ghcr"] = s
		}}, Expired, "expired at", rewrites},
		{"the namespace is not granted it", []setup{secret("ghcr", absent), grants(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "true"}
		})}, NotGranted, "no ClusterPullSecret grants it", "kubectl label namespace team-a team=true"},
		{"excluded by its label", []setup{bare, namespace(fixture.WithNamespaceLabel(pullsecrets.ExcludeLabel, "yes"))}, Excluded, "its label pullsecrets.dev/exclude",
			"kubectl label namespace team-a pullsecrets.dev/exclude-"},
		{"excluded by the configuration", []setup{bare, func(o *Objects) { o.Config.ExcludedNamespaces = []string{"team-*"} }}, Excluded, `excluded-namespaces: "team-*"`,
			"kubectl -n pullsecrets-system edit configmap config-pullsecrets"},
		{"injection is disabled for the Namespace", []setup{bare, namespace(fixture.WithNamespaceAnnotation(pullsecrets.InjectAnnotation, "disabled"))}, InjectDisabled, "Namespace team-a has pullsecrets.dev/inject: disabled",
			"kubectl annotate namespace team-a pullsecrets.dev/inject-"},
		{"injection is disabled for the Service", []setup{bare, edit(fixture.WithAnnotation(pullsecrets.InjectAnnotation, "disabled"))}, InjectDisabled, "The Service has",
			"kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/inject-"},
		{"a key is mistyped", []setup{bare, func(o *Objects) { o.Namespace.Annotations = map[string]string{"pullsecrets.dev/secret": "ghcr"} }}, MisplacedKey,
			"did you mean the annotation pullsecrets.dev/secrets?", ""},
		{"an item is invalid", []setup{bare, namespace(fixture.WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "Ghcr_io"))}, InvalidAnnotation, `"Ghcr_io" is not a DNS-1123 subdomain`,
			"kubectl annotate --overwrite namespace team-a pullsecrets.dev/secrets=VALUE"},
		{"the value of inject is invalid", []setup{bare, edit(fixture.WithAnnotation(pullsecrets.InjectAnnotation, "false"))}, InvalidAnnotation, "not one of declared, auto and disabled", ""},
		{"the template names its Revision", []setup{bare, edit(fixture.WithTemplateName("shop-one"))}, NamedRevision, "names Revision shop-one", `"op":"remove","path":"/spec/template/metadata/name"`},
		{"the change is deferred, and the node has lost the image", []setup{bare, ready, edit(fixture.NoLongerReady), pod("user-container")}, Deferred, "ghcr (namespace)",
			"kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/inject=declared"},
		{"a list of its own hides that of the ServiceAccount", []setup{edit(fixture.WithPullSecrets("other")), func(o *Objects) {
			o.Namespace.Annotations = nil
			delete(o.Service.Annotations, pullsecrets.AddedAnnotation)
		},
			secret("other", holds(entry("quay.io", canary))), account(nil, "ghcr"), pod("user-container")}, AccountHidden, "Kubernetes ignores the ServiceAccount's list",
			"kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/secrets=ghcr"},
		{"the queue-proxy is in a private registry", []setup{func(o *Objects) { o.Images.QueueProxy = "registry.example.com/knative/queue:v1" }, pod("queue-proxy")}, QueueProxy,
			"The queue-proxy, image \"registry.example.com/knative/queue:v1\"", "kubectl annotate --overwrite namespace team-a pullsecrets.dev/secrets=ghcr,SECRET"},
		{"the key is for another path", []setup{secret("ghcr", holds(entry("ghcr.io/acme/other", canary)))}, OtherPath, `is for the path /acme/other alone`, "kubectl -n team-a edit secret ghcr"},
		{"the key ends in /v2", []setup{secret("ghcr", holds(entry("ghcr.io/v2", canary)))}, WrongKey, `key "ghcr.io/v2" of Secret ghcr does not match`, "--docker-server=ghcr.io "},
		{"the key has capitals", []setup{secret("ghcr", holds(entry("GHCR.io", canary)))}, WrongKey, `key "entry 1"`, "kubectl -n team-a edit secret ghcr"},
		{"the copy is pending", []setup{bare, secret("ghcr", absent), grants()}, CopyPending, "The copy ghcr does not exist in namespace team-a yet", "kubectl describe clusterpullsecrets.pullsecrets.dev ghcr"},
		{"the source is invalid", []setup{bare, secret("ghcr", absent), grants(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Status.MarkSourceInvalid(cps.Spec.SecretRef, "entry 1: the value is not base64")
		})}, SourceNotReady, "entry 1: the value is not base64", "kubectl describe clusterpullsecrets.pullsecrets.dev ghcr"},
		{"the ServiceAccount enforces mountable Secrets", []setup{bare, account(map[string]string{merge.EnforceMountableSecrets: "true"})}, NotMountable, "does not list ghcr",
			`kubectl -n team-a patch serviceaccount default --type=json -p '[{"op":"add","path":"/imagePullSecrets","value":[{"name":"ghcr"}]}]'`},
		{"the annotation is on the template", []setup{bare, func(o *Objects) {
			o.Namespace.Annotations = nil
			o.Service.Spec.Template.Annotations = map[string]string{pullsecrets.SecretsAnnotation: "ghcr"}
		}}, MisplacedKey, "has no effect on the template of a Service", "kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/secrets=ghcr"},
		{"nothing declares a pull secret", []setup{bare, func(o *Objects) { o.Namespace.Annotations = nil; o.Secrets = nil }}, NotOptedIn, "declares a pull secret", "kubectl annotate namespace team-a pullsecrets.dev/secrets=SECRET"},
		{"no key matches", []setup{secret("ghcr", holds(entry("quay.io", canary)))}, NoMatch, `matches "ghcr.io/acme/app"`, "pullsecrets.dev/secrets=SECRET"},
		{"the entry has a token that nodes do not use", []setup{secret("ghcr", raw(`{"auths":{"ghcr.io":{"registrytoken":"`+canary+`"}}}`)), pod("user-container")}, NoCredential, "missing or not supported", rewrites},
		{"an empty name is in the list", []setup{edit(fixture.WithPullSecrets("ghcr", ""))}, InvalidName, "not a name", ""},
		{"the name of the image is invalid", []setup{image("ghcr.io/Acme/app:v1")}, InvalidImage, "the name of the image is invalid", ""},
		{"another writer removes the entry", []setup{bare, event("Service", "shop", "InjectionContested", "Pull secrets ghcr (namespace) are repeatedly removed")}, Contested, "repeatedly removed", ""},
		{"backfill is paused", []setup{bare, event("Namespace", "team-a", "BackfillPaused", "The Revision that adds pull secrets to Service first is not Ready")}, Paused, "Service first", ""},
		{"a copy has a bad credential", []setup{secret("ghcr", holds(entry("ghcr.io", jwt()))), copyOf(1, "2")}, Expired, "expired at",
			"kubectl -n pullsecrets-sources create secret docker-registry ghcr "},
		{"the credential is there, and the registry rejected it", nil, RejectedPull, "401 Unauthorized", "kn pullsecrets retry shop -n team-a"},
		{"the credential came after the Revision failed", []setup{func(o *Objects) { o.Revisions[0].Spec.ImagePullSecrets = nil }}, RetryDue, "Knative tries again", "kn pullsecrets retry shop -n team-a"},
		{"not installed", []setup{bare, func(o *Objects) { o.NotInstalled = true }}, NotInstalled, "not installed", "kubectl apply -f release.yaml"},
	} {
		report := Service(objects(test.setups...))
		if len(report.Findings) == 0 {
			t.Errorf("%s: no findings", test.reason)
			continue
		}
		first := report.Findings[0]
		if first.Code != test.code || !strings.Contains(first.Message, test.message) || !strings.Contains(first.Command, test.command) {
			t.Errorf("%s: first finding is\n%+v\nwant code %s, with %q and the command %q; all:\n%s", test.reason, first, test.code, test.message, test.command, listed(report.Findings))
		}
		text, err := json.Marshal(report)
		if err != nil || strings.Contains(string(text), canary) || strings.Contains(listed(report.Findings), canary) {
			t.Errorf("%s: report has a credential, or %v", test.reason, err)
		}
	}
}

func listed(findings []Finding) string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, fmt.Sprintf("  %s %s %s: %s | %s | %s", f.Severity, f.Code, f.Object, f.Message, f.Remedy, f.Command))
	}
	return strings.Join(lines, "\n")
}

// What is as it should be makes no finding.
func TestNoFindings(t *testing.T) {
	for _, test := range []struct {
		reason string
		setups []setup
	}{
		{"everything is covered", []setup{ready}},
		{"a public image without any pull secret", []setup{ready, bare, func(o *Objects) { o.Namespace.Annotations = nil; o.Secrets = nil }}},
		{"the ServiceAccount's list is used", []setup{ready, bare, func(o *Objects) { o.Namespace.Annotations = nil }, account(nil, "ghcr")}},
		{"a copy of a ClusterPullSecret", []setup{ready, grants(), func(o *Objects) { s := holds(entry("ghcr.io", canary)); s.Owner = "ghcr"; o.Secrets["ghcr"] = s }}},
		{"the public queue-proxy", []setup{ready, func(o *Objects) { o.Images.QueueProxy = "gcr.io/knative-releases/queue:v1" }}},
		{"Secrets that may not be read", []setup{ready, secret("ghcr", Secret{})}},
	} {
		report := Service(objects(test.setups...))
		var bad []Finding
		for _, f := range report.Findings {
			if f.Severity != Info {
				bad = append(bad, f)
			}
		}
		if len(bad) > 0 {
			t.Errorf("%s: findings\n%s", test.reason, listed(bad))
		}
	}
}

// An earlier Revision with traffic is judged by its own condition and its own ServiceAccount,
// whatever happens to the newest one.
func TestEarlierRevisions(t *testing.T) {
	earlier := func(status corev1.ConditionStatus, account, image string, secrets ...string) setup {
		return func(o *Objects) {
			r := o.Revisions[0].DeepCopy()
			r.Name = "shop-00001"
			r.Spec.ServiceAccountName, r.Spec.Containers[0].Image = account, image
			r.Spec.ImagePullSecrets = fixture.ServiceAccount("", "", nil, secrets...).ImagePullSecrets
			r.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: status}}
			o.Revisions = append(o.Revisions, r)
			o.Service.Status.LatestCreatedRevisionName = "shop-00002"
			o.Service.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: "shop-00001", Percent: new(int64(100))}}
		}
	}
	known := func(name string, secrets ...string) setup {
		return func(o *Objects) {
			o.Accounts = map[string]*corev1.ServiceAccount{name: fixture.ServiceAccount("team-a", name, nil, secrets...)}
		}
	}
	const private, public = "ghcr.io/acme/app:v1", "docker.io/library/nginx:1"
	for _, test := range []struct {
		reason string
		setups []setup
		want   []string
	}{
		{"it serves a public image", []setup{earlier("True", "", public, "ghcr")}, nil},
		{"its ServiceAccount serves it", []setup{account(nil, "x"), secret("x", absent), earlier("True", "old", private), known("old", "ghcr")}, nil},
		{"its ServiceAccount lists a Secret of another type", []setup{account(nil, "ghcr"), secret("x", opaque), earlier("True", "old", "quay.io/acme/app:v1"), known("old", "x")}, []string{"warning WrongType"}},
		{"its ServiceAccount may not be read", []setup{account(nil, "x"), secret("x", absent), earlier("True", "old", private)}, nil},
		{"it is not Ready", []setup{earlier("False", "", "quay.io/acme/app:v1", "ghcr")}, []string{"warning NoMatch"}},
	} {
		var got []string
		for _, f := range Service(objects(test.setups...)).Findings {
			if strings.Contains(f.Message, "shop-00001") {
				got = append(got, fmt.Sprintf("%s %s", f.Severity, f.Code))
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: findings about it are %q, want %q", test.reason, got, test.want)
		}
	}
}

// What the caller may not read is said, and never guessed.
func TestUnreadableSecrets(t *testing.T) {
	report := Service(objects(secret("ghcr", Secret{})))
	if got := report.PullSecrets[0].State; got != "not checked (cannot get secrets)" {
		t.Errorf("state is %q", got)
	}
	for _, v := range []VerdictReport{report.Images[0].TagResolution, report.Images[0].Kubelet} {
		if v.Reason != coverage.NotChecked {
			t.Errorf("verdict is %v", v)
		}
	}
	for _, f := range report.Findings {
		if f.Code == Missing || f.Code == NoMatch || f.Code == RetryDue || f.Code == RejectedPull {
			t.Errorf("a guess: %+v", f)
		}
	}
	if report.Covered != 0 || report.Total != 2 {
		t.Errorf("%d of %d covered", report.Covered, report.Total)
	}
}
