// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	services = "../../../config/outage/710-services.yaml"
	accounts = "../../../config/outage/711-serviceaccounts.yaml"

	ledgerKey  = "pullsecrets.dev/added"
	appliedKey = "kubectl.kubernetes.io/last-applied-configuration"
)

// object is a Service or a ServiceAccount in a test.
type object struct {
	// list has the names of the list, separated by spaces; "-" is an entry without a name.
	list string
	// ledger is the annotation; "" is none.
	ledger string
	// applied are the names in kubectl's last-applied-configuration.
	applied string
	// owned are the names that the manager "someone" owns in a Service.
	owned string
	// name is the metadata.name of a Service's template.
	name string
	// edit changes the object.
	edit func(map[string]any)
}

func refs(names string) []any {
	list := []any{}
	for _, name := range strings.Fields(names) {
		entry := map[string]any{}
		if name != "-" {
			entry["name"] = name
		}
		list = append(list, entry)
	}
	return list
}

func (o object) annotations(applied any) map[string]any {
	all := map[string]any{"example.com/other": "stays"}
	if o.ledger != "" {
		all[ledgerKey] = o.ledger
	}
	if o.applied != "" {
		text, err := json.Marshal(applied)
		if err != nil {
			panic(err)
		}
		all[appliedKey] = string(text)
	}
	return all
}

func (o object) service() *unstructured.Unstructured {
	spec := map[string]any{"containers": []any{map[string]any{"image": "registry.example.com/app"}}}
	if o.list != "" {
		spec["imagePullSecrets"] = refs(o.list)
	}
	template := map[string]any{"spec": spec}
	if o.name != "" {
		template["metadata"] = map[string]any{"name": o.name}
	}
	annotations := o.annotations(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"imagePullSecrets": refs(o.applied)}}}})
	content := map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": "app", "namespace": "team-a", "annotations": annotations},
		"spec":     map[string]any{"template": template},
	}
	if o.owned != "" {
		items := map[string]any{}
		for _, name := range strings.Fields(o.owned) {
			items[fmt.Sprintf("k:{%q:%q}", "name", name)] = map[string]any{".": map[string]any{}, "f:name": map[string]any{}}
		}
		owned := map[string]any{"f:spec": map[string]any{"f:template": map[string]any{"f:spec": map[string]any{"f:imagePullSecrets": items}}}}
		content["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{"manager": "someone", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": owned}}
	}
	if o.edit != nil {
		o.edit(content)
	}
	return &unstructured.Unstructured{Object: content}
}

// listOf returns the names of a list of entries.
func listOf(entries []any) string {
	var names []string
	for _, e := range entries {
		name, _ := e.(map[string]any)["name"].(string)
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

const (
	ofA  = `{"a":"namespace"}`
	ofAB = `{"a":"namespace","b":"clusterpullsecret/x"}`
)

func metadata(content map[string]any) map[string]any { return content["metadata"].(map[string]any) }

var serviceTests = []struct {
	reason         string
	old, requested object
	list, ledger   string
}{
	{"nothing is missing", object{list: "own a", ledger: ofA}, object{list: "own a", ledger: ofA}, "own a", ofA},
	{"the list and the ledger are missing", object{list: "a b", ledger: ofAB}, object{}, "a b", ofAB},
	{"the annotations are missing", object{list: "a b", ledger: ofAB}, object{edit: func(o map[string]any) { delete(metadata(o), "annotations") }}, "a b", ofAB},
	{"an own list", object{list: "own a b", ledger: ofAB}, object{list: "own", ledger: ofAB}, "own a b", ofAB},
	{"another own list", object{list: "own a b", ledger: ofAB}, object{list: "other", ledger: ofAB}, "other a b", ofAB},
	{"another own list with one of ours", object{list: "own a b", ledger: ofAB}, object{list: "b other"}, "b other a", ofAB},
	{"an own list that is empty now", object{list: "own a", ledger: ofA}, object{edit: func(o map[string]any) {
		template := o["spec"].(map[string]any)["template"].(map[string]any)
		template["spec"].(map[string]any)["imagePullSecrets"] = []any{}
	}}, "a", ofA},
	{"only the ledger is missing", object{list: "own a", ledger: ofA}, object{list: "own a"}, "own a", ofA},
	{"ours in another order", object{list: "own a b", ledger: ofAB}, object{list: "own b a", ledger: ofAB}, "own a b", ofAB},
	{"the user's own in another order", object{list: "one two a", ledger: ofA}, object{list: "two one", ledger: ofA}, "two one a", ofA},
	{"an item that is not in the list", object{list: "own b", ledger: ofAB}, object{list: "own"}, "own b", `{"b":"clusterpullsecret/x"}`},
	{"a ledger from Git", object{list: "a b", ledger: ofAB}, object{list: "a", ledger: ofA}, "a b", ofAB},
	{"a forged ledger keeps its items", object{list: "a", ledger: ofA}, object{list: "x", ledger: `{"x":"service"}`}, "x a", `{"a":"namespace","x":"service"}`},
	{"a malformed ledger", object{list: "a", ledger: ofA}, object{ledger: "junk"}, "a", "junk"},
	{"an empty ledger", object{list: "a", ledger: ofA}, object{ledger: "{}"}, "a", ofA},
	{"a malformed old ledger", object{list: "a", ledger: `{"a":"namespace"`}, object{}, "", ""},
	{"an old ledger with escapes", object{list: "a", ledger: `{"\u0061":"namespace"}`}, object{}, "", ""},
	{"an entry that only the ledger has, added again", object{list: "a", ledger: ofAB}, object{list: "b", ledger: ofAB}, "b a", ofAB},
	{"an invalid origin", object{list: "a b", ledger: `{"a":"me","b":"namespace"}`}, object{}, "b", `{"b":"namespace"}`},
	{"an invalid name", object{list: "A b", ledger: `{"A":"namespace","b":"namespace"}`}, object{}, "b", `{"b":"namespace"}`},
	{"a name that is too long", object{list: strings.Repeat("a", 254), ledger: `{"` + strings.Repeat("a", 254) + `":"namespace"}`}, object{}, "", ""},
	{"a long name", object{list: strings.Repeat("a", 253), ledger: `{"` + strings.Repeat("a", 253) + `":"namespace"}`}, object{}, strings.Repeat("a", 253), `{"` + strings.Repeat("a", 253) + `":"namespace"}`},
	{"what the user had taken over by kubectl apply and drops", object{list: "a b", ledger: ofAB, applied: "a"}, object{}, "b", `{"b":"clusterpullsecret/x"}`},
	{"what the user had taken over by another manager and drops", object{list: "a b", ledger: ofAB, owned: "a"}, object{}, "b", `{"b":"clusterpullsecret/x"}`},
	{"what the user takes over now stays in its place", object{list: "own a b", ledger: ofAB}, object{list: "b own", owned: "b"}, "b own a", ofA},
	{"what the user takes over now by kubectl apply", object{list: "own a b", ledger: ofAB}, object{list: "b own", applied: "b own"}, "b own a", ofA},
	{"a manifest that lists what the request lacks", object{list: "a b", ledger: ofAB}, object{applied: "a"}, "b", `{"b":"clusterpullsecret/x"}`},
	{"a repeated name", object{list: "own a", ledger: ofA}, object{list: "own own"}, "own own", ""},
	{"an entry without a name", object{list: "own a", ledger: ofA}, object{list: "own -"}, "own ", ""},
	{"a stored entry without a name", object{list: "- a", ledger: ofA}, object{}, "", ""},
	{"a named template", object{list: "own a", ledger: ofA, name: "app-1"}, object{list: "own", name: "app-1"}, "own a", ofA},
	{"a named template with another own list", object{list: "own a", ledger: ofA, name: "app-1"}, object{list: "other", name: "app-1"}, "other", ""},
	{"another name and own list", object{list: "own a", ledger: ofA, name: "app-1"}, object{list: "other", name: "app-2"}, "other a", ofA},
	{"no template", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) { o["spec"] = map[string]any{} }}, "", ""},
	{"no template spec", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) { o["spec"] = map[string]any{"template": map[string]any{"spec": nil}} }}, "", ""},
	{"it is being deleted", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) { metadata(o)["deletionTimestamp"] = "2026-01-01T00:00:00Z" }}, "", ""},
	{"an excluded namespace", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) { metadata(o)["namespace"] = "knative-a" }}, "", ""},
	{"full annotations", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) {
		metadata(o)["annotations"].(map[string]any)["example.com/other"] = strings.Repeat("é", 131000)
	}}, "", ""},
	{"a large object", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) {
		o["spec"].(map[string]any)["fieldOfTomorrow"] = strings.Repeat("x", 1<<20)
	}}, "", ""},
	{"fields of a newer version", object{list: "own a", ledger: ofA, edit: func(o map[string]any) {
		template := o["spec"].(map[string]any)["template"].(map[string]any)
		template["spec"].(map[string]any)["imagePullSecrets"].([]any)[1].(map[string]any)["optional"] = true
	}}, object{list: "own"}, "own a", ofA},
}

func TestServices(t *testing.T) {
	policy, err := Load(services)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range serviceTests {
		t.Run(tt.reason, func(t *testing.T) {
			requested := tt.requested.service()
			before := encode(requested)
			got, _, err := policy.Update(t.Context(), tt.old.service(), requested, "alice")
			if err != nil {
				t.Error(err)
			}
			if encode(requested) != before {
				t.Error("the request was changed in place")
			}
			entries, _, _ := unstructured.NestedSlice(got.Object, "spec", "template", "spec", "imagePullSecrets")
			check(t, listOf(entries), got.GetAnnotations()[ledgerKey], tt.list, tt.ledger)
			checkRest(t, requested, got)
			again, _, err := policy.Update(t.Context(), tt.old.service(), got, "alice")
			if err != nil || encode(again) != encode(got) {
				t.Errorf("a second evaluation gives %s, %v", encode(again), err)
			}
			if same, matched, err := policy.Update(t.Context(), tt.old.service(), requested, "system:serviceaccount:pullsecrets-system:controller"); matched || err != nil || encode(same) != before {
				t.Errorf("the policy applies to the controller: %v", err)
			}
		})
	}
}

func check(t *testing.T, list, ledger, wantList, wantLedger string) {
	t.Helper()
	if list != wantList || ledger != wantLedger {
		t.Errorf("the list is %q with the ledger %q, want %q and %q", cut(list), cut(ledger), cut(wantList), cut(wantLedger))
	}
}

func cut(text string) string { return text[:min(len(text), 300)] }

// checkRest checks that nothing but the list and the ledger differs.
func checkRest(t *testing.T, requested, got *unstructured.Unstructured) {
	t.Helper()
	var texts []string
	for _, o := range []*unstructured.Unstructured{requested, got} {
		o = o.DeepCopy()
		unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "imagePullSecrets")
		unstructured.RemoveNestedField(o.Object, "imagePullSecrets")
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", ledgerKey)
		if len(o.GetAnnotations()) == 0 {
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
		}
		texts = append(texts, encode(o))
	}
	if texts[0] != texts[1] {
		t.Errorf("more than the list and the ledger differs: %s", cut(texts[1]))
	}
}

func encode(o *unstructured.Unstructured) string {
	text, err := json.Marshal(o.Object)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// account returns a ServiceAccount. owned are the managers that own the list, such as
// flux/Apply.
func (o object) account() *unstructured.Unstructured {
	content := map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount",
		"metadata": map[string]any{"name": "robot", "namespace": "team-a", "annotations": o.annotations(map[string]any{"imagePullSecrets": refs(o.applied)})},
	}
	if o.list != "" {
		content["imagePullSecrets"] = refs(o.list)
	}
	var managed []any
	for _, manager := range strings.Fields(o.owned) {
		manager, operation, _ := strings.Cut(manager, "/")
		managed = append(managed, map[string]any{
			"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:imagePullSecrets": map[string]any{}},
		})
	}
	if managed != nil {
		metadata(content)["managedFields"] = managed
	}
	if o.edit != nil {
		o.edit(content)
	}
	return &unstructured.Unstructured{Object: content}
}

var accountTests = []struct {
	reason         string
	old, requested object
	list, ledger   string
}{
	{"nothing is missing", object{list: "own a", ledger: ofA}, object{list: "own a", ledger: ofA}, "own a", ofA},
	{"an own list", object{list: "own a b", ledger: ofAB}, object{list: "own", ledger: ofAB}, "own a b", ofAB},
	{"the list and the ledger", object{list: "own a b", ledger: ofAB}, object{}, "a b", ofAB},
	{"only the ledger", object{list: "own a b", ledger: ofAB}, object{list: "own a b"}, "own a b", ofAB},
	{"the annotations are missing", object{list: "a", ledger: ofA}, object{edit: func(o map[string]any) { delete(metadata(o), "annotations") }}, "a", ofA},
	{"another writer's entries keep their place", object{list: "own a", ledger: ofA}, object{list: "x own y", ledger: ofA}, "x own y a", ofA},
	{"a repeated name", object{list: "own a", ledger: ofA}, object{list: "own own"}, "own own", ""},
	{"what kubectl apply had taken over", object{list: "a b", ledger: ofAB, applied: "a"}, object{}, "b", `{"b":"clusterpullsecret/x"}`},
	{"an apply of the list", object{list: "own a b", ledger: ofAB}, object{list: "own", ledger: ofAB, owned: "flux/Apply"}, "own a b", `{ "a":"namespace","b":"clusterpullsecret/x"}`},
	{"an apply after one during the outage", object{list: "own a", ledger: `{ "a":"namespace"}`}, object{list: "own", ledger: `{ "a":"namespace"}`, owned: "flux/Apply"}, "own a", ofA},
	{"an apply that takes over an entry", object{list: "own a b", ledger: ofAB}, object{list: "b own", ledger: ofAB, owned: "flux/Apply"}, "b own a", ofA},
	{"an apply that drops the ledger", object{list: "own a", ledger: ofA}, object{list: "own", owned: "flux/Apply"}, "own a", `{ "a":"namespace"}`},
	{"an apply with a ledger from Git", object{list: "own a b", ledger: ofAB}, object{list: "own a", ledger: ofA, owned: "flux/Apply"}, "own a b", `{ "a":"namespace","b":"clusterpullsecret/x"}`},
	{"an apply with a malformed ledger", object{list: "own a", ledger: ofA}, object{list: "own", ledger: "junk", owned: "flux/Apply"}, "own", "junk"},
	{"a change that ends the ownership of an apply", object{list: "own a", ledger: ofA, owned: "flux/Apply"}, object{list: "own", ledger: ofA, owned: "edit/Update"}, "own a", ofA},
	{"all is the applier's, who has our list too", object{list: "own a", ledger: ofA, owned: "flux/Apply pullsecrets/Update"}, object{list: "own", ledger: ofA, owned: "edit/Update"}, "own", ofA},
	{"all is the applier's, whose apply the webhook missed", object{list: "own a", ledger: ofAB, owned: "flux/Apply"}, object{list: "own", ledger: ofAB, owned: "edit/Update"}, "own", ofAB},
}

func TestServiceAccounts(t *testing.T) {
	policy, err := Load(accounts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range accountTests {
		t.Run(tt.reason, func(t *testing.T) {
			requested := tt.requested.account()
			got, _, err := policy.Update(t.Context(), tt.old.account(), requested, "alice")
			if err != nil {
				t.Error(err)
			}
			entries, _, _ := unstructured.NestedSlice(got.Object, "imagePullSecrets")
			check(t, listOf(entries), got.GetAnnotations()[ledgerKey], tt.list, tt.ledger)
		})
	}
}

// oneUpdate is an old object and the one of a request.
type oneUpdate struct{ old, requested object }

// hostileUpdates are those that cost the policies most.
func hostileUpdates() map[string]oneUpdate {
	var names, items []string
	for i := range 5000 {
		names, items = append(names, fmt.Sprintf("n-%04d", i)), append(items, fmt.Sprintf(`"n-%04d":"service"`, i))
	}
	many, huge := strings.Join(names, " "), "{"+strings.Join(items, ",")+"}"
	half := strings.Join(slices.Clone(names[:256]), " ")
	fits := "{" + strings.Join(items[:256], ",") + "}"
	return map[string]oneUpdate{
		"long lists":                     {object{list: many, ledger: ofA}, object{list: many + " a"}},
		"a long ledger":                  {object{list: half, ledger: huge}, object{}},
		"a ledger of 256 KiB":            {object{list: "a", ledger: ofA + strings.Repeat(" ", 250<<10)}, object{}},
		"the largest ledger that counts": {object{list: half, ledger: fits}, object{list: "x"}},
		"a requested ledger of 250 KiB":  {object{list: "a", ledger: ofA}, object{ledger: "{" + strings.Repeat(`"a":"b",`, 32000) + `"a":"b"}`}},
		"a long last-applied":            {object{list: half, ledger: fits, applied: many}, object{applied: many}},
		"brackets": {object{list: "a", ledger: ofA, edit: func(o map[string]any) {
			metadata(o)["annotations"].(map[string]any)[appliedKey] = strings.Repeat(`"imagePullSecrets":[`, 12000)
		}}, object{}},
	}
}

// Whatever users write into lists, ledgers and annotations, an evaluation takes little
// time, and an error is one of the cost limit.
func TestHostileInputIsCheap(t *testing.T) {
	for file, render := range map[string]func(object) *unstructured.Unstructured{services: object.service, accounts: object.account} {
		policy, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for reason, tt := range hostileUpdates() {
			t.Run(filepath.Base(file)+": "+reason, func(t *testing.T) {
				start := time.Now()
				_, _, err := policy.Update(t.Context(), render(tt.old), render(tt.requested), "alice")
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("the evaluation takes %s", took)
				}
				if err != nil && !strings.Contains(err.Error(), "cost limit exceeded") {
					t.Error(err)
				}
			})
		}
	}
}

// The cost of the policies in the API server, for an object without a ledger, one whose
// entries are in the request, one whose entries are restored, and hostile ones.
func BenchmarkUpdate(b *testing.B) {
	for file, render := range map[string]func(object) *unstructured.Unstructured{services: object.service, accounts: object.account} {
		policy, err := Load(file)
		if err != nil {
			b.Fatal(err)
		}
		for _, bb := range []struct {
			what           string
			old, requested object
			restores       bool
		}{
			{"without a ledger", object{list: "own"}, object{list: "own"}, false},
			{"with its entries", object{list: "own a b", ledger: ofAB}, object{list: "own a b", ledger: ofAB}, false},
			{"restored", object{list: "own a b", ledger: ofAB}, object{list: "own"}, true},
		} {
			old, requested := render(bb.old), render(bb.requested)
			b.Run(old.GetKind()+" "+bb.what, func(b *testing.B) {
				for b.Loop() {
					if got, _, err := policy.Update(b.Context(), old, requested, "alice"); err != nil || (encode(got) != encode(requested)) != bb.restores {
						b.Fatalf("restored %t, want %t: %v", !bb.restores, bb.restores, err)
					}
				}
			})
		}
		for reason, bb := range hostileUpdates() {
			old, requested := render(bb.old), render(bb.requested)
			b.Run(old.GetKind()+" hostile: "+reason, func(b *testing.B) {
				for b.Loop() {
					_, _, _ = policy.Update(b.Context(), old, requested, "alice") // Some exceed the cost limit.
				}
			})
		}
	}
}
