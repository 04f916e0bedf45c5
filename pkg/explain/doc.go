// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package explain turns objects that were read from a cluster or a file into reports with
findings: why a Service has the pull secrets that it has, whether its images are covered, what
an opt-in would change, and whether an installation works. It is pure. Package cli reads the
objects and prints the reports.

It decides nothing itself. What a list becomes is computed by pkg/merge, what is declared by
pkg/grant, when a change is written by the decisions of the Service reconciler, and whether an
image is covered by pkg/coverage. So a report never disagrees with the controller.

# What is not known

The objects are read with the rights of the caller. What could not be read is unknown: it
makes no finding, and the report lists it under [Unread]. A Secret is represented by its
[dockerconfig.Facts], so no credential reaches this package.

# Findings

Each [Finding] has a stable [Code]. The severity is error for what can never work, warning for
what is probably a mistake, and info for what is as intended and may be unexpected. A report
lists causes before their effects, see the order of [Codes].

An image without a credential may be public. So for the reasons of pkg/coverage for which a
reader asks the registry anonymously, the severity depends on whether a pull was seen to fail.
*/
package explain
