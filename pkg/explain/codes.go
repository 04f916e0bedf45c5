// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import "pullsecrets.dev/pkg/coverage"

// Code identifies what a finding is about. Codes are API: programs use them.
type Code string

// What keeps pull secrets from a Service.
const (
	NotInstalled      Code = "NotInstalled"
	Excluded          Code = "Excluded"
	InjectDisabled    Code = "InjectDisabled"
	MisplacedKey      Code = "MisplacedKey"
	InvalidAnnotation Code = "InvalidAnnotation"
	InvalidLedger     Code = "InvalidLedger"
	NotMountable      Code = "NotMountable"
	NamedRevision     Code = "NamedRevision"
	Deferred          Code = "BackfillDeferred"
	Denied            Code = "BackfillDenied"
	Paused            Code = "BackfillPaused"
	Contested         Code = "InjectionContested"
	Pending           Code = "ChangePending"
	SourceNotReady    Code = "SourceNotReady"
	Rejected          Code = "CredentialRejected"
	CopyPending       Code = "CopyPending"
	NameConflict      Code = "NameConflict"
)

// Why an image is not covered. Those that are not here are the reasons of pkg/coverage.
const (
	Malformed          = Code(coverage.Malformed)
	InvalidName        = Code(coverage.InvalidName)
	InvalidImage       = Code(coverage.InvalidImage)
	Shadowed           = Code(coverage.Shadowed)
	Expired            = Code(coverage.Expired)
	NoCredential       = Code(coverage.NoCredential)
	AccountHidden Code = "AccountHidden"
	WrongKey           = Code(coverage.WrongKey)
	OtherPath     Code = "OtherPath"
	NotGranted         = Code(coverage.NotGranted)
	Missing            = Code(coverage.Missing)
	WrongType          = Code(coverage.WrongType)
	NotListed          = Code(coverage.NotListed)
	QueueProxy    Code = "QueueProxyUncovered"
	NoMatch            = Code(coverage.NoMatch)
	NoPullSecrets      = Code(coverage.NoPullSecrets)
	NotOptedIn    Code = "NotOptedIn"
	RetryDue      Code = "RetryDue"
	RejectedPull  Code = "PullRejected"
	ExpiresSoon   Code = "ExpiresSoon"
)

// Findings about docker configs.
const (
	InvalidConfig Code = "InvalidConfig"
	InvalidEntry  Code = "InvalidEntry"
	UselessKey    Code = "UselessKey"
	OneReader     Code = "OneReader"
	LineBreak     Code = "LineBreak"
	Duplicate     Code = "DuplicateKey"
	UnusableToken Code = "UnusableToken"
)

// Findings about the installation and the cluster.
const (
	OldVersion         Code = "OldVersion"
	MissingRight       Code = "MissingRight"
	MissingObject      Code = "MissingObject"
	Unavailable        Code = "Unavailable"
	WebhookUnreachable Code = "WebhookUnreachable"
	WebhookOrder       Code = "WebhookOrder"
	Certificate        Code = "Certificate"
	PolicyUnbound      Code = "PolicyUnbound"
	NoLeader           Code = "NoLeader"
	InvalidSetting     Code = "InvalidSetting"
	OutagePolicies     Code = "OutagePolicies"
	Leftover           Code = "Leftover"
	NotProven          Code = "NotProven"
)

// Codes are all codes, causes before their effects.
var Codes = []Code{
	NotInstalled, MissingObject, OldVersion, Unavailable, WebhookUnreachable, WebhookOrder, Certificate,
	PolicyUnbound, MissingRight, NoLeader, InvalidSetting, OutagePolicies,
	Excluded, InjectDisabled, NotMountable, SourceNotReady, Rejected, RejectedPull, NameConflict, CopyPending, MisplacedKey, InvalidAnnotation, InvalidLedger,
	NamedRevision, Denied, Paused, Contested, Deferred, Pending,
	InvalidImage, InvalidConfig, InvalidEntry, Malformed, InvalidName, Shadowed, Expired, NoCredential, UnusableToken,
	AccountHidden, WrongKey, UselessKey, OtherPath, OneReader, NotGranted, Missing, WrongType, NotListed, NotOptedIn,
	QueueProxy, NoMatch, NoPullSecrets, LineBreak, Duplicate, RetryDue, ExpiresSoon, Leftover, NotProven,
}
