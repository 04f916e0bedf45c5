// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func keyIn(text string) types.NamespacedName {
	namespace, name, _ := strings.Cut(text, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// TestFairQueue has Services ask ("+" with urgency, "?" without) and give up ("-"), and
// lists the turns that follow.
func TestFairQueue(t *testing.T) {
	for _, test := range []struct {
		reason string
		do     string
		want   string
	}{
		{"nobody waits", "", ""},
		{"the order of asking", "?a/1 ?a/2 ?a/3", "a/1 a/2 a/3"},
		{"namespaces take turns", "?a/1 ?a/2 ?a/3 ?b/1 ?c/1", "a/1 b/1 c/1 a/2 a/3"},
		{"urgent ones first within a namespace", "?a/1 ?a/2 +a/3 +a/4 +a/5 +a/6", "a/3 a/4 a/5 a/6 a/1 a/2"},
		{"urgent ones first among namespaces", "?a/1 +b/1 +c/1", "b/1 c/1 a/1"},
		{"and take turns too", "?a/1 +b/1 +b/2 +c/1", "b/1 c/1 b/2 a/1"},
		{"patient namespaces have a share", "?a/1 ?a/2 +b/1 +b/2 +b/3 +b/4 +b/5 +b/6 +b/7", "b/1 b/2 b/3 a/1 b/4 b/5 b/6 a/2 b/7"},
		{"asking again neither helps nor hurts", "?a/1 ?a/2 ?a/1 ?a/2 ?a/1", "a/1 a/2"},
		{"one that gives up and asks again is last", "?a/1 ?a/2 -a/1 ?a/1", "a/2 a/1"},
		{"a namespace that gives up and asks again is last", "?a/1 ?b/1 ?c/1 -a/1 ?a/1", "b/1 c/1 a/1"},
		{"one that becomes urgent", "?a/1 ?a/2 +a/2", "a/2 a/1"},
		{"one that is urgent no more", "+a/1 ?b/1 ?a/1", "b/1 a/1"},
		{"who never asked gives up nothing", "-a/1 ?b/1 -b/2", "b/1"},
	} {
		q := newFairQueue()
		for op := range strings.FieldsSeq(test.do) {
			if key := keyIn(op[1:]); op[0] == '-' {
				q.remove(key)
			} else {
				q.push(key, op[0] == '+')
			}
		}
		var got []string
		for key, ok := q.pop(); ok; key, ok = q.pop() {
			got = append(got, key.String())
		}
		if want := strings.Fields(test.want); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", test.reason, got, want)
		}
		if q.len()+len(q.places)+len(q.namespaces)+q.urgent.Len()+q.patient.Len() > 0 {
			t.Errorf("%s: something is left: %+v", test.reason, q)
		}
	}
}

// TestFairQueueLaw has namespaces that wait all the time, next to others of which
// Services ask, give up and change their urgency at random between the turns, and as
// often as they like. Whoever waits all the time gets a turn in each round of its kind,
// and each kind its share of the turns.
func TestFairQueueLaw(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		urgent, patient, hostile := 1+random.IntN(4), 1+random.IntN(4), random.IntN(4)
		q := newFairQueue()
		steady := func(namespace string, serial int) {
			q.push(types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(serial)}, strings.HasPrefix(namespace, "urgent"))
		}
		since := map[string]int{}
		for i := range urgent {
			since[fmt.Sprint("urgent-", i)] = 0
		}
		for i := range patient {
			since[fmt.Sprint("patient-", i)] = 0
		}
		for namespace := range since {
			steady(namespace, 0)
		}
		// In a round of all urgent namespaces, the patient ones take turns in between,
		// and the other way round.
		within := map[bool]int{
			true:  (urgent+hostile)*patientShare/(patientShare-1) + 2,
			false: (patient + hostile) * patientShare,
		}
		for turn := range 300 {
			for range random.IntN(20) * min(hostile, 1) {
				key := types.NamespacedName{Namespace: fmt.Sprint("hostile-", random.IntN(hostile)), Name: fmt.Sprint(random.IntN(70))}
				if random.IntN(3) == 0 {
					q.remove(key)
				} else {
					q.push(key, random.IntN(2) == 0)
				}
			}
			key, ok := q.pop()
			if !ok {
				t.Fatalf("seed %d: nobody waits", seed)
			}
			if _, ok := since[key.Namespace]; ok {
				since[key.Namespace] = turn
				steady(key.Namespace, turn+1)
			}
			for namespace, last := range since {
				if most := within[strings.HasPrefix(namespace, "urgent")]; turn-last > most {
					t.Fatalf("seed %d (%d urgent, %d patient, %d hostile): %s waits for more than %d turns", seed, urgent, patient, hostile, namespace, most)
				}
			}
		}
	}
}

// TestFairQueueStarvation has 70 Services of one tenant ask all the time, give up their
// turns, and ask again, while another tenant's only Services can wait.
func TestFairQueueStarvation(t *testing.T) {
	q := newFairQueue()
	for i := range 100 {
		q.push(keyIn(fmt.Sprint("victim/", i)), false)
	}
	turns := map[string]int{}
	for range 400 {
		for i := range 70 {
			q.push(keyIn(fmt.Sprint("hostile/", i)), true)
		}
		key, _ := q.pop()
		turns[key.Namespace]++
	}
	if turns["victim"] != 100 {
		t.Errorf("the other tenant has had %d of 400 turns, want 100", turns["victim"])
	}
}

// BenchmarkFairQueue takes the same time however many wait.
func BenchmarkFairQueue(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			q := newFairQueue()
			for i := range size {
				q.push(types.NamespacedName{Namespace: fmt.Sprint(i % (size / 10)), Name: fmt.Sprint(i)}, i%3 == 0)
			}
			for b.Loop() {
				key, _ := q.pop()
				q.push(key, len(key.Name)%2 == 0)
			}
		})
	}
}
