// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/memory"
)

func named(name string) types.NamespacedName { return types.NamespacedName{Namespace: ns, Name: name} }

// line runs a backfill in a bubble of virtual time and notes who was enqueued when.
type line struct {
	*backfill
	start time.Time

	lock     sync.Mutex
	enqueued []string
}

func (l *line) note(turn string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.enqueued = append(l.enqueued, turn)
}

func (l *line) turns() []string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return slices.Clone(l.enqueued)
}

func newLine(ctx context.Context) *line {
	l := &line{start: time.Now()}
	l.backfill = newBackfill(&memory.Memory{}, func(key types.NamespacedName) {
		l.note(fmt.Sprintf("%s@%v", key.Name, time.Since(l.start)))
		// A enqueued Service is written at once, as the reconciler would.
		go l.done(key, true)
	})
	go l.run(ctx)
	return l
}

func inBubble(t *testing.T, f func(t *testing.T, l *line)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := newLine(ctx)
		f(t, l)
		cancel()
		synctest.Wait()
	})
}

func TestBackfillSpacesOut(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line) {
		if !l.ask(named("first"), false, 6) {
			t.Fatal("the first has to wait")
		}
		l.done(named("first"), true)
		for _, name := range []string{"a", "b", "not-ready", "c"} {
			if l.ask(named(name), name == "not-ready", 6) {
				t.Fatalf("%s has not to wait", name)
			}
			// Asking again must neither help nor hurt.
			l.ask(named(name), name == "not-ready", 6)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"not-ready@10s", "a@20s", "b@30s", "c@40s"}; !slices.Equal(l.turns(), want) {
			t.Errorf("enqueued: %v, want %v", l.turns(), want)
		}
	})
}

func TestBackfillKeepsTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackfill(&memory.Memory{}, func(types.NamespacedName) {})
		if !b.ask(named("a"), false, 1) {
			t.Fatal("the first has to wait")
		}
		time.Sleep(time.Second)
		if !b.ask(named("a"), false, 1) {
			t.Error("a conflict costs the turn")
		}
		b.done(named("a"), true)
		if b.ask(named("a"), false, 1) {
			t.Error("a second turn within the minute")
		}
	})
}

func TestBackfillLeavesTheLine(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line) {
		l.ask(named("first"), false, 60)
		l.ask(named("gone"), true, 60)
		l.ask(named("changed"), true, 60)
		l.ask(named("stays"), true, 60)
		l.done(named("gone"), true)
		l.ask(named("changed"), false, 60)
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"stays@1s", "changed@2s"}; !slices.Equal(l.turns(), want) {
			t.Errorf("enqueued: %v, want %v", l.turns(), want)
		}
	})
}

func TestBackfillFollowsTheSetting(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line) {
		l.ask(named("first"), false, 1)
		l.ask(named("a"), false, 1)
		l.ask(named("b"), false, 1)
		time.Sleep(time.Second)
		if !l.ask(named("c"), false, 0) {
			t.Error("has to wait without a limit")
		}
		synctest.Wait()
		if want := []string{"a@1s", "b@1s"}; !slices.Equal(l.turns(), want) {
			t.Errorf("enqueued: %v, want %v", l.turns(), want)
		}
	})
}

// TestBackfillStaysUnderTheRate has 200 Services ask at once.
func TestBackfillStaysUnderTheRate(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line) {
		for i := range 200 {
			name := named(fmt.Sprint("app-", i))
			if l.ask(name, i%3 == 0, 60) {
				l.note(name.Name)
				l.done(name, true)
			}
		}
		for minute := 1; minute <= 3; minute++ {
			time.Sleep(time.Minute)
			synctest.Wait()
			if got, most := len(l.turns()), 60*minute+1; got > most || got < most-1 {
				t.Errorf("after %d minutes: %d turns, want at most %d and no fewer than one less", minute, got, most)
			}
		}
	})
}

func TestBackfillReturnsATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackfill(&memory.Memory{}, func(types.NamespacedName) {})
		b.ask(named("a"), false, 1)
		b.done(named("a"), false)
		if !b.ask(named("b"), false, 1) {
			t.Error("a turn in which nothing was written is lost")
		}
		b.done(named("b"), true)
		if b.ask(named("c"), false, 1) {
			t.Error("a turn in which something was written is given again")
		}
	})
}

// TestBackfillKeepsTheRateThroughAnOutage has every write fail for a while: turns
// must not pile up and be taken all at once afterwards.
func TestBackfillKeepsTheRateThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := newBackfill(&memory.Memory{}, func(types.NamespacedName) {})
		go b.run(ctx)
		for i := range 30 {
			b.ask(named(fmt.Sprint("app-", i)), false, 60)
		}
		for range 10 {
			time.Sleep(time.Second)
			synctest.Wait()
			for i := range 30 {
				name := named(fmt.Sprint("app-", i))
				if b.ask(name, false, 60) {
					b.done(name, false)
				}
			}
		}
		wrote := 0
		for i := range 30 {
			if b.ask(named(fmt.Sprint("app-", i)), false, 60) {
				wrote++
			}
		}
		if wrote > 1 {
			t.Errorf("%d turns at once after the outage", wrote)
		}
		cancel()
		synctest.Wait()
	})
}

// TestBackfillIsFair has 70 Services of one tenant that are never Ready ask all the
// time and give up every turn, while another tenant's Services wait. The turns that
// are given up are the other's.
func TestBackfillIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hostile := func(i int) types.NamespacedName {
			return types.NamespacedName{Namespace: "hostile", Name: fmt.Sprint("app-", i)}
		}
		var b *backfill
		var lock sync.Mutex
		wrote, begun := 0, time.Now()
		b = newBackfill(&memory.Memory{}, func(key types.NamespacedName) {
			go func() {
				if key.Namespace != "hostile" {
					lock.Lock()
					wrote++
					lock.Unlock()
				}
				b.done(key, key.Namespace != "hostile")
			}()
		})
		go b.run(ctx)
		b.ask(hostile(0), true, 60)
		for i := range 30 {
			b.ask(named(fmt.Sprint("app-", i)), false, 60)
		}
		done := func() bool {
			lock.Lock()
			defer lock.Unlock()
			return wrote == 30
		}
		for !done() && time.Since(begun) < time.Hour {
			for i := range 70 {
				b.ask(hostile(i), true, 60)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(begun); took < 29*time.Second || took > time.Minute {
			t.Errorf("30 Services of another tenant have had their turns after %s, want half a minute as without the first", took)
		}
		cancel()
		synctest.Wait()
	})
}

// TestBackfillReturnsATurnInTime has a turn given back after another one has begun: it
// must not bring two that follow closer together than the rate allows.
func TestBackfillReturnsATurnInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackfill(&memory.Memory{}, func(types.NamespacedName) {})
		b.ask(named("a"), false, 60)
		time.Sleep(time.Second)
		if !b.ask(named("b"), false, 60) {
			t.Fatal("b has to wait although a second has passed")
		}
		b.done(named("a"), false)
		b.done(named("b"), true)
		if b.ask(named("c"), false, 60) {
			t.Error("c is written in the same second as b")
		}
	})
}

func TestBackfillForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackfill(&memory.Memory{}, func(types.NamespacedName) {})
		for i := range 100 {
			b.ask(named(fmt.Sprint("app-", i)), i%2 == 0, 1)
		}
		for i := range 100 {
			b.done(named(fmt.Sprint("app-", i)), false)
		}
		if b.waiting.len()+len(b.waiting.namespaces)+len(b.granted) > 0 {
			t.Errorf("remembers Services that are done: %+v", b)
		}
		b.ask(named("a"), true, 1)
		b.ask(named("b"), true, 1)
		b.ForgetThose(func(types.NamespacedName) bool { return true })
		if b.waiting.len()+len(b.waiting.namespaces)+len(b.granted) > 0 {
			t.Errorf("remembers after it no longer leads: %+v", b)
		}
	})
}

// TestBackfillForgetsThose has another replica take over some Services of the line:
// the others are enqueued all the same, for they are in no queue.
func TestBackfillForgetsThose(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line) {
		for _, name := range []string{"first", "lost", "kept", "lost-urgent", "kept-urgent"} {
			l.ask(named(name), strings.HasSuffix(name, "-urgent"), 60)
		}
		l.ForgetThose(func(key types.NamespacedName) bool { return strings.HasPrefix(key.Name, "lost") })
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"kept-urgent@1s", "kept@2s"}; !slices.Equal(l.turns(), want) {
			t.Errorf("enqueued: %v, want %v", l.turns(), want)
		}
	})
}
