// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/merge"
)

// grantsUnread returns why it is not known what ClusterPullSecrets grant and declare, or an empty
// string. Where nothing is injected, they do not matter.
func (s *subject) grantsUnread() string {
	switch {
	case s.Namespace == nil:
		return "cannot get namespaces"
	case s.OfferedUnknown && s.excluded == "" && !s.declaration.Policy.Disabled:
		return "cannot list clusterpullsecrets.pullsecrets.dev"
	}
	return ""
}

// mayBeCopy reports whether a Secret does not exist, and may be a copy on its way.
func (s *subject) mayBeCopy(secret string) bool {
	return s.Secrets[secret].State == coverage.Absent && s.grantsUnread() != ""
}

// askForCopy returns what to do about a Secret that may be a copy on its way.
func (s *subject) askForCopy() string {
	return "ask the platform team whether it is a copy on its way, which was not checked (" + s.grantsUnread() + "); create it only if it is none"
}

// certain returns a result without removals that what could not be read may prevent: an entry
// stays if a ClusterPullSecret declares it or the ServiceAccount lists it.
func (s *subject) certain(r merge.Result) merge.Result {
	why := s.grantsUnread()
	if why == "" && s.AccountUnknown && s.excluded == "" && !s.declaration.Policy.Disabled {
		why = "cannot get serviceaccounts in namespace " + s.Service.Namespace
	}
	if why == "" || len(r.Taken) == 0 {
		return r
	}
	if u := (Unread{"what the next change removes", why}); !slices.Contains(s.unread, u) {
		s.unread = append(s.unread, u)
	}
	r.Taken, r.ListChanged = nil, len(r.Added) > 0
	return r
}
