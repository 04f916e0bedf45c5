// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs has the pages of the documentation that programs print.
package docs

import _ "embed"

// Migration is the page about moving from other tools.
//
//go:embed migration.md
var Migration string
