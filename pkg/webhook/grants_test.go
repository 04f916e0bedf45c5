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

// TestGrants lists the effects of ClusterPullSecrets on Services at admission.
func TestGrants(t *testing.T) {
	knows := func(objects ...runtime.Object) world { return world{cached: objects} }
	with := func(service string, annotations string) string {
		return strings.Replace(service, "name: app", "name: app, annotations: {"+annotations+"}", 1)
	}
	const (
		auto, declared, disabled = "pullsecrets.dev/inject: auto", "pullsecrets.dev/inject: declared", "pullsecrets.dev/inject: disabled"
		fromGHCR                 = `ghcr | {"ghcr":"clusterpullsecret/ghcr"}`
		notYet                   = " may not exist yet in namespace team; image pulls are retried"
		notSelected              = "Namespace team is not selected by the ClusterPullSecrets of pull secrets "
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
			reason:    "create: always, besides entries of the user, the Service and the Namespace",
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
			reason: "create: always, before the source was ever valid", world: knows(team(), ClusterPullSecret("ghcr", inServices, sourceUnseen)), requested: bare,
			want: fromGHCR, warnings: []string{"pull secrets ghcr" + notYet},
		},
		{
			reason: "create: always, and the caches are cold", world: world{cold: true, cached: []runtime.Object{team(), ClusterPullSecret("ghcr", inServices)}},
			requested: bare, want: " | ",
		},
		{
			reason: "create: auto of the Namespace adds what covers the image", world: knows(twoClouds...), requested: bare, want: fromGHCR,
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
			reason: "create: auto, by an image volume of Docker Hub, for which a copy that only the kubelet uses is sufficient", world: knows(autoTeam, ClusterPullSecret("hub", holds("docker.io"))),
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
			reason: "update: another queue-proxy image does not change the Service",
			world:  world{cached: twoClouds, images: grant.ImageSettings{QueueProxy: "quay.io/mirror/queue"}},
			old:    hasGHCR, requested: hasGHCR, want: fromGHCR,
		},
		{
			reason: "create: auto, malformed volumes", world: knows(twoClouds...),
			requested: `{metadata: {name: app}, spec: {template: {spec: {volumes: [1, null, {image: 2}, {image: {reference: 3}}]}}}}`, want: " | ",
		},
		{
			reason: "create: auto, malformed containers", world: knows(twoClouds...),
			requested: `{metadata: {name: app}, spec: {template: {spec: {initContainers: {}, containers: [1, null, {image: 2}]}}}}`, want: " | ",
		},
		{
			reason: "create: auto of the Service is the first to ask", world: knows(team(), ClusterPullSecret("ghcr", holds("ghcr.io"))),
			requested: with(bare, auto), want: fromGHCR, warnings: []string{"pull secrets ghcr" + notYet},
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
			reason: "update: another image needs a credential that was not asked for before", world: knows(append([]runtime.Object{team()}, twoClouds[1:]...)...),
			old: strings.Replace(hasGHCR, "annotations: {", "annotations: {"+auto+", ", 1), requested: with(moved, auto),
			want: `quay | {"quay":"clusterpullsecret/quay"}`, warnings: []string{"pull secrets quay" + notYet},
		},
		{
			reason: "update: a dropped entry is restored", world: knows(twoClouds...), old: hasGHCR, requested: bare, want: fromGHCR,
		},
		{
			reason: "update: a new grant is not added without a change", world: knows(team(), ClusterPullSecret("ghcr", inServices)), old: bare, requested: bare, want: " | ",
		},
		{
			reason: "update: a new grant is added with a change", world: knows(team(), ClusterPullSecret("ghcr", inServices)), old: bare, requested: bare2, want: fromGHCR,
		},
		{
			reason: "update: an entry that is no longer granted is removed with a change", world: knows(team(), ClusterPullSecret("ghcr", inServices, elsewhere)),
			old: hasGHCR, requested: strings.Replace(hasGHCR, "v1", "v2", 1), want: " | ",
		},
		{
			reason: "update: declared on the Service removes entries of auto and always", world: knows(twoClouds...), old: hasGHCR,
			requested: strings.Replace(hasGHCR, "annotations: {", "annotations: {"+declared+", ", 1), want: " | ",
		},
		{
			reason: "create: a declared name that is granted, and that the Namespace asks for", world: knows(team("pullsecrets.dev/secrets", "ghcr"), ClusterPullSecret("ghcr")),
			requested: bare, want: `ghcr | {"ghcr":"namespace"}`,
		},
		{
			reason: "create: the Service is the first to ask for a name", world: knows(team(), ClusterPullSecret("ghcr")),
			requested: with(bare, "pullsecrets.dev/secrets: 'ghcr,own'"), want: `ghcr own | {"ghcr":"service","own":"service"}`, warnings: []string{"pull secrets ghcr" + notYet},
		},
		{
			reason: "update: the Service has asked before", world: knows(team(), ClusterPullSecret("ghcr")),
			old: with(bare, "pullsecrets.dev/secrets: ghcr"), requested: with(bare2, "pullsecrets.dev/secrets: ghcr"), want: `ghcr | {"ghcr":"service"}`,
		},
		{
			reason:    "create: the source itself is not a pending copy",
			world:     knows(team(), ClusterPullSecret("ghcr", sourceUnseen, func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretRef.Namespace = ns })),
			requested: with(bare, "pullsecrets.dev/secrets: ghcr"), want: `ghcr | {"ghcr":"service"}`,
		},
		{
			reason:    "create: declared names that are not granted",
			world:     knows(team("pullsecrets.dev/secrets", "quay,own"), ClusterPullSecret("ghcr", elsewhere), ClusterPullSecret("quay", elsewhere)),
			requested: with(bare, "pullsecrets.dev/secrets: ghcr"),
			want:      `ghcr quay own | {"ghcr":"service","own":"namespace","quay":"namespace"}`, warnings: []string{notSelected + "ghcr, quay"},
		},
		{
			reason: "create: the source itself needs no grant",
			world: knows(team("pullsecrets.dev/secrets", "ghcr"), ClusterPullSecret("ghcr", elsewhere, func(cps *v1alpha1.ClusterPullSecret) {
				cps.Spec.SecretRef.Namespace = ns
			})),
			requested: bare, want: `ghcr | {"ghcr":"namespace"}`,
		},
		{
			reason: "create: a warning about a long name is truncated", world: knows(team("pullsecrets.dev/secrets", strings.Repeat("x", 63)), ClusterPullSecret(strings.Repeat("x", 63), elsewhere)),
			requested: bare, want: strings.Repeat("x", 63) + ` | {"` + strings.Repeat("x", 63) + `":"namespace"}`,
			warnings: []string{notSelected + strings.Repeat("x", maxWarning-len(notSelected)-1) + "…"},
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
			// The API server calls again with the result of the first call, and shows each
			// warning once.
			r.Object.Raw = patched
			again := services.Admit(t.Context(), r)
			if got := summary(t, apply(t, r, again)); got != tt.want {
				t.Errorf("after the second call: %q, after the first: %q", got, tt.want)
			}
			if got, want := fmt.Sprintf("%q", again.Warnings), fmt.Sprintf("%q", tt.warnings); got != want {
				t.Errorf("the second call's warnings = %s, want %s", got, want)
			}
		})
	}
}
