// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"

	"pullsecrets.dev/pkg/annotation"
)

// ProfileVariable is the environment variable that has the profile. It is no setting of the
// ConfigMap: it must agree with the rights of the programs, so the manifests set both.
const ProfileVariable = "PULLSECRETS_PROFILE"

// Profile is what an installation does, and so which rights it needs. The zero value is
// Full.
type Profile string

const (
	// Full is everything.
	Full Profile = "full"
	// InjectOnly adds the names that annotations declare. The controller has no right on
	// any Secret, and there are no ClusterPullSecrets.
	InjectOnly Profile = "inject-only"
)

// ProfileFromEnv returns the profile of this process.
func ProfileFromEnv() (Profile, error) { return ParseProfile(os.Getenv(ProfileVariable)) }

// ParseProfile parses a value of the variable. An unknown value is an error: a program
// must not need rights that its installation lacks.
func ParseProfile(value string) (Profile, error) {
	switch p := Profile(value); p {
	case "", Full:
		return Full, nil
	case InjectOnly:
		return p, nil
	}
	return "", fmt.Errorf("%s: %s is not one of %s and %s", ProfileVariable, annotation.Quote(value), Full, InjectOnly)
}

// UsesSecrets reports whether the installation has ClusterPullSecrets and the controller
// may read and write Secrets.
func (p Profile) UsesSecrets() bool { return p != InjectOnly }

// Problems returns what the profile leaves of an annotation inject without effect.
func (p Profile) Problems(inject annotation.Inject) []annotation.Problem {
	if p.UsesSecrets() {
		return nil
	}
	return annotation.AutoWithoutGrants(inject)
}
