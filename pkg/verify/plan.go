// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/dockerconfig"
)

const (
	// maxImages is the number of images of Services that one registry is asked for, unless it
	// has more credentials, of which each is asked about once. There is one request per second.
	maxImages = 3
	// maxCredentials is the number of credentials that one registry is asked about.
	maxCredentials = 16
	// maxHosts is the number of registries that are asked in one check.
	maxHosts = 16
)

// Question is a question to a registry: may the credential read this image?
type Question struct {
	// Registry is the key of the config with the credential, as a reader matches it.
	Registry string
	// Host is the registry to ask.
	Host string
	// Image is what is asked for.
	Image string
	// Unproven means that no Service has pulled the image with a copy of the credential, so
	// that it may be an image that the credential was never meant for.
	Unproven bool
}

// Candidate is an image of a Service.
type Candidate struct {
	Namespace, Image string
	// Proven means that a Ready Service uses the image with a copy of the credential.
	Proven bool
}

// Plan returns what to ask about the credentials for these registries by images of Services:
// for each registry a few images of different namespaces at random, those first that are
// proven. So the images of one tenant do not decide for all. unasked are the registries that
// have an image, and are too many to be asked about in one check.
func Plan(registries []string, candidates []Candidate, random *rand.Rand) (questions []Question, unasked []string) {
	shuffled := slices.Clone(candidates)
	slices.SortFunc(shuffled, func(a, b Candidate) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Image, b.Image))
	})
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	rank := func(c Candidate) int {
		if c.Proven {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(shuffled, func(a, b Candidate) int { return cmp.Compare(rank(a), rank(b)) })

	facts := dockerconfig.FactsOf(registries)
	p := newPlan()
	var again []Candidate
	type turn struct{ registry, namespace string }
	turns := sets.New[turn]()
	for _, c := range shuffled {
		q, ok := questionFor(facts, c.Image)
		if !ok {
			continue
		}
		q.Unproven = !c.Proven
		t := turn{q.Registry, c.Namespace}
		if turns.Has(t) {
			again = append(again, c)
			continue
		}
		turns.Insert(t)
		p.add(q)
	}
	for _, c := range again {
		if q, ok := questionFor(facts, c.Image); ok {
			q.Unproven = !c.Proven
			p.add(q)
		}
	}
	return p.questions(), slices.Sorted(maps.Keys(p.unasked))
}

// PlanFor returns what to ask about the credentials for these registries by images that the
// platform team names, and the images that cannot be asked for, because no host in the
// registries is theirs.
func PlanFor(registries, images []string) (questions []Question, uncovered []string) {
	facts := dockerconfig.FactsOf(registries)
	for _, image := range images {
		if q, ok := questionFor(facts, image); ok {
			questions = append(questions, q)
		} else {
			uncovered = append(uncovered, image)
		}
	}
	return questions, uncovered
}

// PlanAs returns what to ask about the credentials that a reader uses for an image, in its order: of
// tag resolution about the first that matches, and of the kubelet about each, because it tries them
// until the registry accepts one. all is false if there are others that cannot be asked about.
func PlanAs(reader dockerconfig.Reader, registries []string, image string) (questions []Question, all bool) {
	return questionsFor(reader, dockerconfig.FactsOf(registries), image)
}

// questionFor returns the question about the credential that tag resolution uses for an image.
func questionFor(facts dockerconfig.Facts, image string) (Question, bool) {
	questions, _ := questionsFor(dockerconfig.TagResolution, facts, image)
	if len(questions) == 0 {
		return Question{}, false
	}
	return questions[0], true
}

// questionsFor is [PlanAs]. There is no question about a key in which the host is not written out.
func questionsFor(reader dockerconfig.Reader, facts dockerconfig.Facts, image string) (questions []Question, all bool) {
	// The kubelet is stricter, and takes no path such as acme/../admin.
	asked, ok := dockerconfig.TagResolution.Target(image)
	if _, valid := dockerconfig.Kubelet.Target(image); !ok || !valid {
		return nil, true
	}
	target, _ := reader.Target(image)
	found := slices.DeleteFunc(reader.Matches(target, facts), func(m dockerconfig.Match) bool { return m.Foreign })
	if reader == dockerconfig.TagResolution {
		found = found[:min(1, len(found))]
	}
	for _, match := range found {
		key := facts.Entries[match.Entry].Key
		// Docker Hub has a host for each reader. No other host gets a credential that is not its own.
		if host, _, _ := strings.Cut(key, "/"); target.Same(asked) && (host == target.Host() || host == asked.Host()) {
			questions = append(questions, Question{Registry: key, Host: asked.Host(), Image: image})
		}
	}
	return questions, len(questions) == len(found)
}

// Unasked returns the answers for registries that are not asked about.
func Unasked(registries []string) (answers []Answer) {
	for _, registry := range registries {
		answers = append(answers, Answer{
			Question: Question{Registry: registry}, Result: Unknown,
			Why: "not asked about, because there are too many credentials; spec.verify.images can name what to ask for",
		})
	}
	return answers
}

// plan collects questions, a bounded number for each host.
type plan struct {
	// byRegistry are the questions of each credential, and order are the credentials by host.
	byRegistry map[string][]Question
	order      map[string][]string
	seen       sets.Set[string]
	unasked    sets.Set[string]
}

func newPlan() *plan {
	return &plan{byRegistry: map[string][]Question{}, order: map[string][]string{}, seen: sets.New[string](), unasked: sets.New[string]()}
}

// add adds a question, unless there are enough of its credential.
func (p *plan) add(q Question) {
	if p.seen.Has(q.Image) || len(p.byRegistry[q.Registry]) == maxImages {
		return
	}
	if p.byRegistry[q.Registry] == nil {
		if len(p.order[q.Host]) == maxCredentials || len(p.order) == maxHosts && p.order[q.Host] == nil {
			p.unasked.Insert(q.Registry)
			return
		}
		p.order[q.Host] = append(p.order[q.Host], q.Registry)
	}
	p.seen.Insert(q.Image)
	p.byRegistry[q.Registry] = append(p.byRegistry[q.Registry], q)
}

// questions returns the questions to each host: at first one about each credential, and then
// more, in which the credentials take turns.
func (p *plan) questions() (all []Question) {
	for _, registries := range p.order {
		asked := 0
		for i := range maxImages {
			for _, registry := range registries {
				if of := p.byRegistry[registry]; i < len(of) && (i == 0 || asked < maxImages) {
					all = append(all, of[i])
					asked++
				}
			}
		}
	}
	return all
}
