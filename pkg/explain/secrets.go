// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"pullsecrets.dev/pkg/coverage"
)

// useless finds Secrets of the list that do not exist or are no pull secrets, as far as no image
// was said to fail for that.
func (s *subject) useless() {
	for _, secret := range slices.Concat(s.current.List, s.declaration.Names()) {
		said := slices.ContainsFunc(s.findings, func(f Finding) bool {
			return slices.Contains([]Code{Missing, WrongType, NotGranted, Malformed, InvalidName}, f.Code) && strings.Contains(f.Message, "Secret "+secret+" ")
		})
		known := s.Secrets[secret]
		if said || secret == "" || copied(s.declaration.Granted, s.Service.Namespace, secret) != nil {
			continue
		}
		object := name("Secret", s.Service.Namespace, secret)
		switch {
		case !IsName(secret):
			s.invalidName(secret)
		case known.State == coverage.Absent && s.withheld(secret) != nil:
			s.findings = append(s.findings, found(NotGranted, Warning, object, "the Secret does not exist, and no ClusterPullSecret grants it",
				"have the namespace selected, create the Secret, or remove it from the annotation").with(s.selectNamespace(secret)))
		case s.mayBeCopy(secret):
			s.findings = append(s.findings, found(Missing, Warning, object, "the Secret does not exist", s.askForCopy()))
		case known.State == coverage.Absent:
			s.findings = append(s.findings, found(Missing, Warning, object, "the Secret does not exist", "create it, or remove it from the annotation or the list").
				with(s.create(secret, "REGISTRY")))
		case known.State == coverage.Known && known.Facts.WrongType != nil:
			s.findings = append(s.findings, found(WrongType, Warning, object, "the Secret is not a pull secret: "+known.Facts.WrongType.Error(), s.retype(secret, "create it again with one of these types")).
				with(s.create(secret, "REGISTRY")))
		}
	}
}

// expiring finds credentials in use that expire within a day.
func (s *subject) expiring() {
	for _, result := range s.results {
		for reader := range result.Verdicts {
			v := result.Verdicts[reader]
			e, decisive := v.Decisive()
			if !decisive || v.Reason != coverage.Covered || e.Expires.IsZero() || e.Expires.Sub(s.Now.Time) > soon {
				continue
			}
			f := found(ExpiresSoon, Info, name("Secret", s.Service.Namespace, e.Secret),
				fmt.Sprintf("the credential for %s expires at %s", quoted(e.Key), e.Expires.UTC().Format(rfc3339)), "see that it is refreshed before")
			s.findings = append(s.findings, f)
		}
	}
}
