// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// recorded has random updates and what the policies make of them. The tests of the webhook
// compare its answers to both.
const recorded = "../../../pkg/webhook/testdata/outage.json"

var update = flag.Bool("update", false, "write "+recorded)

// updates is the number of random updates of each kind.
const updates = 300

// record is one update.
type record struct {
	// Manager is the field manager of the request.
	Manager   string         `json:"manager"`
	Old       map[string]any `json:"old"`
	Requested map[string]any `json:"requested"`
	// Restored is the request after the policy, if that changes it.
	Restored map[string]any `json:"restored,omitempty"`
}

func pick(random *rand.Rand, from ...string) string { return from[random.IntN(len(from))] }

// names returns random names for a list, which seldom has mistakes.
func names(random *rand.Rand) string {
	all := []string{"own", "mine", "a", "b", "c"}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	list := all[:random.IntN(len(all)+1)]
	if random.IntN(20) == 0 {
		list = append(list, pick(random, "-", "own"))
	}
	return strings.Join(list, " ")
}

// drop returns the list of a writer that does not know some entries.
func drop(random *rand.Rand, list string) string {
	switch random.IntN(4) {
	case 0:
		return names(random)
	case 1:
		return strings.Join(slices.DeleteFunc(strings.Fields(list), func(name string) bool { return name != "own" && name != "mine" }), " ")
	default:
		return strings.Join(slices.DeleteFunc(strings.Fields(list), func(string) bool { return random.IntN(3) == 0 }), " ")
	}
}

// ledgerOf returns a random ledger for a list, often of a, b and c.
func ledgerOf(random *rand.Rand, list string) string {
	var items []string
	for _, name := range []string{"a", "b", "c", "own"} {
		if strings.Contains(list, name) && (name != "own" || random.IntN(10) == 0) && random.IntN(10) > 0 || random.IntN(20) == 0 {
			items = append(items, fmt.Sprintf("%q:%q", name, pick(random, "namespace", "namespace", "clusterpullsecret/x")))
		}
	}
	if len(items) == 0 {
		return ""
	}
	return "{" + strings.Join(items, ",") + "}"
}

// some returns some of the names of a list.
func some(random *rand.Rand, list string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(list), func(name string) bool { return name == "-" || random.IntN(3) > 0 }), " ")
}

// randomUpdate returns the old and the requested object, and the manager of the request.
func randomUpdate(random *rand.Rand, ofService bool) (old, requested object, manager string) {
	old.list = names(random)
	old.ledger = ledgerOf(random, old.list)
	requested.list, requested.ledger = old.list, old.ledger
	if random.IntN(8) > 0 {
		requested.list = drop(random, old.list)
	}
	switch random.IntN(8) {
	case 0, 1, 2:
		requested.ledger = ""
	case 3:
		requested.ledger = ledgerOf(random, requested.list)
	case 4:
		requested.ledger = pick(random, "junk", "{}", `{"own":"service"}`, `{"a":"me"}`)
	}
	if random.IntN(4) == 0 {
		old.applied = some(random, old.list)
		requested.applied = pick(random, old.applied, some(random, requested.list))
	}
	if ofService {
		if random.IntN(3) == 0 {
			old.owned = some(random, old.list)
		}
		if random.IntN(3) == 0 {
			requested.owned = some(random, requested.list)
		}
		old.name = pick(random, "", "", "", "app-1")
		requested.name = pick(random, old.name, old.name, old.name, "app-2")
		return old, requested, "someone"
	}
	// A request that changes the list owns it alone.
	old.owned = pick(random, "", "flux/Apply", "flux/Apply pullsecrets/Update", "pullsecrets/Update", "edit/Update")
	requested.owned, manager = old.owned, "edit"
	if requested.list != old.list {
		requested.owned = pick(random, "flux/Apply", "edit/Update")
		manager, _, _ = strings.Cut(requested.owned, "/")
	}
	return old, requested, manager
}

// The recorded updates are what the policies do now. "go test ./policy -update" records
// them again.
func TestRecordedUpdates(t *testing.T) {
	var text bytes.Buffer
	restored := 0
	for _, of := range []struct {
		file   string
		render func(object) *unstructured.Unstructured
	}{{services, object.service}, {accounts, object.account}} {
		policy, err := Load(of.file)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(16, uint64(len(of.file))))
		for range updates {
			old, requested, manager := randomUpdate(random, of.file == services)
			r := record{manager, of.render(old).Object, of.render(requested).Object, nil}
			got, _, err := policy.Update(t.Context(), &unstructured.Unstructured{Object: r.Old}, &unstructured.Unstructured{Object: r.Requested}, "alice")
			if err != nil {
				t.Fatalf("%v, after\n%s\n%s", err, encode(&unstructured.Unstructured{Object: r.Old}), encode(&unstructured.Unstructured{Object: r.Requested}))
			}
			if encode(got) != encode(&unstructured.Unstructured{Object: r.Requested}) {
				r.Restored = got.Object
				restored++
			}
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(append(line, '\n'))
		}
	}
	t.Logf("%d of %d updates are restored", restored, 2*updates)
	if restored < updates/2 {
		t.Errorf("%d updates are restored, so they show little", restored)
	}
	if *update {
		if err := os.WriteFile(recorded, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, text.Bytes()) {
		t.Errorf("the policies do something else than %s records; run \"go test ./policy -update\"", recorded)
	}
}
