// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func inServices(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{Services: true} }
func sourceUnseen(cps *v1alpha1.ClusterPullSecret) {
	cps.Status = v1alpha1.ClusterPullSecretStatus{}
}

func elsewhere(cps *v1alpha1.ClusterPullSecret) {
	cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
}

func holds(registries ...string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = registries }
}

// TestGrants is about what ClusterPullSecrets bring to Services at admission.
func TestGrants(t *testing.T) {
	knows := func(objects ...runtime.Object) world { return world{cached: objects} }
	with := func(service string, annotations string) string {
		return strings.Replace(service, "name: app", "name: app, annotations: {"+annotations+"}", 1)
	}
	const (
		auto, declared, disabled = "pullsecrets.dev/inject: auto", "pullsecrets.dev/inject: declared", "pullsecrets.dev/inject: disabled"
		fromGHCR                 = `ghcr | {"ghcr":"clusterpullsecret/ghcr"}`
		coming                   = "copies may still be on their way to namespace team: pull secrets "
		refused                  = "namespace team is not selected by the ClusterPullSecrets of pull secrets "
	)
	autoTeam := team("pullsecrets.dev/inject", "auto")
	twoClouds := []runtime.Object{autoTeam, ClusterPullSecret("ghcr", holds("ghcr.io")), ClusterPullSecret("quay", holds("quay.io"))}
	hasGHCR := `{metadata: {name: app, annotations: {pullsecrets.dev/added: '{"ghcr":"clusterpullsecret/ghcr"}'}}, spec: {template: {spec: {imagePullSecrets: [{name: ghcr}], containers: [{image: ghcr.io/acme/app:v1}]}}}}`
	moved := strings.Replace(bare, "ghcr.io", "quay.io", 1)

	for _, tt := range []struct {
		reason         string
		world          world
		old, requested string
		want           string
		warnings       []string
	}{
		{
			reason: "create: always", world: knows(team(), ClusterPullSecret("ghcr", inServices)), requested: bare, want: fromGHCR,
		},
		{
			reason:    "create: always, beside the user's own, the Service's and the Namespace's",
			world:     knows(team("pullsecrets.dev/secrets", "n"), ClusterPullSecret("b", inServices), ClusterPullSecret("a", inServices)),
			requested: `{metadata: {name: app, annotations: {pullsecrets.dev/secrets: s}}, spec: {template: {spec: {imagePullSecrets: [{name: mine}], containers: [{image: x}]}}}}`,
			want:      `mine s n a b | {"a":"clusterpullsecret/a","b":"clusterpullsecret/b","n":"namespace","s":"service"}`,
		},
		{
			reason: "create: always, and the ServiceAccount's are carried",
			world:  knows(team(), ClusterPullSecret("ghcr", inServices), ServiceAccount(ns, "default", nil, "sa")), requested: bare,
			want: `ghcr sa | {"ghcr":"clusterpullsecret/ghcr","sa":"serviceaccount/default"}`,
		},
		{
			reason: "create: always, in a namespace that is not selected", world: knows(team(), ClusterPullSecret("ghcr", inServices, elsewhere)), requested: bare, want: " | ",
		},
		{
			reason: "create: always, in an excluded namespace",
			world:  knows(Namespace(ns, WithNamespaceLabel("pullsecrets.dev/exclude", "true")), ClusterPullSecret("ghcr", inServices)), requested: bare, want: " | ",
		},
		{
			reason: "create: always, before the source was ever good", world: knows(team(), ClusterPullSecret("ghcr", inServices, sourceUnseen)), requested: bare,
			want: fromGHCR, warnings: []string{coming + "ghcr"},
		},
		{
			reason: "create: always, and the caches are cold", world: world{cold: true, cached: []runtime.Object{team(), ClusterPullSecret("ghcr", inServices)}},
			requested: bare, want: " | ",
		},
		{
			reason: "create: auto of the Namespace takes what covers the image", world: knows(twoClouds...), requested: bare, want: fromGHCR,
		},
		{
			reason: "create: auto, by the image of an init container", world: knows(twoClouds...),
			requested: strings.Replace(bare, "containers:", "initContainers: [{image: quay.io/acme/setup}], containers:", 1),
			want:      `ghcr quay | {"ghcr":"clusterpullsecret/ghcr","quay":"clusterpullsecret/quay"}`,
		},
		{
			reason: "create: auto, by an image volume", world: knows(twoClouds...),
			requested: strings.Replace(bare, "containers:", "volumes: [{name: x, configMap: {name: x}}, {name: m, image: {reference: quay.io/acme/model}}], containers:", 1),
			want:      `ghcr quay | {"ghcr":"clusterpullsecret/ghcr","quay":"clusterpullsecret/quay"}`,
		},
		{
			reason: "create: auto, by an image volume of the Hub, which a copy for the kubelet alone serves", world: knows(autoTeam, ClusterPullSecret("hub", holds("docker.io"))),
			requested: `{metadata: {name: app}, spec: {template: {spec: {volumes: [{name: m, image: {reference: acme/model}}], containers: [{image: x}]}}}}`,
			want:      `hub | {"hub":"clusterpullsecret/hub"}`,
		},
		{
			reason:    "create: auto, by the queue-proxy's image",
			world:     world{cached: twoClouds, images: grant.ImageSettings{QueueProxy: "quay.io/mirror/queue"}},
			requested: bare, want: `ghcr quay | {"ghcr":"clusterpullsecret/ghcr","quay":"clusterpullsecret/quay"}`,
		},
		{
			reason:    "create: auto, by an image whose tag Knative does not resolve",
			world:     world{cached: []runtime.Object{autoTeam, ClusterPullSecret("hub", holds("docker.io"))}, images: grant.ImageSettings{Unresolved: sets.New("index.docker.io")}},
			requested: `{metadata: {name: app}, spec: {template: {spec: {containers: [{image: acme/app}]}}}}`,
			want:      `hub | {"hub":"clusterpullsecret/hub"}`,
		},
		{
			reason: "update: another queue-proxy is no change of the Service",
			world:  world{cached: twoClouds, images: grant.ImageSettings{QueueProxy: "quay.io/mirror/queue"}},
			old:    hasGHCR, requested: hasGHCR, want: fromGHCR,
		},
		{
			reason: "create: auto, of volumes that are none", world: knows(twoClouds...),
			requested: `{metadata: {name: app}, spec: {template: {spec: {volumes: [1, null, {image: 2}, {image: {reference: 3}}]}}}}`, want: " | ",
		},
		{
			reason: "create: auto, of containers that are none", world: knows(twoClouds...),
			requested: `{metadata: {name: app}, spec: {template: {spec: {initContainers: {}, containers: [1, null, {image: 2}]}}}}`, want: " | ",
		},
		{
			reason: "create: auto of the Service is the first to ask", world: knows(team(), ClusterPullSecret("ghcr", holds("ghcr.io"))),
			requested: with(bare, auto), want: fromGHCR, warnings: []string{coming + "ghcr"},
		},
		{
			reason: "create: declared on the Service: neither auto nor always", world: knows(autoTeam, ClusterPullSecret("ghcr", inServices, holds("ghcr.io"))),
			requested: with(bare, declared), want: " | ",
		},
		{
			reason: "create: disabled on the Service", world: knows(autoTeam, ClusterPullSecret("ghcr", inServices, holds("ghcr.io"))),
			requested: with(bare, disabled), want: " | ",
		},
		{
			reason: "create: disabled on the Namespace", world: knows(team("pullsecrets.dev/inject", "disabled", "pullsecrets.dev/secrets", "ghcr"), ClusterPullSecret("ghcr", inServices, sourceUnseen)),
			requested: with(bare, auto), want: " | ",
		},
		{
			reason: "update: another image needs another credential, in the same request", world: knows(twoClouds...), old: hasGHCR, requested: moved,
			want: `quay | {"quay":"clusterpullsecret/quay"}`,
		},
		{
			reason: "update: another image needs what nobody has asked for", world: knows(append([]runtime.Object{team()}, twoClouds[1:]...)...),
			old: strings.Replace(hasGHCR, "annotations: {", "annotations: {"+auto+", ", 1), requested: with(moved, auto),
			want: `quay | {"quay":"clusterpullsecret/quay"}`, warnings: []string{coming + "quay"},
		},
		{
			reason: "update: what dropped the entry gets it back", world: knows(twoClouds...), old: hasGHCR, requested: bare, want: fromGHCR,
		},
		{
			reason: "update: a new grant comes with the next change", world: knows(team(), ClusterPullSecret("ghcr", inServices)), old: bare, requested: bare, want: " | ",
		},
		{
			reason: "update: and with a change", world: knows(team(), ClusterPullSecret("ghcr", inServices)), old: bare, requested: bare2, want: fromGHCR,
		},
		{
			reason: "update: what is granted no more goes with a change", world: knows(team(), ClusterPullSecret("ghcr", inServices, elsewhere)),
			old: hasGHCR, requested: strings.Replace(hasGHCR, "v1", "v2", 1), want: " | ",
		},
		{
			reason: "update: declared on the Service takes auto and always away", world: knows(twoClouds...), old: hasGHCR,
			requested: strings.Replace(hasGHCR, "annotations: {", "annotations: {"+declared+", ", 1), want: " | ",
		},
		{
			reason: "create: a declared name that is granted, and that the Namespace asks for", world: knows(team("pullsecrets.dev/secrets", "ghcr"), ClusterPullSecret("ghcr")),
			requested: bare, want: `ghcr | {"ghcr":"namespace"}`,
		},
		{
			reason: "create: the Service is the first to ask for a name", world: knows(team(), ClusterPullSecret("ghcr")),
			requested: with(bare, "pullsecrets.dev/secrets: 'ghcr,own'"), want: `ghcr own | {"ghcr":"service","own":"service"}`, warnings: []string{coming + "ghcr"},
		},
		{
			reason: "update: the Service has asked before", world: knows(team(), ClusterPullSecret("ghcr")),
			old: with(bare, "pullsecrets.dev/secrets: ghcr"), requested: with(bare2, "pullsecrets.dev/secrets: ghcr"), want: `ghcr | {"ghcr":"service"}`,
		},
		{
			reason:    "create: the source itself is no copy that could be on its way",
			world:     knows(team(), ClusterPullSecret("ghcr", sourceUnseen, func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretRef.Namespace = ns })),
			requested: with(bare, "pullsecrets.dev/secrets: ghcr"), want: `ghcr | {"ghcr":"service"}`,
		},
		{
			reason:    "create: declared names that are not granted",
			world:     knows(team("pullsecrets.dev/secrets", "quay,own"), ClusterPullSecret("ghcr", elsewhere), ClusterPullSecret("quay", elsewhere)),
			requested: with(bare, "pullsecrets.dev/secrets: ghcr"),
			want:      `ghcr quay own | {"ghcr":"service","own":"namespace","quay":"namespace"}`, warnings: []string{refused + "ghcr, quay"},
		},
		{
			reason: "create: the source itself needs no grant",
			world: knows(team("pullsecrets.dev/secrets", "ghcr"), ClusterPullSecret("ghcr", elsewhere, func(cps *v1alpha1.ClusterPullSecret) {
				cps.Spec.SecretRef.Namespace = ns
			})),
			requested: bare, want: `ghcr | {"ghcr":"namespace"}`,
		},
		{
			reason: "create: a long name makes a short warning", world: knows(team("pullsecrets.dev/secrets", strings.Repeat("x", 63)), ClusterPullSecret(strings.Repeat("x", 63), elsewhere)),
			requested: bare, want: strings.Repeat("x", 63) + ` | {"` + strings.Repeat("x", 63) + `":"namespace"}`,
			warnings: []string{refused + strings.Repeat("x", maxWarning-len(refused)-1) + "…"},
		},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			r := request(t, tt.old, tt.requested)
			services := tt.world.services(t)
			response := services.Admit(t.Context(), r)
			patched := apply(t, r, response)
			if got := summary(t, patched); got != tt.want {
				t.Errorf("list and ledger = %q, want %q", got, tt.want)
			}
			if got, want := fmt.Sprintf("%q", response.Warnings), fmt.Sprintf("%q", tt.warnings); got != want {
				t.Errorf("warnings = %s, want %s", got, want)
			}
			// The API server calls again with what the first call made of it, and
			// shows a warning once.
			r.Object.Raw = patched
			again := services.Admit(t.Context(), r)
			if got := summary(t, apply(t, r, again)); got != tt.want {
				t.Errorf("the second call makes it %q, the first made it %q", got, tt.want)
			}
			if got, want := fmt.Sprintf("%q", again.Warnings), fmt.Sprintf("%q", tt.warnings); got != want {
				t.Errorf("the second call's warnings = %s, want %s", got, want)
			}
		})
	}
}
