// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package events creates every Event that the controller records. Reasons are API: users
// alert on them, so they are constants in one place. A message is one stable line of at
// most 1024 characters that names object, fact and remedy. Of a Secret it holds nothing but
// the name and the type.
package events

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// ControllerAgentName is the source component of the controller's Events.
const ControllerAgentName = "pullsecrets-controller"

// The reasons of Events.
const (
	ReasonSecretsAdded       = "SecretsAdded"
	ReasonSecretsRetracted   = "SecretsRetracted"
	ReasonInvalidAnnotation  = "InvalidAnnotation"
	ReasonSecretMissing      = "SecretMissing"
	ReasonSecretWrongType    = "SecretWrongType"
	ReasonNotGranted         = "NotGranted"
	ReasonNamedRevision      = "NamedRevision"
	ReasonBackfillDeferred   = "BackfillDeferred"
	ReasonBackfillDenied     = "BackfillDenied"
	ReasonBackfillPaused     = "BackfillPaused"
	ReasonInjectionContested = "InjectionContested"
	ReasonNameConflict       = "NameConflict"
	ReasonSourceInvalid      = "SourceInvalid"
	ReasonSourceQuestionable = "SourceQuestionable"
	ReasonCredentialExpires  = "CredentialExpires"
	ReasonCredentialRejected = "CredentialRejected"
	ReasonDistributed        = "Distributed"
	ReasonRevocationDelayed  = "RevocationDelayed"
	ReasonNotCovered         = "NotCovered"
	ReasonRevisionRetried    = "RevisionRetried"
)

const (
	// maxListed is the number of items that a message lists.
	maxListed = 8
	// maxMessage is the maximum length of a message (events.k8s.io, NoteLengthLimit).
	maxMessage = 1024
	// maxText is the maximum length of an error of the API server in a message.
	maxText = 400
)

// Event is an Event that is not recorded yet.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type    string
	Reason  string
	Message string
}

func normal(reason, format string, args ...any) Event {
	return Event{corev1.EventTypeNormal, reason, Cut(fmt.Sprintf(format, args...), maxMessage)}
}

func warning(reason, format string, args ...any) Event {
	return Event{corev1.EventTypeWarning, reason, Cut(fmt.Sprintf(format, args...), maxMessage)}
}

// secretsAdded reports to the owner of a Service which entries were added, and why.
func secretsAdded(added []merge.Entry) Event {
	return normal(ReasonSecretsAdded, "Added pull secrets %s", entries(added))
}

// secretsRetracted reports to the owner of a Service which entries were removed.
func secretsRetracted(taken []merge.Entry) Event {
	return normal(ReasonSecretsRetracted, "Removed pull secrets %s: no longer declared", entries(taken))
}

// InvalidAnnotation reports an item of an annotation that is ignored.
func InvalidAnnotation(problem annotation.Problem) Event {
	return warning(ReasonInvalidAnnotation, "%s", upperFirst(problem.Error()))
}

// Excluded reports that a Namespace has annotations of ours and is excluded by the
// configuration.
func Excluded(namespace, by string) Event {
	return warning(ReasonInvalidAnnotation, "Namespace %s is excluded by %s; its annotations under %s/ have no effect", namespace, by, pullsecrets.GroupName)
}

// InvalidLedger reports that the ledger is damaged.
func InvalidLedger(err error) Event {
	return warning(ReasonInvalidAnnotation, "Annotation %s is invalid: %v; entries that it does not name are treated as the owner's",
		pullsecrets.AddedAnnotation, err)
}

// NotMountable reports declared names that a ServiceAccount does not let Pods reference.
func NotMountable(account string, withheld []merge.Entry) Event {
	return warning(ReasonNotGranted, "ServiceAccount %s has annotation kubernetes.io/enforce-mountable-secrets and does not list pull secrets %s; add them to its imagePullSecrets",
		account, entries(withheld))
}

// NotGranted reports declared names of copies that the namespace is not granted. It names
// no ClusterPullSecret: tenants read it, and the names of credentials that are not granted
// to them belong to the platform team.
func NotGranted(namespace string, names []string) Event {
	return warning(ReasonNotGranted, "No ClusterPullSecret grants namespace %s the declared pull secrets %s; have the namespace selected, create Secrets with these names, or correct the annotation",
		namespace, listed(names))
}

// WithClusterPullSecret returns the name of a copy with its ClusterPullSecret, for
// [CopyMissing].
func WithClusterPullSecret(name, clusterPullSecret string) string {
	return fmt.Sprintf("%s (%s)", name, merge.FromClusterPullSecret(clusterPullSecret))
}

// CopyMissing reports copies that cannot be created because their source is not ready.
func CopyMissing(namespace string, names []string) Event {
	return warning(ReasonSecretMissing, "No copy in namespace %s yet: %s; the copy is created when the source of its ClusterPullSecret is ready", namespace, listed(names))
}

// SecretMissing reports declared Secrets that do not exist. It is one Event for all of
// them, because client-go drops Events if one object has too many.
func SecretMissing(namespace string, names []string) Event {
	return warning(ReasonSecretMissing, "Pull secrets not found in namespace %s: %s; create them, or correct the annotation that declares them", namespace, listed(names))
}

// SecretWrongType reports declared Secrets that are no pull secrets. Each name comes with
// its type, see [WithType].
func SecretWrongType(namespace string, names []string) Event {
	return warning(ReasonSecretWrongType, "Secrets in namespace %s cannot be used as pull secrets: %s; the type must be %s or %s",
		namespace, listed(names), corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
}

// WithType returns a name with its type, for [SecretWrongType].
func WithType(name string, have corev1.SecretType) string {
	return fmt.Sprintf("%s (type %s)", name, annotation.Quote(string(have)))
}

// NamedRevision reports why a template that names its Revision is not changed.
func NamedRevision(name string, changes string) Event {
	return normal(ReasonNamedRevision, "The template names Revision %s, and Knative rejects changes under the same name; deferred until the template has another name: %s",
		name, changes)
}

// BackfillDeferred reports what is deferred until the next change of a Service, and how to
// get it now.
func BackfillDeferred(changes, why string) Event {
	return normal(ReasonBackfillDeferred, "%s is deferred until the next change of the template: %s", upperFirst(changes), why)
}

// BackfillDenied reports why the API server rejects a change of a Service.
func BackfillDenied(changes string, err error) Event {
	return warning(ReasonBackfillDenied, "%s was rejected; will not retry until the Service changes: %s", upperFirst(changes), Cut(err.Error(), maxText))
}

// BindingDenied reports why the API server rejects a change of a ServiceAccount.
func BindingDenied(changes string, err error) Event {
	return warning(ReasonBackfillDenied, "%s was rejected; will not retry until the ServiceAccount or what is declared for it changes: %s",
		upperFirst(changes), Cut(err.Error(), maxText))
}

// ErrNoRoom is the cause if the annotations of an object are near their size limit.
var ErrNoRoom = errors.New("annotations are too large to add " + pullsecrets.AddedAnnotation)

// Refused reports whether the API server rejects a patch permanently: by an admission
// webhook, a policy or the schema. Such a patch is reported and not retried. A conflict or
// an outage is temporary.
func Refused(err error) bool {
	return apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		// Webhooks and policies may use this code. Missing permissions use it too, and
		// an operator can grant them at any time.
		apierrors.IsForbidden(err) && strings.Contains(err.Error(), " denied ")
}

// BackfillPaused names the Service whose Revision paused the backfill of a namespace. It
// does not name the Revision: Knative may not have created it yet, and a changed text would
// be reported again.
func BackfillPaused(namespace, service string) Event {
	return warning(ReasonBackfillPaused, "The Revision that adds pull secrets to Service %s is not Ready; backfill in namespace %s resumes when it is Ready or when the Namespace or its ClusterPullSecrets change",
		service, namespace)
}

// InjectionContested reports that another writer repeatedly removes declared entries of a
// Service.
func InjectionContested(names []merge.Entry) Event {
	return warning(ReasonInjectionContested, "Pull secrets %s are repeatedly removed by another writer; will not add them again for an hour, or until the annotations of the Service change", entries(names))
}

// BindingContested reports that another writer repeatedly removes declared entries of a
// ServiceAccount.
func BindingContested(names []merge.Entry) Event {
	return warning(ReasonInjectionContested, "Pull secrets %s are repeatedly removed by another writer; will not add them again for an hour", entries(names))
}

// Happened returns the Events of a change that was written.
func Happened(result merge.Result) []Event {
	var all []Event
	if len(result.Added) > 0 {
		all = append(all, secretsAdded(result.Added))
	}
	if len(result.Taken) > 0 {
		all = append(all, secretsRetracted(result.Taken))
	}
	return all
}

// Binding is a change of a ServiceAccount that was written.
type Binding struct {
	Account string
	Result  merge.Result
}

// Bound returns the Events of all changes of ServiceAccounts that one reconciliation of their
// Namespace wrote: at most one for entries that were added, and one for those that were
// removed.
func Bound(all []Binding) []Event {
	added, removed := make(map[string][]string), make(map[string][]string)
	for _, b := range all {
		if list := b.Result.Added; len(list) > 0 {
			added[entries(list)] = append(added[entries(list)], b.Account)
		}
		if list := b.Result.Taken; len(list) > 0 {
			removed[entries(list)] = append(removed[entries(list)], b.Account)
		}
	}
	var happened []Event
	if len(added) > 0 {
		happened = append(happened, normal(ReasonSecretsAdded, "Added pull secrets: %s", byAccounts(added)))
	}
	if len(removed) > 0 {
		happened = append(happened, normal(ReasonSecretsRetracted, "Removed pull secrets that are no longer declared: %s", byAccounts(removed)))
	}
	return happened
}

// byAccounts describes the ServiceAccounts by the entries that they have in common.
func byAccounts(accounts map[string][]string) string {
	var groups []string
	for _, entries := range slices.Sorted(maps.Keys(accounts)) {
		kind := "ServiceAccount"
		if len(accounts[entries]) > 1 {
			kind = "ServiceAccounts"
		}
		groups = append(groups, fmt.Sprintf("%s in %s %s", entries, kind, listed(accounts[entries])))
	}
	return strings.Join(groups, "; ")
}

// NameConflict reports user Secrets that have the names of copies.
func NameConflict(namespace string, names []string) Event {
	return warning(ReasonNameConflict, "Secrets in namespace %s have the names of copies and are not managed: %s; rename them, or label them %s=%s and %s=NAME in their manifest to have them managed",
		namespace, listed(names), pullsecrets.ManagedByLabel, pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel)
}

// PropagatedNotGranted reports Secrets labeled as copies that are repeatedly created in a
// namespace without a grant.
func PropagatedNotGranted(namespace string, names []string) Event {
	return warning(ReasonNotGranted, "Secrets in namespace %s are labeled as copies, are removed because no ClusterPullSecret grants them, and are repeatedly created again: %s; stop what creates them, or have it omit the labels %s and %s",
		namespace, listed(names), pullsecrets.ManagedByLabel, pullsecrets.ClusterPullSecretLabel)
}

// SourceInvalid reports an invalid source. The message is that of the condition
// SourceReady, which names the entry and never quotes a credential.
func SourceInvalid(message string) Event {
	return warning(ReasonSourceInvalid, "%s; existing copies are kept", message)
}

// SourceQuestionable reports a likely mistake in a valid source. The message is that of
// the condition SourceReady.
func SourceQuestionable(message string) Event {
	return warning(ReasonSourceQuestionable, "%s", message)
}

// CredentialExpires reports that a credential of a source expires soon.
func CredentialExpires(source fmt.Stringer, at time.Time) Event {
	return warning(ReasonCredentialExpires, "A credential in Secret %s expires at %s; replace it before", source, at.UTC().Format(time.RFC3339))
}

// CredentialExpired reports that a credential of a source has expired.
func CredentialExpired(source fmt.Stringer, at time.Time) Event {
	return warning(ReasonCredentialExpires, "A credential in Secret %s expired at %s; replace it", source, at.UTC().Format(time.RFC3339))
}

// CredentialRejected reports which registries reject the credential of a source. held means
// that copies hold another one, which it does not replace.
func CredentialRejected(source fmt.Stringer, answers string, held bool) Event {
	if held {
		return warning(ReasonCredentialRejected, "The changed credential in Secret %s is rejected and not distributed: %s; existing copies are kept; correct the source", source, answers)
	}
	return warning(ReasonCredentialRejected, "The credential in Secret %s is rejected: %s; copies are not changed; replace it, or restore its access", source, answers)
}

// SourceExpired reports that a changed source is not distributed because it has expired. The
// message is that of the condition SourceReady.
func SourceExpired(message string) Event {
	return warning(ReasonCredentialExpires, "%s", message)
}

// Distributed reports how many copies hold the current version of the source.
func Distributed(version string, synced, wanted int) Event {
	return normal(ReasonDistributed, "%d of %d namespaces have a copy of the source at resourceVersion %s", synced, wanted, version)
}

// RevocationDelayed reports that copies of a deleted ClusterPullSecret still exist.
func RevocationDelayed(namespaces []string) Event {
	return warning(ReasonRevocationDelayed, "Copies in %d namespaces are not removed yet (%s); see Events InternalError on these Namespaces, in namespace default, for the cause",
		len(namespaces), listed(namespaces))
}

// NotCovered reports an image without a credential, with the cause and what to do. Others with
// the same cause are counted.
func NotCovered(image, cause, remedy string, others int) Event {
	also := ""
	if others > 0 {
		also = fmt.Sprintf(" (and %d more)", others)
	}
	return warning(ReasonNotCovered, "%s%s %s; %s", upperFirst(image), also, cause, remedy)
}

// RevisionRetried reports a Revision that was deleted so that Knative creates it again.
func RevisionRetried(revision, secret string) Event {
	return normal(ReasonRevisionRetried, "Deleted Revision %s, which was never Ready, so that Knative creates it again: pull secret %s changed after the registry had rejected the image", revision, secret)
}

// InItsOwn returns a Namespace to record Events on. The API server keeps an Event in the
// namespace of its object, and for a cluster-scoped object that would be default.
func InItsOwn(namespace *corev1.Namespace) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: namespace.Name, Namespace: namespace.Name, UID: namespace.UID, ResourceVersion: namespace.ResourceVersion,
		},
	}
}

// Changes describes what a Result would change, as part of a sentence.
func Changes(r merge.Result) string {
	var parts []string
	if len(r.Added) > 0 {
		parts = append(parts, "adding pull secrets "+entries(r.Added))
	}
	if len(r.Taken) > 0 {
		parts = append(parts, "removing pull secrets "+entries(r.Taken))
	}
	if len(parts) == 0 {
		return "a change of pull secrets"
	}
	return strings.Join(parts, " and ")
}

func entries(list []merge.Entry) string {
	items := make([]string, 0, len(list))
	for _, e := range list {
		items = append(items, fmt.Sprintf("%s (%s)", e.Name, e.Origin))
	}
	return listed(items)
}

// listed joins the first items in sorted order and counts the others. Sorted items make
// equal facts equal messages, so that each is recorded once.
func listed(items []string) string {
	items = slices.Sorted(slices.Values(items))
	if more := len(items) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:maxListed], ", "), more)
	}
	return strings.Join(items, ", ")
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// Cut truncates text to a number of characters.
func Cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
