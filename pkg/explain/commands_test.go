// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// rewriting is the command that writes the docker config of the Secret ghcr with one key.
func rewriting(namespace, key string) string {
	return "kubectl -n " + namespace + " create secret docker-registry ghcr --docker-server=" + key + ` --docker-username=USER --docker-password="$TOKEN"` +
		" --dry-run=client -o json | kubectl -n " + namespace + " patch secret ghcr --type=merge --patch-file=/dev/stdin"
}

// No command destroys what a user still needs.
func TestCommandsDestroyNothing(t *testing.T) {
	expired := secret("ghcr", holds(entry("ghcr.io", jwt())))
	further := secret("ghcr", holds(entry("ghcr.io", jwt()), entry("quay.io", canary)))
	for _, test := range []struct {
		reason string
		setups []setup
		code   Code
		// command is the whole one.
		command string
	}{
		{"another type of Secret with content", []setup{secret("ghcr", read(corev1.SecretTypeOpaque, map[string][]byte{"password": []byte(canary)}))}, WrongType, ""},
		{"a Secret with further registries", []setup{further}, Expired, "kubectl -n team-a edit secret ghcr"},
		{"a Secret in the older format", []setup{secret("ghcr", read(corev1.SecretTypeDockercfg, map[string][]byte{corev1.DockerConfigKey: []byte("{" + entry("ghcr.io", jwt()) + "}")}))}, Expired,
			"kubectl -n team-a edit secret ghcr"},
		{"a key with a path", []setup{secret("ghcr", holds(entry("ghcr.io/acme/", jwt())))}, Expired, rewriting("team-a", "ghcr.io/acme/")},
		{"a key with a scheme", []setup{secret("ghcr", holds(entry("https://ghcr.io", jwt())))}, Expired, rewriting("team-a", "https://ghcr.io")},
		{"a key with a wildcard", []setup{secret("ghcr", holds(entry("*.io", jwt())))}, Expired, rewriting("team-a", "'*.io'")},
		{"the key of Docker Hub with a path", []setup{image("acme/app:v1"), secret("ghcr", holds(entry("index.docker.io/acme", jwt())))}, Expired, rewriting("team-a", "index.docker.io/acme")},
		{"a key for one reader alone", []setup{image("acme/app:v1"), secret("ghcr", holds(entry("index.docker.io/acme", canary)))}, WrongKey, "kubectl -n team-a edit secret ghcr"},
		{"a key that is not shown", []setup{secret("ghcr", holds(entry("robot:"+canary+"@ghcr.io", jwt())))}, Expired, "kubectl -n team-a edit secret ghcr"},
		{"a key with a path, and a token for no node", []setup{secret("ghcr", raw(`{"auths":{"ghcr.io/acme":{"registrytoken":"`+canary+`"}}}`)), pod("user-container")}, NoCredential,
			rewriting("team-a", "ghcr.io/acme")},
		{"a key with a path that precedes another", []setup{edit(fixture.WithPullSecrets("ghcr", "own")), secret("ghcr", holds(entry("ghcr.io/acme", jwt()))), secret("own", holds(entry("ghcr.io", canary)))},
			Shadowed, rewriting("team-a", "ghcr.io/acme")},
		{"a key twice", []setup{secret("ghcr", holds(entry("ghcr.io", canary), entry("ghcr.io", jwt())))}, Expired, "kubectl -n team-a edit secret ghcr"},
		{"other settings of docker", []setup{secret("ghcr", raw(`{"auths":{`+entry("ghcr.io", jwt())+`},"HttpHeaders":{"X-Token":"`+canary+`"}}`))}, Expired, "kubectl -n team-a edit secret ghcr"},
		{"a malformed entry for another registry", []setup{edit(fixture.WithPullSecrets("ghcr", "quay")), secret("quay", raw(`{"auths":{"quay.io":{"auth":"%"}}}`))}, Malformed, "kubectl -n team-a edit secret quay"},
		{"a comma too many after several registries", []setup{secret("ghcr", raw(`{"auths":{`+entry("ghcr.io", canary)+","+entry("quay.io", canary)+`,}}`))}, Malformed, "kubectl -n team-a edit secret ghcr"},
		{"another type of Secret with a key with a path", []setup{secret("ghcr", read(corev1.SecretTypeOpaque, map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{` + entry("ghcr.io/acme", canary) + "}}")}))}, WrongType,
			`kubectl -n team-a create secret docker-registry ghcr --docker-server=ghcr.io/acme --docker-username=USER --docker-password="$TOKEN" --dry-run=client -o yaml | kubectl replace --force -f -`},
		{"another type of Secret with a comma too many", []setup{secret("ghcr", read(corev1.SecretTypeOpaque, map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{` + entry("ghcr.io", canary) + ",}}")}))}, WrongType, ""},
		{"a source with a key with a path", []setup{secret("ghcr", holds(entry("ghcr.io/acme", jwt()))), copyOf(1, "2")}, Expired, rewriting("pullsecrets-sources", "ghcr.io/acme")},
		{"a source with a key with a wildcard", []setup{secret("ghcr", holds(entry("*.io", jwt()))), copyOf(1, "2")}, Expired, rewriting("pullsecrets-sources", "'*.io'")},
		{"a source, which may have labels, annotations and other keys", []setup{expired, copyOf(1, "2")}, Expired,
			rewriting("pullsecrets-sources", "ghcr.io")},
		{"a source with further registries", []setup{further, copyOf(1, "2")}, Expired, "kubectl -n pullsecrets-sources edit secret ghcr"},
		{"a source that changed after the copy", []setup{expired, copyOf(1, "3")}, Expired, "kubectl -n pullsecrets-sources edit secret ghcr"},
		{"a source that changed and is not valid now", []setup{expired, copyOf(1, "2"), func(o *Objects) {
			o.Offered[0].Status.MarkSourceInvalid(o.Offered[0].Spec.SecretRef, "entry 2: the value is not base64")
		}}, Expired, "kubectl -n pullsecrets-sources edit secret ghcr"},
		{"a source of which the copy is a part", []setup{expired, copyOf(1, "2"), func(o *Objects) { o.Offered[0].Spec.Registries = []string{"ghcr.io"} }}, Expired,
			"kubectl -n pullsecrets-sources edit secret ghcr"},
		{"a copy with a key for another path", []setup{secret("ghcr", holds(entry("ghcr.io/acme/other", canary))), copyOf(1, "2")}, OtherPath, "kubectl describe clusterpullsecrets.pullsecrets.dev ghcr"},
		{"a Secret with the name of a copy", []setup{grants()}, NameConflict,
			"kubectl -n team-a label secret ghcr app.kubernetes.io/managed-by=pullsecrets pullsecrets.dev/cluster-pull-secret=ghcr"},
		{"one in the older format, which adoption deletes", []setup{grants(), secret("ghcr", read(corev1.SecretTypeDockercfg, map[string][]byte{corev1.DockerConfigKey: []byte("{" + entry("ghcr.io", canary) + "}")}))}, NameConflict, ""},
		{"one of another type, which adoption deletes", []setup{grants(), secret("ghcr", read(corev1.SecretTypeOpaque, map[string][]byte{"password": []byte(canary)}))}, NameConflict, ""},
		{"a Namespace that is selected by its name", []setup{secret("ghcr", absent), grants(func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "team-b"}}
		})}, NotGranted, ""},
		{"an invalid item beside a valid one", []setup{bare, namespace(fixture.WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "Ghcr_io,ghcr"))}, InvalidAnnotation,
			"kubectl annotate --overwrite namespace team-a pullsecrets.dev/secrets=ghcr,VALUE"},
		{"an invalid ServiceAccount beside valid ones", []setup{bare, namespace(fixture.WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, "builder,Bad_Name,default"))}, InvalidAnnotation,
			"kubectl annotate --overwrite namespace team-a pullsecrets.dev/service-accounts=builder,default,VALUE"},
		{"an invalid ServiceAccount beside all", []setup{bare, namespace(fixture.WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, "Bad_Name,*"))}, InvalidAnnotation,
			"kubectl annotate --overwrite namespace team-a 'pullsecrets.dev/service-accounts=*,VALUE'"},
		{"an annotation on the template beside one on the Service", []setup{edit(fixture.WithAnnotation(pullsecrets.SecretsAnnotation, "own,ghcr")), func(o *Objects) {
			o.Service.Spec.Template.Annotations = map[string]string{pullsecrets.SecretsAnnotation: "ghcr,other"}
		}}, MisplacedKey, "kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/secrets=own,ghcr,other"},
		{"a deferred change beside what a ClusterPullSecret always declares", []setup{bare, ready, func(o *Objects) {
			grants(func(cps *v1alpha1.ClusterPullSecret) {
				cps.Name, cps.Spec.SecretName = "base", "base"
				cps.Spec.Always = &v1alpha1.Always{Services: true}
			})(o)
			o.Secrets["base"] = holds(entry("quay.io", canary))
			edit(fixture.WithPullSecrets("base"), fixture.WithAnnotation(pullsecrets.AddedAnnotation, `{"base":"clusterpullsecret/base"}`))(o)
		}}, Deferred, "kubectl -n team-a annotate --overwrite ksvc shop pullsecrets.dev/inject=auto"},
	} {
		report := Service(objects(test.setups...))
		i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Code == test.code })
		if i < 0 || report.Findings[i].Command != test.command {
			t.Errorf("%s: want %s with %q; findings\n%s", test.reason, test.code, test.command, listed(report.Findings))
			continue
		}
		if test.code == WrongType && test.command == "" && !strings.Contains(report.Findings[i].Remedy, "has other content") {
			t.Errorf("%s: remedy is %q", test.reason, report.Findings[i].Remedy)
		}
		if test.code == NameConflict && strings.Contains(report.Findings[i].Remedy, "would delete it") != (test.command == "") {
			t.Errorf("%s: remedy is %q", test.reason, report.Findings[i].Remedy)
		}
	}
}

// Only a Secret of the type of a copy can be updated, unless it is immutable.
func TestUpdatable(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		secretType corev1.SecretType
		immutable  *bool
		want       bool
	}{
		{corev1.SecretTypeDockerConfigJson, nil, true}, {corev1.SecretTypeDockerConfigJson, &no, true}, {corev1.SecretTypeDockerConfigJson, &yes, false},
		{corev1.SecretTypeDockercfg, nil, false}, {corev1.SecretTypeOpaque, nil, false},
	} {
		if got := UpdatableOf(&corev1.Secret{Type: test.secretType, Immutable: test.immutable}); got != test.want {
			t.Errorf("%s, immutable %v: UpdatableOf() = %t", test.secretType, test.immutable, got)
		}
	}
}

// What a command would lose is known, also of a Secret that readers reject.
func TestReplaceable(t *testing.T) {
	const pullSecret, opaque = corev1.SecretTypeDockerConfigJson, corev1.SecretTypeOpaque
	labelled := metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}
	for _, test := range []struct {
		reason     string
		secretType corev1.SecretType
		meta       metav1.ObjectMeta
		data       map[string]string
		want       Replaceable
	}{
		{"an empty one", pullSecret, metav1.ObjectMeta{}, nil, Replaceable{OK: true}},
		{"one registry", pullSecret, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"ghcr.io":{}}}`}, Replaceable{true, "ghcr.io"}},
		{"one path of a registry", pullSecret, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"https://ghcr.io/acme":{}}}`}, Replaceable{true, "https://ghcr.io/acme"}},
		{"a key that is not shown", pullSecret, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"` + canary + `":{}}}`}, Replaceable{}},
		{"two, one of them invalid", pullSecret, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"ghcr.io":{"auth":"%"},"quay.io":{}}}`}, Replaceable{}},
		{"no JSON", pullSecret, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": canary}, Replaceable{}},
		{"labels and another key, which stay", pullSecret, labelled, map[string]string{".dockerconfigjson": `{"auths":{"ghcr.io":{}}}`, "password": canary}, Replaceable{true, "ghcr.io"}},
		{"the older format", corev1.SecretTypeDockercfg, metav1.ObjectMeta{}, map[string]string{".dockercfg": `{"ghcr.io":{}}`}, Replaceable{}},
		{"another type, empty", opaque, metav1.ObjectMeta{}, nil, Replaceable{OK: true}},
		{"another type, one registry", opaque, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"ghcr.io":{}}}`}, Replaceable{true, "ghcr.io"}},
		{"another type, two registries", opaque, metav1.ObjectMeta{}, map[string]string{".dockerconfigjson": `{"auths":{"ghcr.io":{},"quay.io":{}}}`}, Replaceable{}},
		{"another type, another key", opaque, metav1.ObjectMeta{}, map[string]string{"password": canary}, Replaceable{}},
		{"another type, labels", opaque, labelled, nil, Replaceable{}},
		{"another type, an owner", opaque, metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "ExternalSecret"}}}, nil, Replaceable{}},
	} {
		secret := &corev1.Secret{ObjectMeta: test.meta, Type: test.secretType, Data: map[string][]byte{}}
		for key, text := range test.data {
			secret.Data[key] = []byte(text)
		}
		if got := ReplaceableOf(secret); got != test.want {
			t.Errorf("%s: ReplaceableOf() = %+v, want %+v", test.reason, got, test.want)
		}
	}
}

// A credential that the annotation calls expired stays so until the annotation is corrected.
func TestExpiredByAnnotation(t *testing.T) {
	report := Service(objects(func(o *Objects) {
		s := o.Secrets["ghcr"]
		s.Expires = metav1.Unix(900, 0)
		o.Secrets["ghcr"] = s
	}))
	if f := report.Findings[0]; f.Code != Expired || !strings.Contains(f.Remedy, "pullsecrets.dev/expires") {
		t.Errorf("first finding is %+v", f)
	}
}
