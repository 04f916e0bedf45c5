// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"
	"slices"
	"syscall"
)

// scale runs a number of processes for one of the Deployments in config/. The first
// process is not restarted.
func (s *supervisor) scale(ctx context.Context, name string, count int) error {
	s.projectMu.Lock()
	defer s.projectMu.Unlock()
	if s.project != nil {
		for _, d := range s.project.deployments {
			if d.name == name {
				return s.setReplicas(ctx, d, count)
			}
		}
	}
	return fmt.Errorf("config/ has no Deployment %q", name)
}

func (s *supervisor) setReplicas(ctx context.Context, d *deployment, count int) error {
	for i := 1; ; i++ {
		name := d.replicaName(i)
		if i < count {
			replica, err := d.replica(i, s.ports)
			if err != nil {
				return err
			}
			if err := s.run(replica.process(s.connection, s.builder.binDir())); err != nil {
				return err
			}
			if err := s.waitReady(ctx, name); err != nil {
				return err
			}
			continue
		}
		c, err := s.find(name)
		if err != nil {
			return nil //nolint:nilerr // No more replicas.
		}
		if err := c.end(syscall.SIGTERM); err != nil {
			return err
		}
		s.forget(c)
	}
}

// run makes sure that the process runs as specified: a process with another spec or an
// old binary is replaced.
func (s *supervisor) run(spec childSpec) error {
	if old, err := s.find(spec.name); err == nil {
		if old.runsAs(spec) {
			return nil
		}
		if err := old.end(syscall.SIGTERM); err != nil {
			return err
		}
		s.forget(old)
	}
	c := &child{
		childSpec: spec,
		logs:      s.layout.logs(),
		life:      s.life,
		note:      func(text string) { s.sayf("%s", text) },
		record: func() {
			if err := s.saveState(); err != nil {
				s.sayf("recording the processes: %v", err)
			}
		},
	}
	s.mu.Lock()
	s.children = append(s.children, c)
	s.mu.Unlock()
	return c.start(nil)
}

func (s *supervisor) find(name string) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []string
	for _, c := range s.children {
		if c.name == name {
			return c, nil
		}
		known = append(known, c.name)
	}
	return nil, fmt.Errorf("cluster has no process %q; it has %q", name, known)
}

func (s *supervisor) forget(forgotten *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = slices.DeleteFunc(s.children, func(c *child) bool { return c == forgotten })
}

func (s *supervisor) startReady(ctx context.Context, c *child, overrides map[string]string) error {
	if err := c.start(overrides); err != nil {
		return err
	}
	return s.waitReady(ctx, c.name)
}

func (s *supervisor) waitReady(ctx context.Context, name string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return c.waitReady(ctx)
}

// endAll stops all processes in the reverse order of their start, and removes the files
// of the running cluster. The API server must stop before etcd: without etcd it can hang
// for half an hour.
func (s *supervisor) endAll() {
	s.mu.Lock()
	children := slices.Clone(s.children)
	s.mu.Unlock()
	for _, c := range slices.Backward(children) {
		if err := c.end(syscall.SIGTERM); err != nil {
			s.sayf("stop %s: %v", c.name, err)
			return // The next command finds it by the state.
		}
	}
	if err := s.layout.remove(); err != nil {
		s.sayf("remove the cluster's files: %v", err)
	}
}
