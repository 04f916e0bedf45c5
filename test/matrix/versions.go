// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// pair is a release of Kubernetes and one of Knative Serving.
type pair struct{ kubernetes, knative string }

func (p pair) String() string { return p.kubernetes + "/" + p.knative }

// pinned are the releases that every other test runs on, those of test/controlplane and
// test/knative.
var pinned = pair{kubernetes: "1.36.3", knative: "1.23.0"}

// The releases that are run, from the oldest. Before Knative 1.16 the list of pull secrets
// in its CRD is atomic, and before Kubernetes 1.34 no release is supported upstream.
var (
	kubernetesReleases = []string{"1.34.11", "1.35.8", "1.36.3", "1.37.2"}
	knativeReleases    = []string{"1.16.0", "1.20.1", "1.22.1", "1.23.0", "1.24.0"}
)

// pairs returns what is run: each release of one project with the pinned one of the other,
// because the two hardly depend on each other, and the oldest and the newest together.
func pairs() []pair {
	all := []pair{pinned}
	add := func(p pair) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, release := range knativeReleases {
		add(pair{pinned.kubernetes, release})
	}
	for _, release := range kubernetesReleases {
		add(pair{release, pinned.knative})
	}
	add(pair{kubernetesReleases[0], knativeReleases[0]})
	add(pair{kubernetesReleases[len(kubernetesReleases)-1], knativeReleases[len(knativeReleases)-1]})
	return all
}

// core are the tests that run on each pair, by what they show. They need neither a node
// nor programs other than those of the cluster.
var core = map[string][]string{
	"admission": {
		"TestFirstRevisionHasPullSecrets", "TestServiceAnnotationTakesEffectAtAdmission", "TestServiceAccountEntriesAreKept",
		"TestUnknownFieldsSurvive", "TestOddListsAreValidatedAsWithoutTheWebhook", "TestChangesOutsideTheTemplateCreateNoRevision",
		"TestDryRunShowsPullSecretsAndStoresNothing", "TestMistakesCauseWarnings", "TestServiceWithGeneratedNameGetsPullSecrets",
		"TestUnchangedApplyWhileSomethingIsDue", "TestRemovalIsAChange", "TestKilledWebhookRejectsNothing",
	},
	"the same requests as without us": {"TestPairs"},
	"named Revisions":                 {"TestNamedTemplateIsLeftAlone", "TestNamedTemplateGetsPullSecretsWithTheNextName"},
	"backfill": {
		"TestNamespaceOptInReachesExistingServices", "TestNamespaceOptInReachesNewServices", "TestServiceOptIn", "TestBackfillModes",
		"TestSafeBackfillDeploysNoOtherImage", "TestSafeBackfillChangesServicesThatWereNeverReady",
		"TestSafeBackfillLeavesServicesThatWereReady", "TestBackfillPausesWhenARevisionFails",
	},
	"ledger and ownership": {
		"TestEntryInTheOwnersManifestBelongsToTheOwner", "TestBadLedgerRemovesNothingOfTheOwners", "TestForgedLedgerRemovesNothing",
		"TestEntriesThatServiceNoLongerDeclaresAreRemoved", "TestEntriesThatNamespaceNoLongerDeclaresStay",
		"TestEntryThatTheOwnerOmitsAgainIsManagedAgain", "TestListHasTheOrderOfTheLayers", "TestOrderAloneIsNeverWritten",
		"TestConcurrentChangesByOwnersAreKept", "TestContestedServiceIsLeftAlone", "TestDenialIsReportedOnce",
	},
	"distribution": {
		"TestCopyRequiresGrantAndRequest", "TestChangedCopiesAreRestored", "TestUsersSecretIsLeftAlone", "TestBadSourceKeepsGoodCopies",
		"TestAlwaysAddsAndRemovesItsPart", "TestAutoFollowsTheImages", "TestAutoCoversTheQueueProxy", "TestCopyComesBeforeTheReference",
		"TestOlderClusterPullSecretServesUnderOneName", "TestTenantGetsNoForeignCredential",
	},
	"rotation and revocation": {
		"TestRotationUpdatesCopiesInPlace", "TestRecreatedSourceUpdatesCopiesInPlace", "TestRevocationDeletesCopies",
		"TestRetainKeepsCopiesAsOrdinarySecrets",
	},
	"ServiceAccounts": {
		"TestServiceAccountsAreBound", "TestServiceAccountsAreBoundAtAdmission", "TestAppliedEntriesOfServiceAccountBelongToTheApplier",
		"TestServiceAccountEntriesAreAddedWithTheFirst", "TestServiceAccountEntriesAreRemovedWithTheLast",
		"TestServiceAccountThatEnforcesSecretsLimitsInjection",
	},
	"configuration": {
		"TestInjectDisabledAddsAndRemovesNothing", "TestExcludedByLabel", "TestExcludedByName", "TestInvalidSettingsAreRejected",
		"TestClusterPullSecretIsDefaulted", "TestInvalidClusterPullSecretIsRejected",
	},
	"rights": {
		"TestPoliciesLimitTheController", "TestPoliciesAreWellTyped", "TestWebhookHasMinimalRights", "TestControllerCannotWidenItsRights",
		"TestControllerReadsKnativesImages",
	},
}

// corePairs is how many pairs of TestPairs are enough to show a difference between versions.
const corePairs = 60
