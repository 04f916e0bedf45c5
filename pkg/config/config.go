// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package config reads the ConfigMap config-pullsecrets, which operators edit,
// and hands its current state to reconcilers and webhooks.
package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/configmap"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Name is the name of the ConfigMap, in the namespace of the installation.
const Name = "config-pullsecrets"

// The keys of the ConfigMap.
const (
	excludedNamespacesKey = "excluded-namespaces"
	sourceNamespacesKey   = "source-namespaces"
	backfillKey           = "backfill"
	backfillPerMinuteKey  = "backfill-per-minute"
)

// Backfill says what the reconciler may do to Services that exist already. Each
// change of one is a new Revision, whose tags are resolved anew.
type Backfill string

const (
	// BackfillSafe changes a Service only if that cannot ship other code than
	// its owner deployed, or if its own annotation asks.
	BackfillSafe Backfill = "safe"
	// BackfillAll changes every Service.
	BackfillAll Backfill = "all"
	// BackfillReport changes none and says what it would change.
	BackfillReport Backfill = "report"
	// BackfillDisabled changes none.
	BackfillDisabled Backfill = "disabled"
)

// Config is the state of the ConfigMap. It is shared and must not be changed.
type Config struct {
	// ExcludedNamespaces are globs, in the syntax of path.Match.
	ExcludedNamespaces []string
	// SourceNamespaces are where source credentials may lie; nil for all but
	// the product's own.
	SourceNamespaces sets.Set[string]
	Backfill         Backfill
	// BackfillPerMinute is how many Services may be changed per minute; 0 is
	// no limit.
	BackfillPerMinute int
}

// Default is the configuration of an empty ConfigMap.
func Default() *Config {
	return &Config{
		ExcludedNamespaces: []string{"kube-*", "knative-*", "openshift-*"},
		SourceNamespaces:   sets.New(pullsecrets.SourcesNamespace),
		Backfill:           BackfillSafe,
		BackfillPerMinute:  60,
	}
}

// NewFromMap parses the data of the ConfigMap. The error names the key, quotes
// the value and says what was expected.
func NewFromMap(data map[string]string) (*Config, error) {
	c := Default()
	if err := configmap.Parse(data,
		asGlobs(excludedNamespacesKey, &c.ExcludedNamespaces),
		asNamespaces(sourceNamespacesKey, &c.SourceNamespaces),
		asBackfill(backfillKey, &c.Backfill),
		asCount(backfillPerMinuteKey, &c.BackfillPerMinute),
	); err != nil {
		return nil, err
	}
	return c, nil
}

// NewFromConfigMap parses the ConfigMap; see NewFromMap.
func NewFromConfigMap(cm *corev1.ConfigMap) (*Config, error) { return NewFromMap(cm.Data) }

// Excludes reports whether a namespace is taken out altogether: by its label, by
// the configuration, or because it is one of the installation's own.
func (c *Config) Excludes(namespace string, labels map[string]string) bool {
	return ExcludedByLabel(labels) || c.ExcludedBy(namespace) != ""
}

// ExcludedByLabel reports whether a Namespace with these labels takes itself out.
func ExcludedByLabel(labels map[string]string) bool {
	value, labelled := labels[pullsecrets.ExcludeLabel]
	return labelled && value != pullsecrets.IncludeValue
}

// ExcludedBy says what takes a namespace out whatever its labels say, as part of a
// sentence, or nothing where nothing does.
func (c *Config) ExcludedBy(namespace string) string {
	if namespace == pullsecrets.SystemNamespace || namespace == pullsecrets.SourcesNamespace {
		return "the installation, which owns it"
	}
	for _, glob := range c.ExcludedNamespaces {
		if ok, err := path.Match(glob, namespace); ok && err == nil {
			return fmt.Sprintf("%s: %s in ConfigMap %s", excludedNamespacesKey, annotation.Quote(glob), Name)
		}
	}
	return ""
}

// AllowsSource tells whether a source credential may lie in a namespace.
func (c *Config) AllowsSource(namespace string) bool {
	if namespace == pullsecrets.SystemNamespace {
		return false
	}
	return c.SourceNamespaces == nil || c.SourceNamespaces.Has(namespace)
}

func asGlobs(key string, target *[]string) configmap.ParseFunc {
	return parse(key, func(value string) error {
		globs := []string{}
		for _, glob := range split(value) {
			if _, err := path.Match(glob, ""); err != nil {
				return fmt.Errorf("%s is not a valid glob, such as team-*", annotation.Quote(glob))
			}
			globs = append(globs, glob)
		}
		*target = globs
		return nil
	})
}

func asNamespaces(key string, target *sets.Set[string]) configmap.ParseFunc {
	return parse(key, func(value string) error {
		if strings.TrimSpace(value) == "*" {
			*target = nil
			return nil
		}
		names := sets.New[string]()
		for _, name := range split(value) {
			if len(validation.IsDNS1123Label(name)) > 0 {
				return fmt.Errorf("%s is not a valid namespace name; expected names separated by commas, or * for all", annotation.Quote(name))
			}
			if name == pullsecrets.SystemNamespace {
				return fmt.Errorf("%s must not contain sources: it is the namespace of the installation", name)
			}
			names.Insert(name)
		}
		*target = names
		return nil
	})
}

func asBackfill(key string, target *Backfill) configmap.ParseFunc {
	return parse(key, func(value string) error {
		switch b := Backfill(strings.TrimSpace(value)); b {
		case BackfillSafe, BackfillAll, BackfillReport, BackfillDisabled:
			*target = b
			return nil
		}
		return fmt.Errorf("%s is not one of safe, all, report and disabled", annotation.Quote(value))
	})
}

func asCount(key string, target *int) configmap.ParseFunc {
	return parse(key, func(value string) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 0 {
			return fmt.Errorf("%s is not a number of Services; expected 0 (no limit) or more", annotation.Quote(value))
		}
		*target = n
		return nil
	})
}

// parse applies read to the value of a key, if there is one, and puts the key
// in front of what it says.
func parse(key string, read func(string) error) configmap.ParseFunc {
	return func(data map[string]string) error {
		value, ok := data[key]
		if !ok {
			return nil
		}
		if err := read(value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	}
}

func split(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
