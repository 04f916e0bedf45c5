// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package config parses the ConfigMap config-pullsecrets and gives its current state to
// reconcilers and webhooks.
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
	excludedNamespacesKey   = "excluded-namespaces"
	sourceNamespacesKey     = "source-namespaces"
	backfillKey             = "backfill"
	backfillPerMinuteKey    = "backfill-per-minute"
	uncoveredKey            = "uncovered"
	retryFailedRevisionsKey = "retry-failed-revisions"
)

// Backfill is what the reconciler may do to existing Services. Each change of one creates
// a Revision, whose tags are resolved again.
type Backfill string

const (
	// BackfillSafe changes a Service only if that cannot roll out other images than its
	// owner deployed, or if its own annotation asks for it.
	BackfillSafe Backfill = "safe"
	// BackfillAll changes every Service.
	BackfillAll Backfill = "all"
	// BackfillReport changes none and reports what it would change.
	BackfillReport Backfill = "report"
	// BackfillDisabled changes none.
	BackfillDisabled Backfill = "disabled"
)

// Uncovered is what happens to images of Services that no credential covers.
type Uncovered string

const (
	// UncoveredReport reports them by Event and metric.
	UncoveredReport Uncovered = "report"
	// UncoveredIgnore does not look for them, so that no Secret of a tenant is read for it.
	UncoveredIgnore Uncovered = "ignore"
)

// Config is the state of the ConfigMap. It is shared and must not be changed.
type Config struct {
	// ExcludedNamespaces are globs, in the syntax of path.Match.
	ExcludedNamespaces []string
	// SourceNamespaces may contain sources. It is nil for all namespaces but the
	// installation's own.
	SourceNamespaces sets.Set[string]
	Backfill         Backfill
	// BackfillPerMinute is the number of Services that may be changed per minute; 0 is no
	// limit.
	BackfillPerMinute int
	Uncovered         Uncovered
	// RetryFailedRevisions allows the controller to delete a Revision that was never Ready,
	// so that Knative creates it again.
	RetryFailedRevisions bool
}

// Default returns the configuration of an empty ConfigMap.
func Default() *Config {
	return &Config{
		ExcludedNamespaces: []string{"kube-*", "knative-*", "openshift-*"},
		SourceNamespaces:   sets.New(pullsecrets.SourcesNamespace),
		Backfill:           BackfillSafe,
		BackfillPerMinute:  60,
		Uncovered:          UncoveredReport,
	}
}

// NewFromMap parses the data of the ConfigMap. The error names the key, quotes the value
// and says what is expected.
func NewFromMap(data map[string]string) (*Config, error) {
	c := Default()
	if err := configmap.Parse(data,
		asGlobs(excludedNamespacesKey, &c.ExcludedNamespaces),
		asNamespaces(sourceNamespacesKey, &c.SourceNamespaces),
		asBackfill(backfillKey, &c.Backfill),
		asCount(backfillPerMinuteKey, &c.BackfillPerMinute),
		asUncovered(uncoveredKey, &c.Uncovered),
		asEnabled(retryFailedRevisionsKey, &c.RetryFailedRevisions),
	); err != nil {
		return nil, err
	}
	return c, nil
}

// NewFromConfigMap parses the ConfigMap; see NewFromMap.
func NewFromConfigMap(cm *corev1.ConfigMap) (*Config, error) { return NewFromMap(cm.Data) }

// Excludes reports whether a namespace is excluded: by its label, by the configuration, or
// because it belongs to the installation.
func (c *Config) Excludes(namespace string, labels map[string]string) bool {
	return ExcludedByLabel(labels) || c.ExcludedBy(namespace) != ""
}

// ExcludedByLabel reports whether a Namespace with these labels excludes itself.
func ExcludedByLabel(labels map[string]string) bool {
	value, labelled := labels[pullsecrets.ExcludeLabel]
	return labelled && value != pullsecrets.IncludeValue
}

// ExcludedBy returns what excludes a namespace whatever its labels, as part of a sentence,
// or an empty string.
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

// AllowsSource reports whether a namespace may contain sources.
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

func asUncovered(key string, target *Uncovered) configmap.ParseFunc {
	return parse(key, func(value string) error {
		switch u := Uncovered(strings.TrimSpace(value)); u {
		case UncoveredReport, UncoveredIgnore:
			*target = u
			return nil
		}
		return fmt.Errorf("%s is not one of report and ignore", annotation.Quote(value))
	})
}

// asEnabled accepts no boolean: config/707-policy-revisions.yaml compares the text too.
func asEnabled(key string, target *bool) configmap.ParseFunc {
	return parse(key, func(value string) error {
		switch strings.TrimSpace(value) {
		case "enabled":
			*target = true
		case "disabled":
			*target = false
		default:
			return fmt.Errorf("%s is not one of enabled and disabled", annotation.Quote(value))
		}
		return nil
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

// parse applies read to the value of a key, if it is set, and wraps its error with the
// key.
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
