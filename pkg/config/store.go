// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"

	"knative.dev/pkg/configmap"
)

type contextKey struct{}

// Store follows the ConfigMap. A value that does not parse is logged and leaves
// the running configuration as it is.
type Store struct {
	*configmap.UntypedStore
}

// NewStore returns a store that calls onChange after each change.
func NewStore(logger configmap.Logger, onChange ...func(name string, value any)) *Store {
	return &Store{configmap.NewUntypedStore("pullsecrets", logger, configmap.Constructors{Name: NewFromConfigMap}, onChange...)}
}

// ToContext attaches the current configuration, so that one pass of a
// reconciler sees one configuration.
func (s *Store) ToContext(ctx context.Context) context.Context {
	return WithConfig(ctx, s.Load())
}

// Load returns the current configuration, or the default before there is one.
func (s *Store) Load() *Config {
	if c, ok := s.UntypedLoad(Name).(*Config); ok {
		return c
	}
	return Default()
}

// WithConfig attaches a configuration to a context.
func WithConfig(ctx context.Context, c *Config) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the attached configuration, or the default.
func FromContext(ctx context.Context) *Config {
	if c, ok := ctx.Value(contextKey{}).(*Config); ok {
		return c
	}
	return Default()
}
