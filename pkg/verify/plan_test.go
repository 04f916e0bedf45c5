// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/dockerconfig"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// A tenant names hosts and paths as they like. Only hosts that the platform team wrote into
// its source are asked.
func TestTenantsNameNoHost(t *testing.T) {
	registries := []string{"ghcr.io/acme", "*.example.com", "quay.io:443", "index.docker.io", "docker.io", "169.254.169.*"}
	var candidates []Candidate
	for _, image := range []string{
		"evil.example.com/app", "169.254.169.254/latest/meta-data", "10.0.0.1/app", "localhost:8080/app", "kubernetes.default.svc/app",
		"ghcr.io/other/app", "ghcr.io:8443/acme/app", "quay.io/app", "ghcr.io/acme/../../admin", "user:pw@ghcr.io/acme/app", "http://ghcr.io/acme/app",
		"ghcr.io/acme/app?x=1", "", "///", "evil.io/ghcr.io/acme/app", "ghcr.io.evil.io/acme/app",
	} {
		candidates = append(candidates, Candidate{Namespace: "tenant", Image: image, Proven: true})
	}
	if got, _ := Plan(registries, candidates, seeded(1)); len(got) != 0 {
		t.Errorf("These would be asked: %+v", got)
	}
	var hosts []string
	for _, image := range []string{"ghcr.io/acme/app:1", "quay.io:443/app", "acme/app"} {
		questions, _ := Plan(registries, []Candidate{{Image: image}}, seeded(1))
		for _, q := range questions {
			hosts = append(hosts, q.Host)
		}
	}
	if want := []string{"ghcr.io", "quay.io:443", "index.docker.io"}; !slices.Equal(hosts, want) {
		t.Errorf("hosts %q are asked, want %q", hosts, want)
	}
}

// Images of many namespaces share the questions, and proven ones come first.
func TestPlanIsFairAndBounded(t *testing.T) {
	var candidates []Candidate
	for i := range 100 {
		candidates = append(candidates, Candidate{Namespace: "greedy", Image: fmt.Sprint("ghcr.io/greedy/app-", i)})
	}
	candidates = append(candidates, Candidate{Namespace: "a", Image: "ghcr.io/a/app"}, Candidate{Namespace: "b", Image: "ghcr.io/b/app", Proven: true})
	first := sets.New[string]()
	for seed := range uint64(20) {
		got, _ := Plan([]string{"ghcr.io"}, candidates, seeded(seed))
		if len(got) != maxImages || got[0].Image != "ghcr.io/b/app" {
			t.Fatalf("Plan = %+v, want %d questions, the proven one first", got, maxImages)
		}
		images := sets.New(got[1].Image, got[2].Image)
		if !images.Has("ghcr.io/a/app") {
			t.Errorf("one namespace has all questions: %+v", got)
		}
		first.Insert(images.UnsortedList()...)
	}
	if len(first) < 5 {
		t.Errorf("the questions are always the same: %q", first.UnsortedList())
	}
	// Several credentials of one host share its questions.
	got, _ := Plan([]string{"ghcr.io/a", "ghcr.io/b", "ghcr.io/greedy"}, candidates, seeded(1))
	registries := sets.New[string]()
	for _, q := range got {
		registries.Insert(q.Registry)
	}
	if len(got) != maxImages || len(registries) != 3 {
		t.Errorf("Plan = %+v, want one question for each credential", got)
	}
	var many []Candidate
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("r%d.io", i))
		many = append(many, Candidate{Image: fmt.Sprintf("r%d.io/app", i)})
	}
	if got, unasked := Plan(keys, many, seeded(1)); len(got) != maxHosts || len(unasked) != len(keys)-maxHosts {
		t.Errorf("%d registries are asked and %d are not, want %d to be asked", len(got), len(unasked), maxHosts)
	}
}

// Each credential of a host is asked about before one is asked about twice, and the verdict
// names those for which there is no room.
func TestPlanAsksAboutEachCredential(t *testing.T) {
	for n, wantUnasked := range map[int]int{2: 0, 4: 0, maxCredentials: 0, maxCredentials + 3: 3} {
		keys := []string{"quay.io"} // No Service uses it.
		var candidates []Candidate
		for i := range n {
			keys = append(keys, fmt.Sprintf("ghcr.io/team-%d", i))
			for _, app := range []string{"a", "b"} {
				candidates = append(candidates, Candidate{Namespace: "shop", Image: fmt.Sprintf("ghcr.io/team-%d/%s", i, app)})
			}
		}
		got, unasked := Plan(keys, candidates, seeded(1))
		about := sets.New[string]()
		var answers []Answer
		for _, q := range got {
			about.Insert(q.Registry)
			answers = append(answers, Answer{Question: q, Result: Accepted})
		}
		if len(about) != n-wantUnasked || len(unasked) != wantUnasked || about.HasAny(unasked...) || len(got) > max(maxImages, n) {
			t.Errorf("of %d credentials, %d are asked about in %d questions, and %q are not", n, len(about), len(got), unasked)
		}
		verdict := Judge(append(answers, Unasked(unasked)...), false)
		if want := map[bool]Result{true: Accepted, false: Unknown}[wantUnasked == 0]; verdict.Result != want {
			t.Errorf("%d credentials: %+v, want %s", n, verdict, want)
		}
		for _, key := range unasked {
			if !strings.Contains(verdict.Message, key) {
				t.Errorf("%q does not name %s", verdict.Message, key)
			}
		}
	}
}

func TestPlanFor(t *testing.T) {
	got, uncovered := PlanFor([]string{"ghcr.io", "ghcr.io/acme", "*.io"}, []string{"ghcr.io/acme/app", "ghcr.io/app", "quay.io/app", "a b"})
	want := []Question{{"ghcr.io/acme", "ghcr.io", "ghcr.io/acme/app", false}, {"ghcr.io", "ghcr.io", "ghcr.io/app", false}}
	if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(uncovered, []string{"quay.io/app", "a b"}) {
		t.Errorf("uncovered are %q; (-want, +got):\n%s", uncovered, diff)
	}
}

// The kubelet is asked about each credential that it would try, and no host gets a credential that is
// for another one.
func TestPlanAs(t *testing.T) {
	const hub, local = "acme/app", "localhost/app"
	for _, test := range []struct {
		reason     string
		reader     dockerconfig.Reader
		registries []string
		image      string
		want       []Question
		all        bool
	}{
		{"tag resolution uses the first", dockerconfig.TagResolution, []string{"ghcr.io", "ghcr.io/acme"}, "ghcr.io/acme/app", []Question{{"ghcr.io/acme", "ghcr.io", "ghcr.io/acme/app", false}}, true},
		{"the kubelet tries all", dockerconfig.Kubelet, []string{"ghcr.io", "ghcr.io/acme", "quay.io"}, "ghcr.io/acme/app",
			[]Question{{"ghcr.io/acme", "ghcr.io", "ghcr.io/acme/app", false}, {"ghcr.io", "ghcr.io", "ghcr.io/acme/app", false}}, true},
		{"a wildcard is not asked about", dockerconfig.Kubelet, []string{"ghcr.io", "*.io"}, "ghcr.io/app", []Question{{"ghcr.io", "ghcr.io", "ghcr.io/app", false}}, false},
		{"a wildcard alone is not asked about either", dockerconfig.TagResolution, []string{"*.io"}, "ghcr.io/app", nil, false},
		{"tag resolution does not find docker.io", dockerconfig.TagResolution, []string{"docker.io"}, hub, nil, true},
		{"the kubelet does", dockerconfig.Kubelet, []string{"docker.io"}, hub, []Question{{"docker.io", "index.docker.io", hub, false}}, true},
		{"the kubelet takes the other key of Docker Hub if there is none", dockerconfig.Kubelet, []string{"index.docker.io"}, hub, []Question{{"index.docker.io", "index.docker.io", hub, false}}, true},
		{"the readers look in different places", dockerconfig.Kubelet, []string{"localhost"}, local, nil, false},
		{"a credential of Docker Hub for another host", dockerconfig.Kubelet, []string{"index.docker.io"}, local, nil, true},
		{"no image", dockerconfig.Kubelet, []string{"ghcr.io"}, "a b", nil, true},
	} {
		got, all := PlanAs(test.reader, test.registries, test.image)
		if diff := cmp.Diff(test.want, got); diff != "" || all != test.all {
			t.Errorf("%s: all is %t; (-want, +got):\n%s", test.reason, all, diff)
		}
	}
}

func TestJudge(t *testing.T) {
	answer := func(registry string, result Result) Answer {
		return Answer{Question{Registry: registry, Image: registry + "/app"}, result, string(result)}
	}
	for _, tt := range []struct {
		reason  string
		answers []Answer
		named   bool
		want    Verdict
	}{
		{"nothing was asked", nil, false, Verdict{Unknown, "no image to ask for", nil}},
		{"one accepted", []Answer{answer("a", Accepted)}, false, Verdict{Accepted, "", nil}},
		{"one repository is not readable", []Answer{answer("a", Rejected), answer("a", Accepted)}, false, Verdict{Accepted, "", nil}},
		{"one repository is not readable, and the platform team named it", []Answer{answer("a", Rejected), answer("a", Accepted)}, true, Verdict{Rejected, "a: rejected", []string{"a"}}},
		{"none is readable", []Answer{answer("a", Rejected), answer("a", Unknown)}, false, Verdict{Rejected, "a: rejected", []string{"a"}}},
		{"one is not readable that nobody uses", []Answer{{Question{Registry: "a", Unproven: true}, Rejected, "401 Unauthorized"}}, false,
			Verdict{Unknown, "a: 401 Unauthorized for an image that no Service has pulled with this credential", nil}},
		{"one of two credentials", []Answer{answer("b", Rejected), answer("a", Accepted), answer("c", Unknown)}, false, Verdict{Rejected, "b: rejected", []string{"b"}}},
		{"one is not known", []Answer{answer("b", Unknown), answer("a", Accepted)}, false, Verdict{Unknown, "b: unknown", nil}},
		{"none is known", []Answer{answer("b", Unknown), answer("a", Unknown)}, false, Verdict{Unknown, "a: unknown; b: unknown", nil}},
	} {
		if got := Judge(tt.answers, tt.named); !cmp.Equal(got, tt.want) {
			t.Errorf("%s: Judge = %+v, want %+v", tt.reason, got, tt.want)
		}
		slices.Reverse(tt.answers)
		if got := Judge(tt.answers, tt.named); !cmp.Equal(got, tt.want) {
			t.Errorf("%s, in another order: Judge = %+v, want %+v", tt.reason, got, tt.want)
		}
	}
}
