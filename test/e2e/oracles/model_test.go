// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pullsecrets.dev/test/e2e/model"
	"pullsecrets.dev/test/env"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of the first batch of TestModel; with MODEL, 0 takes one from the clock")
	modelOps  = flag.String("model.ops", "", "script for TestModel instead of random ones")
)

const (
	// atOnce is the number of scripts that run concurrently, each of scriptSize
	// operations.
	atOnce     = 6
	scriptSize = 30
	// shrinking is the time limit for shrinking a failure.
	shrinking = 3 * time.Minute
	// enough is the number of failures after which the test ends: many have one cause.
	enough = 4
)

// duration reads a duration from an environment variable.
func duration(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestModel runs the scripts that once failed and, for two minutes or the duration in the
// variable MODEL, random ones, and compares the results with the model of the contract. If
// the variable SOAK is set, it is a [soak] test.
func TestModel(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl)
	if err := (machinery{Env: env.Get(t)}).restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	unlimited(t)
	m := behindProxy(t)
	if *modelOps != "" {
		script, err := model.Parse(*modelOps)
		if err != nil {
			t.Fatal(err)
		}
		report(t, "the script of -model.ops", script, playBatch(t, m, []model.Script{script})[0])
		return
	}
	known(t, m)
	// A test that runs with every change plays the same scripts each time.
	seed := max(*modelSeed, 1)
	if *modelSeed == 0 && os.Getenv("MODEL") != "" {
		seed = uint64(time.Now().UnixNano())
	}
	end := time.Now().Add(duration(t, "MODEL", 2*time.Minute))
	observed := newSoak(t, m.Env, end)
	played, failed := 0, 0
	for ; time.Now().Before(end) && failed < enough; seed++ {
		random := rand.New(rand.NewPCG(seed, 0))
		// Most stale caches and missed events occur only when processes stop.
		schedule := model.Schedule(random, played%(2*atOnce) != 0 && observed.restarts())
		scripts := make([]model.Script, atOnce)
		for i := range scripts {
			scripts[i] = model.Generate(random, schedule, scriptSize)
		}
		for i, err := range playBatch(t, m, scripts) {
			played++
			if err == nil {
				continue
			}
			failed++
			small, smallErr := shrink(t, m, scripts[i], err)
			report(t, fmt.Sprintf("script %d of -model.seed=%d", i, seed), small, smallErr)
		}
		if *modelSeed != 0 && os.Getenv("MODEL") == "" {
			break
		}
	}
	observed.finish(t)
	t.Logf("ran %d scripts of %d operations, the last with -model.seed=%d", played, scriptSize, seed-1)
}

// known runs the scripts in testdata, which failed once.
func known(t *testing.T, m machinery) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.ops")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []model.Script
	var serial []model.Script
	names := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, err := model.Parse(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		names[script.String()] = file
		if len(segments(script)) > 1 {
			serial = append(serial, script)
		} else {
			scripts = append(scripts, script)
		}
	}
	judge := func(batch []model.Script) {
		for i, err := range playBatch(t, m, batch) {
			report(t, names[batch[i].String()], batch[i], err)
		}
	}
	if len(scripts) > 0 {
		judge(scripts)
	}
	for _, script := range serial {
		judge([]model.Script{script})
	}
}

func report(t *testing.T, what string, script model.Script, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s:\n%v\nreproduce: go test -tags=e2e -count=1 -run 'TestModel$' ./test/e2e/oracles -model.ops='%s'", what, err, script)
	}
}

// shrink makes a failing script smaller as long as there is time, and returns its
// failure. A failure that does not recur is returned unchanged.
func shrink(t *testing.T, m machinery, script model.Script, failure error) (model.Script, error) {
	t.Helper()
	t.Logf("shrinking %s\n%v", script, failure)
	end := time.Now().Add(shrinking)
	small := model.Shrink(script, func(s model.Script) bool {
		if time.Now().After(end) {
			return false
		}
		err := playBatch(t, m, []model.Script{s})[0]
		// A different failure does not count.
		if err == nil || kind(err) != kind(failure) {
			return false
		}
		failure = err
		return true
	})
	return small, failure
}

// kind returns a failure without the parts that differ between runs.
func kind(err error) string {
	words := strings.Fields(strings.TrimPrefix(err.Error(), fmt.Sprintf("after %s still:\n", timeout)))
	return strings.Join(words[:min(1, len(words))], " ")
}

// segments splits a script before each operation on processes.
func segments(script model.Script) []model.Script {
	all := []model.Script{nil}
	for _, op := range script {
		if op.Global() {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], op)
	}
	return all
}

// playBatch runs scripts with the same operations on processes concurrently and returns
// the failure of each. All processes run afterwards.
func playBatch(t *testing.T, machine machinery, scripts []model.Script) []error {
	t.Helper()
	ctx := t.Context()
	stages := make([]*stage, len(scripts))
	errs := make([]error, len(scripts))
	together := func(do func(i int) error) {
		var wg sync.WaitGroup
		for i := range scripts {
			if errs[i] != nil {
				continue
			}
			wg.Go(func() { errs[i] = do(i) })
		}
		wg.Wait()
	}
	together(func(i int) (err error) { stages[i], err = newStage(ctx, t); return err })
	defer func() {
		for _, s := range stages {
			if s != nil {
				s.strike(context.WithoutCancel(ctx))
			}
		}
	}()
	parts := make([][]model.Script, len(scripts))
	most := 0
	for i, script := range scripts {
		parts[i] = segments(script)
		most = max(most, len(parts[i]))
	}
	for n := range most {
		var global error
		if first := parts[0]; n < len(first) && len(first[n]) > 0 && first[n][0].Global() {
			global = machine.do(ctx, first[n][0])
		}
		together(func(i int) error {
			if n >= len(parts[i]) {
				return global
			}
			for _, op := range parts[i][n] {
				if err := stages[i].play(ctx, op); err != nil {
					return err
				}
			}
			return global
		})
	}
	err := machine.restore(ctx)
	together(func(i int) error {
		stages[i].world.Down = model.Set{}
		return errors.Join(err, stages[i].finish(ctx))
	})
	return errs
}
