// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// accountRequest returns a request about ServiceAccount robot.
func accountRequest(t testing.TB, old, requested string) *admissionv1.AdmissionRequest {
	t.Helper()
	r := &admissionv1.AdmissionRequest{
		Namespace: ns, Name: "robot", Operation: admissionv1.Create,
		Kind:   metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"},
		Object: runtime.RawExtension{Raw: toJSON(t, requested)},
	}
	if old != "" {
		r.Operation, r.OldObject.Raw = admissionv1.Update, toJSON(t, old)
	}
	return r
}

// accountSummary returns the list and the ledger of a ServiceAccount as one line.
func accountSummary(t testing.TB, raw []byte) string {
	t.Helper()
	o, err := decodeAccount(raw)
	if err != nil {
		t.Fatal(err)
	}
	names, err := o.names()
	if err != nil {
		return err.Error()
	}
	return strings.Join(names, " ") + " | " + o.ledger()
}

func excludedTeam() *corev1.Namespace {
	return Namespace(ns, WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue),
		WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "n"), WithNamespaceAnnotation(pullsecrets.ServiceAccountsAnnotation, "*"))
}

// A server-side apply of the list makes its names the applier's, whatever the ledger
// says. If the applier withdraws them, they are ours again as far as they are declared. A
// writer of other fields does not own the names.
func TestAdmitAppliedAccount(t *testing.T) {
	const ours = `{"n":"namespace"}`
	account := func(managers string, names ...string) string {
		return `{metadata: {name: robot, annotations: {pullsecrets.dev/added: '` + ours + `'}, managedFields: [` + managers + `]}, imagePullSecrets: [` + strings.Join(names, ", ") + `]}`
	}
	owns := func(manager, operation string) string {
		return `{manager: ` + manager + `, operation: ` + operation + `, fieldsV1: {"f:imagePullSecrets": {}}},`
	}
	const own, n = `{name: own}`, `{name: "n"}`
	us, argo := owns("pullsecrets", "Update"), owns("argo", "Apply")
	binds := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n", "pullsecrets.dev/service-accounts", "*")}}
	for _, test := range []struct {
		reason, manager, old, requested, want string
	}{
		{"the first apply, of what we had written", "argo", account(us, n), account(us+argo, n), "n | "},
		{"the first apply, of what we had written before more was declared", "argo", strings.Replace(account(us, own), ours, "", 1), strings.Replace(account(us+argo, own), ours, "", 1), "own | "},
		{"another writer's label after it", "kubectl-label", strings.Replace(account(us+argo, own), ours, "", 1), strings.Replace(account(us+argo, own), ours, "", 1), "own | "},
		{"by force", "argo", account(us, own, n), account(argo, n), "n | "},
		{"again, with our entry taken over", "argo", account(argo, own, n), account(argo, own, n), "own n | "},
		{"again, without our entry", "argo", account(argo, own, n), account(argo, own), "own n | " + ours},
		{"again, without our entry, which the policy restored", "argo", account(argo, own, n), strings.Replace(account(argo, own, n), `'{"n"`, `'{ "n"`, 1), "own n | " + ours},
		{"another writer's label", "kubectl-label", account(argo, own, n), account(argo, own, n), "own n | " + ours},
		{"of a new ServiceAccount", "argo", "", account(argo, n), "n | "},
		{"withdrawn", "argo", strings.Replace(account(us+argo, n), ours, "", 1), strings.Replace(account(us, n), ours, "", 1), "n | " + ours},
		{"an apply that admission did not see, before another writer's list", "edit", account(us+argo, n), account(owns("edit", "Update"), n, own), "n own | "},
	} {
		t.Run(test.reason, func(t *testing.T) {
			r := accountRequest(t, test.old, test.requested)
			r.Options.Raw = toJSON(t, `{kind: UpdateOptions, fieldManager: `+test.manager+`}`)
			accounts := &accountAdmission{binds.cluster(t)}
			if got := accountSummary(t, apply(t, r, accounts.Admit(t.Context(), r))); got != test.want {
				t.Errorf("list and ledger = %q, want %q", got, test.want)
			}
		})
	}
}

func TestAdmitAccount(t *testing.T) {
	const (
		own   = `{metadata: {name: robot}, imagePullSecrets: [{name: own}]}`
		bound = `{metadata: {name: robot, annotations: {pullsecrets.dev/added: '{"n":"namespace"}'}}, imagePullSecrets: [{name: own}, {name: "n"}]}`
		ours  = `{"n":"namespace"}`
	)
	binds := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n", "pullsecrets.dev/service-accounts", "default, robot")}}
	free := world{cached: []runtime.Object{team("pullsecrets.dev/secrets", "n")}}
	always := ClusterPullSecret("quay", func(c *v1alpha1.ClusterPullSecret) { c.Spec.Always = &v1alpha1.Always{ServiceAccounts: []string{"*"}} })
	for _, test := range []struct {
		reason         string
		world          world
		old, requested string
		change         func(*admissionv1.AdmissionRequest)
		want           string
		patch          string
	}{
		{
			reason: "create: bound", world: binds, requested: `{metadata: {name: robot}}`, want: "n | " + ours,
			patch: `[{"op":"add","path":"/imagePullSecrets","value":[{"name":"n"}]},{"op":"add","path":"/metadata/annotations","value":{"pullsecrets.dev/added":"{\"n\":\"namespace\"}"}}]`,
		},
		{reason: "create: after the owner's entries", world: binds, requested: own, want: "own n | " + ours},
		{reason: "create: the second call equals the first", world: binds, requested: bound, want: "own n | " + ours},
		{reason: "create: not named", world: free, requested: own, want: "own | "},
		{reason: "create: a false ledger", world: free, requested: bound, want: "own n | "},
		{reason: "create: by a ClusterPullSecret", world: world{cached: []runtime.Object{team(), always}}, requested: own, want: `own quay | {"quay":"clusterpullsecret/quay"}`},
		{
			reason: "create: a Namespace that is not cached yet",
			world:  world{live: binds.cached}, requested: own, want: "own n | " + ours,
		},
		{reason: "create: the name is not generated yet", world: binds, requested: `{metadata: {generateName: robot-}}`, change: func(r *admissionv1.AdmissionRequest) { r.Name = "" }, want: " | "},
		{reason: "create: cold caches", world: world{cached: binds.cached, cold: true}, requested: own, want: "own | "},
		{reason: "create: the API server fails", world: world{unavailable: true}, requested: own, want: "own | "},
		{reason: "create: an excluded Namespace", world: world{cached: []runtime.Object{excludedTeam()}}, requested: own, want: "own | "},
		{reason: "create: a list with repeated names is unchanged", world: binds, requested: `{metadata: {name: robot}, imagePullSecrets: [{name: own}, {name: own}]}`, want: "own own | "},
		{reason: "create: a malformed list", world: binds, requested: `{metadata: {name: robot}, imagePullSecrets: {name: own}}`, want: "imagePullSecrets is not a list"},
		{reason: "update: a dropped entry is restored", world: binds, old: bound, requested: own, want: "own n | " + ours},
		{reason: "update: a writer with its own list", world: binds, old: bound, requested: `{metadata: {name: robot, annotations: {x: "1"}}, imagePullSecrets: [{name: other}]}`, want: "other n | " + ours},
		{reason: "update: the old ledger counts", world: free, old: bound, requested: `{metadata: {name: robot}, imagePullSecrets: [{name: own}, {name: "n"}]}`, want: "own n | " + ours},
		{reason: "update: an entry that is no longer declared is left to the reconciler, which reads the API server", world: free, old: bound, requested: bound, want: "own n | " + ours},
		{reason: "update: so is one that the request drops", world: free, old: bound, requested: own, want: "own n | " + ours},
		{
			reason: "update: of a ClusterPullSecret that nobody can read", world: world{cached: []runtime.Object{team()}, unknown: true}, requested: own,
			old:  `{metadata: {name: robot, annotations: {pullsecrets.dev/added: '{"n":"clusterpullsecret/x"}'}}, imagePullSecrets: [{name: own}, {name: "n"}]}`,
			want: `own n | {"n":"clusterpullsecret/x"}`,
		},
		{reason: "update: nothing to do", world: binds, old: bound, requested: bound, want: "own n | " + ours},
		{reason: "the controller's request is unchanged", world: binds, old: bound, requested: own, change: func(r *admissionv1.AdmissionRequest) { r.UserInfo.Username = pullsecrets.ControllerUser }, want: "own | "},
		{reason: "another kind", world: binds, requested: own, change: func(r *admissionv1.AdmissionRequest) { r.Kind.Kind = "Secret" }, want: "own | "},
		{reason: "a subresource", world: binds, requested: own, change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "token" }, want: "own | "},
		{reason: "being deleted", world: binds, old: own, requested: `{metadata: {name: robot, deletionTimestamp: "2026-01-01T00:00:00Z"}, imagePullSecrets: [{name: own}]}`, want: "own | "},
	} {
		t.Run(test.reason, func(t *testing.T) {
			accounts := &accountAdmission{test.world.cluster(t)}
			r := accountRequest(t, test.old, test.requested)
			if test.change != nil {
				test.change(r)
			}
			response := accounts.Admit(t.Context(), r)
			patched := apply(t, r, response)
			if got := accountSummary(t, patched); got != test.want {
				t.Errorf("list and ledger = %q, want %q", got, test.want)
			}
			if test.patch != "" && string(response.Patch) != test.patch {
				t.Errorf("patch = %s, want %s", response.Patch, test.patch)
			}
			// The API server may call again with the result.
			r.Object.Raw = patched
			if again := accounts.Admit(t.Context(), r); len(again.Patch) > 0 {
				t.Errorf("the second call patches again: %s", again.Patch)
			}
		})
	}
}
