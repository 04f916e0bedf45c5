// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// canary is a password that no output may contain.
const canary = "cAnArY-hunter2"

const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// now is the time of all tests.
var now = metav1.Unix(1000, 0)

// entry returns an entry with a password.
func entry(password string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:"+password)) + `"}`
}

var (
	good    = entry(canary)
	expired = entry(token(1000))
	fresh   = entry(token(1001))
)

// token returns a JSON Web Token that expires.
func token(exp int) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d,"x":"%s"}`, exp, canary)) + "."
}

// config returns a docker config of entries, each a key and its value.
func config(entries ...string) string {
	var members []string
	for i := 0; i < len(entries); i += 2 {
		key, _ := json.Marshal(entries[i])
		members = append(members, string(key)+":"+entries[i+1])
	}
	return `{"auths":{` + strings.Join(members, ",") + `}}`
}

// with returns a Secret that exists and has these entries.
func with(entries ...string) Secret {
	return Secret{State: Known, Facts: dockerconfig.Inspect(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(config(entries...))})}
}

// copied returns a Secret as a copy of ClusterPullSecret hub.
func copied(s Secret) Secret {
	s.CopyOf = "hub"
	return s
}

func typed(secretType corev1.SecretType) Secret {
	return Secret{State: Known, Facts: dockerconfig.Inspect(secretType, nil)}
}

// decided returns a verdict as a reason, its Secret and its key.
func decided(v Verdict) string {
	parts := []string{string(v.Reason)}
	if e, ok := v.Decisive(); ok && v.Reason != NoMatch {
		parts = append(parts, e.Secret)
		if e.ServiceAccount {
			parts = append(parts, "(account)")
		}
		for _, part := range []string{e.Key, e.Better} {
			if part != "" {
				parts = append(parts, part)
			}
		}
	}
	return strings.Join(parts, " ")
}

type secrets = map[string]Secret

func TestVerdicts(t *testing.T) {
	const app = "ghcr.io/acme/app:1"
	list := func(names ...string) Template { return Template{PullSecrets: names} }
	account := func(names ...string) Template { return Template{ServiceAccount: names} }
	tests := []struct {
		reason              string
		template            Template
		secrets             secrets
		image               string
		resolution, kubelet string
	}{
		{"a key that matches", list("a"), secrets{"a": with("ghcr.io/acme", good)}, app, "Covered a ghcr.io/acme", "Covered a ghcr.io/acme"},
		{"nothing is listed", list(), nil, app, "NoPullSecrets", "NoPullSecrets"},
		{"no key matches", list("a"), secrets{"a": with("quay.io", good)}, app, "NoMatch", "NoMatch"},
		{"a port", list("a"), secrets{"a": with("reg.example.com:5000", good)}, "reg.example.com/acme/app", "NoMatch", "NoMatch"},
		{"the same port", list("a"), secrets{"a": with("reg.example.com:5000", good)}, "reg.example.com:5000/acme/app", "Covered a reg.example.com:5000", "Covered a reg.example.com:5000"},
		{"a prefix of a path", list("a"), secrets{"a": with("ghcr.io/ac", good)}, app, "Covered a ghcr.io/ac", "Covered a ghcr.io/ac"},

		{"the first of two in the list", list("b", "a"), secrets{"a": with("ghcr.io", good), "b": with("ghcr.io", good)}, app, "Covered b ghcr.io", "Covered b ghcr.io"},
		{"the longer key, also later in the list", list("a", "b"), secrets{"a": with("ghcr.io", good), "b": with("ghcr.io/acme", good)}, app, "Covered b ghcr.io/acme", "Covered b ghcr.io/acme"},
		{"the longer key of the ServiceAccount, which the Pod does not get", Template{PullSecrets: []string{"a"}, ServiceAccount: []string{"b"}}, secrets{"a": with("ghcr.io", good), "b": with("ghcr.io/acme", good)}, app, "Covered b (account) ghcr.io/acme", "Covered a ghcr.io"},

		{"a Secret that expired", list("a"), secrets{"a": with("ghcr.io", expired)}, app, "Expired a ghcr.io", "Expired a ghcr.io"},
		{"a Secret that expires", list("a"), secrets{"a": with("ghcr.io", fresh)}, app, "Covered a ghcr.io", "Covered a ghcr.io"},
		{"an expired one before another", list("a", "b"), secrets{"a": with("ghcr.io", expired), "b": with("ghcr.io", good)}, app, "Shadowed b ghcr.io", "Covered b ghcr.io"},
		{"an expired one with a longer key", list("b", "a"), secrets{"a": with("ghcr.io/acme", expired), "b": with("ghcr.io", good)}, app, "Shadowed b ghcr.io", "Covered b ghcr.io"},
		{"an expired one after another", list("b", "a"), secrets{"a": with("ghcr.io", expired), "b": with("ghcr.io", good)}, app, "Covered b ghcr.io", "Covered b ghcr.io"},
		{"all expired", list("a", "b"), secrets{"a": with("ghcr.io", expired), "b": with("ghcr.io", expired)}, app, "Expired a ghcr.io", "Expired a ghcr.io"},
		{"an expired one before another in one Secret", list("a"), secrets{"a": with("ghcr.io", good, "ghcr.io/acme", expired)}, app, "Expired a ghcr.io/acme", "Covered a ghcr.io"},
		{"the annotation says that it expired", list("a"), secrets{"a": {State: Known, Facts: with("ghcr.io", good).Facts, Expires: metav1.Unix(999, 0)}}, app, "Expired a ghcr.io", "Expired a ghcr.io"},
		{"the credential knows better than the annotation", list("a"), secrets{"a": {State: Known, Facts: with("ghcr.io", fresh).Facts, Expires: metav1.Unix(999, 0)}}, app, "Covered a ghcr.io", "Covered a ghcr.io"},

		{"an entry without a credential", list("a"), secrets{"a": with("ghcr.io", "{}")}, app, "NoCredential a ghcr.io", "NoCredential a ghcr.io"},
		{"an entry without a credential before another", list("a", "b"), secrets{"a": with("ghcr.io", "{}"), "b": with("ghcr.io", good)}, app, "Shadowed b ghcr.io", "Covered b ghcr.io"},
		{"a token that the kubelet ignores", list("a"), secrets{"a": with("ghcr.io", `{"identitytoken":"x"}`)}, app, "Covered a ghcr.io", "NoCredential a ghcr.io"},

		{"a Secret that does not exist", list("a", "b"), secrets{"a": with("quay.io", good), "b": {State: Absent}}, app, "Missing b", "Missing b"},
		{"a Secret that is not granted", list("a", "b"), secrets{"a": {State: Absent}, "b": {State: Ungranted}}, app, "NotGranted b", "NotGranted b"},
		{"a missing one beside a good one", list("a", "b"), secrets{"a": {State: Absent}, "b": with("ghcr.io", good)}, app, "Covered b ghcr.io", "Covered b ghcr.io"},
		{"a Secret of another type", list("a"), secrets{"a": typed(corev1.SecretTypeOpaque)}, app, "WrongType a", "WrongType a"},
		{"a Secret without data", list("a"), secrets{"a": typed(corev1.SecretTypeDockerConfigJson)}, app, "NoMatch", "NoMatch"},

		{"a malformed one beside a good one", list("b", "a"), secrets{"a": with("quay.io", `{"auth":"x"}`), "b": with("ghcr.io", good)}, app, "Malformed a", "Malformed a"},
		{"malformed for tag resolution alone", list("a"), secrets{"a": with("ghcr.io", good, "quay.io:x", good)}, app, "Malformed a", "Covered a ghcr.io"},
		{"malformed for the kubelet alone", list("a"), secrets{"a": with("ghcr.io", `{"auth":"dTpw","email":1}`)}, app, "Covered a ghcr.io", "Malformed a"},
		{"malformed, for an image by digest", list("a"), secrets{"a": with("quay.io", `"x"`)}, "ghcr.io/acme/app" + digest, "Malformed a", "Malformed a"},
		{"malformed in the ServiceAccount, which the Pod does not get", Template{PullSecrets: []string{"b"}, ServiceAccount: []string{"a"}}, secrets{"a": with("quay.io", `"x"`), "b": with("ghcr.io", good)}, app, "Malformed a (account)", "Covered b ghcr.io"},

		{"an empty name", list("", "a"), secrets{"a": with("ghcr.io", good)}, app, "InvalidName ", "Covered a ghcr.io"},
		{"an impossible name", list("a", "x/y"), secrets{"a": with("ghcr.io", good)}, app, "InvalidName x/y", "Covered a ghcr.io"},
		{"an empty name alone", list(""), nil, app, "InvalidName ", "InvalidName "},
		{"an empty name hides the ServiceAccount", Template{PullSecrets: []string{""}, ServiceAccount: []string{"a"}}, secrets{"a": with("ghcr.io", good)}, app, "InvalidName ", "NotListed a (account) ghcr.io"},

		{"the ServiceAccount alone", account("a"), secrets{"a": with("ghcr.io", good)}, app, "Covered a (account) ghcr.io", "Covered a (account) ghcr.io"},
		{"the ServiceAccount behind a list", Template{PullSecrets: []string{"b"}, ServiceAccount: []string{"a"}}, secrets{"a": with("ghcr.io", good), "b": with("quay.io", good)}, app, "Covered a (account) ghcr.io", "NotListed a (account) ghcr.io"},
		{"a candidate in no list", list("b"), secrets{"a": with("ghcr.io", good), "b": with("quay.io", good)}, app, "NotListed a ghcr.io", "NotListed a ghcr.io"},
		{"a candidate without a list", list(), secrets{"a": with("ghcr.io", good)}, app, "NotListed a ghcr.io", "NotListed a ghcr.io"},
		{"a candidate that does not cover", list(), secrets{"a": with("quay.io", good), "b": {State: Absent}, "c": with("x.io", `"x"`)}, app, "NoPullSecrets", "NoPullSecrets"},

		{"an unknown Secret", list("a", "b"), secrets{"b": with("quay.io", good)}, app, "NotChecked a", "NotChecked a"},
		{"an unknown Secret beside one that covers", list("a", "b"), secrets{"b": with("ghcr.io", good)}, app, "Covered b ghcr.io", "Covered b ghcr.io"},
		{"an unknown Secret beside an expired one", list("a", "b"), secrets{"b": with("ghcr.io", expired)}, app, "NotChecked a", "NotChecked a"},
		{"an unknown Secret beside a malformed one", list("a", "b"), secrets{"b": with("ghcr.io", `"x"`)}, app, "Malformed b", "Malformed b"},
		{"an unknown ServiceAccount", Template{AccountUnknown: true}, nil, app, "NotChecked  (account)", "NotChecked  (account)"},
		{"an unknown ServiceAccount behind a list", Template{PullSecrets: []string{"a"}, AccountUnknown: true}, secrets{"a": with("quay.io", good)}, app, "NotChecked  (account)", "NoMatch"},

		{"docker.io", list("a"), secrets{"a": with("docker.io", good)}, "acme/app", "WrongKey a docker.io https://index.docker.io/v1/", "Covered a docker.io"},
		{"a path of Docker Hub for tag resolution", list("a"), secrets{"a": with("index.docker.io/acme", good)}, "acme/app", "Covered a index.docker.io/acme", "WrongKey a index.docker.io/acme docker.io/acme"},
		{"the key of Docker Hub", list("a"), secrets{"a": with("https://index.docker.io/v1/", good)}, "nginx", "Covered a index.docker.io", "Covered a index.docker.io"},
		{"the key of Docker Hub behind another one", list("b", "a"), secrets{"a": with("docker.io", good), "b": with("index.docker.io", good)}, "acme/app", "Covered b index.docker.io", "Covered a docker.io"},
		{"the key of Docker Hub behind an expired one", list("b", "a"), secrets{"a": with("docker.io", expired), "b": with("index.docker.io", good)}, "acme/app", "Covered b index.docker.io", "Shadowed b index.docker.io"},
		{"capitals", list("a"), secrets{"a": with("ghcr.io", good, "GHCR.io/acme", good)}, "quay.io/acme/app", "NoMatch", "NoMatch"},
		{"a tag in the key", list("a"), secrets{"a": with("ghcr.io/acme/app:1", good, "quay.io", good)}, app, "WrongKey a entry 1 ghcr.io/acme/app", "WrongKey a entry 1 ghcr.io/acme/app"},
		{"a candidate is a better remedy than a key", list("a"), secrets{"a": with("docker.io", good), "b": with("index.docker.io", good)}, "acme/app", "NotListed b index.docker.io", "Covered a docker.io"},

		// A container is pulled from where Knative resolved its tag.
		{"localhost", list("a"), secrets{"a": with("localhost", good)}, "localhost/acme/app", "NoMatch", "NoMatch"},
		{"localhost by digest", list("a"), secrets{"a": with("localhost", good)}, "localhost/acme/app" + digest, "NotResolved", "Covered a localhost"},
		{"a Docker Hub credential that the kubelet offers to localhost", list("a"), secrets{"a": with("index.docker.io", good)}, "localhost/acme/app" + digest, "NotResolved", "NoMatch"},
		{"by digest", list("a"), secrets{"a": with("ghcr.io", good)}, "ghcr.io/acme/app:1" + digest, "NotResolved", "Covered a ghcr.io"},
		{"a registry that skips tag resolution", list("a"), secrets{"a": with("ko.local", good)}, "ko.local/acme/app", "NotResolved", "Covered a ko.local"},
		{"no image", list("a"), secrets{"a": with("ghcr.io", good)}, "ghcr.io/Acme/app", "InvalidImage", "InvalidImage"},
		{"one letter, which is too short for Knative", list("a"), secrets{"a": with("ghcr.io", good)}, "ghcr.io/a", "InvalidImage", "Covered a ghcr.io"},
		{"too long for any registry", list("a"), secrets{"a": with("ghcr.io", good)}, "ghcr.io/acme/app:1" + strings.Repeat("x", maxReference), "InvalidImage", "InvalidImage"},
		{"a host that cannot exist", list("a"), secrets{"a": with("ghcr.io", good)}, strings.Repeat("x", 70) + ".io/acme/app", "InvalidImage", "InvalidImage"},
		{"resolved already", Template{PullSecrets: []string{"a"}, Resolved: true}, secrets{"a": with("quay.io", good)}, app, "NotResolved", "NoMatch"},
	}
	settings := grant.ImageSettings{Unresolved: sets.New("ko.local", "")}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			tt.template.Images = []Image{{Container, "app", tt.image}}
			result := Of(tt.template, tt.secrets, settings, now)[0]
			for reader, want := range [dockerconfig.Readers]string{tt.resolution, tt.kubelet} {
				if got := decided(result.Verdicts[reader]); got != want {
					t.Errorf("%s: %s, want %s", dockerconfig.Reader(reader), got, want)
				}
			}
		})
	}
}

// Of an init container the tag is resolved and then not used. An image volume and the
// queue-proxy are not resolved.
func TestKinds(t *testing.T) {
	spec := corev1.PodSpec{
		Containers:     []corev1.Container{{Name: "app", Image: "localhost/acme/app"}, {Name: "sidecar", Image: "ghcr.io/acme/sidecar" + digest}},
		InitContainers: []corev1.Container{{Name: "init", Image: "localhost/acme/init"}},
		Volumes: []corev1.Volume{{Name: "empty"}, {Name: "model", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "localhost/acme/model"},
		}}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "a"}},
	}
	template := TemplateOf(&spec)
	known := secrets{"a": with("localhost", good, "ghcr.io", good)}
	settings := grant.ImageSettings{QueueProxy: "ghcr.io/acme/queue"}
	type row struct {
		kind                         Kind
		name, resolvedAt, pulledFrom string
		resolution, kubelet          string
		byDigest, skips              bool
	}
	var got []row
	for _, r := range Of(template, known, settings, now) {
		resolution, kubelet := r.Verdicts[dockerconfig.TagResolution], r.Verdicts[dockerconfig.Kubelet]
		got = append(got, row{r.Kind, r.Name, resolution.Repository, kubelet.Repository, decided(resolution), decided(kubelet), r.ByDigest, r.SkipsResolution})
	}
	want := []row{
		{Container, "app", "index.docker.io/localhost/acme/app", "docker.io/localhost/acme/app", "NoMatch", "NoMatch", false, false},
		{Container, "sidecar", "", "ghcr.io/acme/sidecar", "NotResolved", "Covered a ghcr.io", true, false},
		{InitContainer, "init", "index.docker.io/localhost/acme/init", "localhost/acme/init", "NoMatch", "Covered a localhost", false, false},
		{ImageVolume, "model", "", "localhost/acme/model", "NotResolved", "Covered a localhost", false, false},
		{QueueProxy, "queue-proxy", "", "ghcr.io/acme/queue", "NotResolved", "Covered a ghcr.io", false, false},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
	settings = grant.ImageSettings{Unresolved: sets.New("index.docker.io")}
	results := Of(template, known, settings, now)
	if r := results[0]; !r.SkipsResolution || decided(r.Verdicts[0]) != "NotResolved" || decided(r.Verdicts[1]) != "Covered a localhost" {
		t.Errorf("with Docker Hub not resolved: %+v", r)
	}
	if r := results[4]; r.Covered() || r.Verdicts[0].Reason != NotChecked || r.Verdicts[1].Message() != "it was not checked" {
		t.Errorf("a queue-proxy that is not known: %+v", r)
	}
}

// A program can show each Secret beside each image.
func TestEntries(t *testing.T) {
	template := Template{
		Images:      []Image{{Container, "app", "ghcr.io/acme/app"}},
		PullSecrets: []string{"old", "new", "hub", "gone", "old"}, ServiceAccount: []string{"account", "new"},
	}
	known := secrets{
		"old": with("ghcr.io", expired), "new": with("ghcr.io", good, "ghcr.io/acme", fresh), "hub": with("docker.io", good),
		"gone": {State: Absent}, "account": with("*.io", good), "granted": with("ghcr.io/acme/app", good), "other": with("quay.io", good),
	}
	r := Of(template, known, grant.ImageSettings{}, now)[0]
	soon, late := metav1.Unix(1000, 0), metav1.Unix(1001, 0)
	want := [dockerconfig.Readers][]Entry{{
		{Secret: "old", Reason: Expired, Key: "ghcr.io", Turn: 2, Expires: soon},
		{Secret: "new", Reason: Covered, Key: "ghcr.io/acme", Turn: 1, Expires: late},
		{Secret: "hub", Reason: NoMatch},
		{Secret: "gone", Reason: Missing},
		{Secret: "account", ServiceAccount: true, Reason: Shadowed, Key: "*.io", Turn: 4},
		{Secret: "granted", Unread: true, Reason: NotListed, Key: "ghcr.io/acme/app"},
		{Secret: "other", Unread: true, Reason: NoMatch},
	}, {
		{Secret: "old", Reason: Expired, Key: "ghcr.io", Turn: 2, Expires: soon},
		{Secret: "new", Reason: Covered, Key: "ghcr.io/acme", Turn: 1, Expires: late},
		{Secret: "hub", Reason: NoMatch},
		{Secret: "gone", Reason: Missing},
		{Secret: "account", ServiceAccount: true, Unread: true, Reason: NotListed, Key: "*.io"},
		{Secret: "granted", Unread: true, Reason: NotListed, Key: "ghcr.io/acme/app"},
		{Secret: "other", Unread: true, Reason: NoMatch},
	}}
	for reader := range dockerconfig.Readers {
		if diff := cmp.Diff(want[reader], r.Verdicts[reader].Entries); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", reader, diff)
		}
	}
}

// What tenants write costs no more than a bound, and what exceeds it is not checked.
func TestBounds(t *testing.T) {
	var images []Image
	var names []string
	known := secrets{}
	for i := range grant.MaxImages {
		images = append(images, Image{Container, fmt.Sprint(i), "ghcr.io/acme/app"})
	}
	for i := range maxEntries + 1 {
		names = append(names, fmt.Sprintf("s%03d", i))
		known[names[i]] = with("quay.io", good)
	}
	first := func(t Template) string {
		return decided(Of(t, known, grant.ImageSettings{}, now)[0].Verdicts[dockerconfig.Kubelet])
	}
	template := Template{Images: images, PullSecrets: names[:maxEntries]}
	if got := Of(template, known, grant.ImageSettings{QueueProxy: "ghcr.io/acme/queue"}, now); got[grant.MaxImages-1].Verdicts[0].Reason != NoMatch || got[grant.MaxImages].Verdicts[1].Reason != NotChecked {
		t.Errorf("the last two images: %+v", got[grant.MaxImages-1:])
	}
	if got := first(template); got != "NoMatch" {
		t.Errorf("as many names as are considered: %s", got)
	}
	template.PullSecrets = names
	if got := first(template); got != "NotChecked " {
		t.Errorf("one name more: %s", got)
	}
	path := strings.Repeat("a", dockerconfig.MaxSize/2)
	known["s000"], known["s001"] = with("ghcr.io/"+path, good), with("ghcr.io/b"+path, good)
	template.PullSecrets = names[:3]
	if got := first(template); got != "NotChecked s001" {
		t.Errorf("long keys in two Secrets: %s", got)
	}
	known["s000"] = with("ghcr.io/"+path+path, good)
	if got := first(template); got != "NotChecked s000" {
		t.Errorf("a long key: %s", got)
	}
	for i := range 5 {
		var keys []string
		for j := range dockerconfig.MaxEntries {
			keys = append(keys, fmt.Sprintf("K%d%x", i, j))
		}
		known[names[i]] = Secret{State: Known, Facts: dockerconfig.FactsOf(keys)}
	}
	template.PullSecrets = names[:4]
	if got := first(template); got != "NoMatch" {
		t.Errorf("as many keys as are considered: %s", got)
	}
	template.PullSecrets = names[:5]
	if got := first(template); got != "NotChecked s004" {
		t.Errorf("too many keys in all Secrets: %s", got)
	}
	template.PullSecrets = names[:1]
	registries := []string{}
	for j := range dockerconfig.MaxEntries + 1 {
		registries = append(registries, fmt.Sprintf("K%x", j))
	}
	known["s000"] = Secret{State: Known, Facts: dockerconfig.FactsOf(registries)}
	if got := first(template); got != "NotChecked s000" {
		t.Errorf("too many keys in one Secret: %s", got)
	}
}

// Each reason has a text that names what it is about, and each failure a remedy.
func TestMessages(t *testing.T) {
	const app = "ghcr.io/acme/app"
	for _, test := range []struct {
		names        []string
		secrets      secrets
		image        string
		fact, remedy string
	}{
		{[]string{"a"}, secrets{"a": with("ghcr.io", good)}, app, `key "ghcr.io" of Secret a matches`, ""},
		{nil, nil, app + digest, "no tag is resolved", ""},
		{nil, nil, "ghcr.io/Acme", "the name of the image is invalid", "correct the image"},
		{
			[]string{"a"}, secrets{"a": with("ghcr.io", `{"auth":"`+canary+`"}`)}, app,
			`Secret a is invalid, so no image with this list can be pulled: .dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the value is not base64`,
			"correct Secret a, or remove it from the list",
		},
		{[]string{"a\n"}, secrets{"a\n": {State: Absent}}, app, `Secret "a\n" does not exist`, "create it, or remove it from the list"},
		{[]string{""}, nil, app, `the list of pull secrets contains "", which is not a name`, "remove it from the list"},
		{[]string{"a"}, nil, app, "Secret a was not checked", ""},
		{
			[]string{"a", "b"}, secrets{"a": with("ghcr.io", expired), "b": with("*.io", good)}, app,
			`key "*.io" of Secret b is not used, because key "ghcr.io" of Secret a precedes it, whose credential expired at 1970-01-01T00:16:40Z`,
			"replace the credential in Secret a",
		},
		{[]string{"a"}, secrets{"a": with("ghcr.io", expired)}, app, `key "ghcr.io" of Secret a matches, but its credential expired at 1970-01-01T00:16:40Z`, "replace the credential in Secret a"},
		{[]string{"a"}, secrets{"a": with("ghcr.io", `{}`)}, app, `key "ghcr.io" of Secret a matches, but its credential is missing or not supported`, "use auth, or username and password, in Secret a"},
		{nil, secrets{"a": with("ghcr.io", good)}, app, `Secret a has a credential for "ghcr.io/acme/app", but is not in the list that is read`, "add a to the imagePullSecrets of the template"},
		{[]string{"a"}, secrets{"a": with("docker.io", good)}, "acme/app", `key "docker.io" of Secret a does not match "index.docker.io/acme/app"`, `use the key "https://index.docker.io/v1/"`},
		{[]string{"a"}, secrets{"a": {State: Ungranted}}, app, "Secret a does not exist, and no ClusterPullSecret grants it", "have the namespace selected, create the Secret, or remove it from the list"},
		{
			[]string{"a"}, secrets{"a": typed("x")}, app,
			`Secret a is not a pull secret: type "x" is neither kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg`, "create it again with one of these types",
		},
		{[]string{"a"}, secrets{"a": with("quay.io", good)}, app, `no key of the pull secrets matches "ghcr.io/acme/app"`, `add a pull secret for "ghcr.io/acme/app"`},
		{nil, nil, app, "no pull secret is listed", `add a pull secret for "ghcr.io/acme/app"`},
		// What is wrong with a copy is corrected at its source.
		{[]string{"a"}, secrets{"a": {State: Absent, CopyOf: "hub"}}, app, "Secret a does not exist", "do not create it: the copy is created when the source of ClusterPullSecret hub is ready"},
		{
			[]string{"a"}, secrets{"a": copied(with("ghcr.io", expired))}, app, `key "ghcr.io" of Secret a matches, but its credential expired at 1970-01-01T00:16:40Z`,
			"Secret a is a copy: replace the credential in the source of ClusterPullSecret hub, and the copy follows",
		},
		{
			[]string{"a", "b"}, secrets{"a": copied(with("ghcr.io", expired)), "b": with("*.io", good)}, app,
			`key "*.io" of Secret b is not used, because key "ghcr.io" of Secret a precedes it, whose credential expired at 1970-01-01T00:16:40Z`,
			"Secret a is a copy: replace the credential in the source of ClusterPullSecret hub, and the copy follows",
		},
		{
			[]string{"a", "b"}, secrets{"a": with("ghcr.io", expired), "b": copied(with("*.io", good))}, app,
			`key "*.io" of Secret b is not used, because key "ghcr.io" of Secret a precedes it, whose credential expired at 1970-01-01T00:16:40Z`,
			"replace the credential in Secret a",
		},
		{
			[]string{"a"}, secrets{"a": copied(with("ghcr.io", `{}`))}, app, `key "ghcr.io" of Secret a matches, but its credential is missing or not supported`,
			"Secret a is a copy: use auth, or username and password, in the source of ClusterPullSecret hub, and the copy follows",
		},
		{
			[]string{"a"}, secrets{"a": copied(with("docker.io", good))}, "acme/app", `key "docker.io" of Secret a does not match "index.docker.io/acme/app"`,
			`Secret a is a copy: use the key "https://index.docker.io/v1/" in the source of ClusterPullSecret hub, or in its spec.registries, and the copy follows`,
		},
		{
			[]string{"a"}, secrets{"a": copied(with("ghcr.io", `{"auth":"`+canary+`"}`))}, app,
			`Secret a is invalid, so no image with this list can be pulled: .dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the value is not base64`,
			"Secret a is a copy: correct the source of ClusterPullSecret hub, and the copy follows",
		},
	} {
		r := Of(Template{Images: []Image{{Container, "app", test.image}}, PullSecrets: test.names}, test.secrets, grant.ImageSettings{}, now)[0]
		v := r.Verdicts[dockerconfig.TagResolution]
		if v.Message() != test.fact || v.Remedy() != test.remedy {
			t.Errorf("%s:\n%s\n%s\nwant:\n%s\n%s", v.Reason, v.Message(), v.Remedy(), test.fact, test.remedy)
		}
	}
	for _, reason := range append(ranked, InvalidImage, Malformed, NotResolved, NoPullSecrets) {
		if text, ok := texts[reason]; !ok || text.remedy == "" && !reason.OK() && reason != NotChecked {
			t.Errorf("%s has no text or no remedy", reason)
		}
	}
	if account := (Verdict{Reason: NotChecked, Entries: []Entry{{ServiceAccount: true}}}); account.Message() != "the pull secrets of the ServiceAccount were not checked" {
		t.Errorf("an unknown ServiceAccount: %s", account.Message())
	}
}

// The first reader that fails is reported, in the order in which they read.
func TestFailing(t *testing.T) {
	template := Template{Images: []Image{{Container, "app", "acme/app"}}, PullSecrets: []string{"a"}}
	for _, test := range []struct {
		key    string
		reader dockerconfig.Reader
		reason Reason
	}{
		{"index.docker.io", 0, ""},
		{"docker.io", dockerconfig.TagResolution, WrongKey},
		{"*.docker.io", dockerconfig.Kubelet, NoMatch},
		{"ghcr.io", dockerconfig.TagResolution, NoMatch},
	} {
		r := Of(template, secrets{"a": with(test.key, good)}, grant.ImageSettings{}, now)[0]
		reader, verdict, failing := r.Failing()
		if reader != test.reader || verdict.Reason != test.reason || failing != (test.reason != "") || r.Covered() == failing {
			t.Errorf("%s: %s fails with %q (%t), want %s with %q", test.key, reader, verdict.Reason, failing, test.reader, test.reason)
		}
	}
}
