// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
)

// excludedBy returns what excludes the Namespace, or an empty string.
func (s *subject) excludedBy() string {
	if config.ExcludedByLabel(s.Namespace.Labels) {
		return "its label " + pullsecrets.ExcludeLabel
	}
	return s.Config.ExcludedBy(s.Namespace.Name)
}

// needed returns the severity of what keeps pull secrets from the Service: error if an image
// fails for lack of one.
func (s *subject) needed(otherwise Severity) Severity {
	if s.failure.pull {
		return Error
	}
	return otherwise
}

// causes finds what keeps declared pull secrets from the Service.
func (s *subject) causes() {
	if s.NotInstalled {
		s.find(NotInstalled, s.needed(Warning), "the cluster has no ClusterPullSecrets: Pull Secrets for Knative is not installed",
			"install it", "kubectl apply -f release.yaml")
	}
	s.invalid()
	if s.Namespace == nil {
		return
	}
	s.optedOut()
	s.withheldNames()
	s.deferred()
	s.copies()
	s.reported()
}

// optedOut finds an exclusion, and injection that is disabled.
func (s *subject) optedOut() {
	ns, svc := s.Namespace, s.Service
	wants := annotation.ForNamespace(ns.Annotations).OptsIn() || len(annotation.ForService(svc.Annotations).Secrets) > 0
	severity := Info
	if wants {
		severity = Warning
	}
	switch {
	case s.excluded != "" && config.ExcludedByLabel(ns.Labels):
		s.find(Excluded, s.needed(severity), "Namespace "+ns.Name+" is excluded by "+s.excluded, "remove the label",
			command("kubectl label namespace %s %s", ns.Name, pullsecrets.ExcludeLabel+"-"))
	case s.excluded != "":
		s.find(Excluded, s.needed(severity), "Namespace "+ns.Name+" is excluded by "+s.excluded, "change the setting, or use another namespace",
			command("kubectl -n %s edit configmap %s", pullsecrets.SystemNamespace, config.Name))
	case annotation.ForNamespace(ns.Annotations).Inject == annotation.Disabled:
		s.find(InjectDisabled, s.needed(Info), "Namespace "+ns.Name+" has "+pullsecrets.InjectAnnotation+": disabled", "remove the annotation",
			command("kubectl annotate namespace %s %s", ns.Name, pullsecrets.InjectAnnotation+"-"))
	case s.declaration.OfService.Inject == annotation.Disabled:
		s.find(InjectDisabled, s.needed(Info), "the Service has "+pullsecrets.InjectAnnotation+": disabled", "remove the annotation",
			s.annotate(pullsecrets.InjectAnnotation+"-"))
	case len(s.declaration.Names()) == 0 && !s.declaration.Hold && s.uncoveredImages():
		if why := s.grantsUnread(); why != "" {
			s.unread = append(s.unread, Unread{"whether a ClusterPullSecret declares a pull secret for the Service", why})
			return
		}
		s.find(NotOptedIn, s.needed(Info), "no annotation and no ClusterPullSecret declares a pull secret for the Service",
			"declare one for its Namespace", command("kubectl annotate namespace %s %s", ns.Name, pullsecrets.SecretsAnnotation+"="+placeholder))
	}
}

// uncoveredImages reports whether any image but the queue-proxy's has no credential.
func (s *subject) uncoveredImages() bool {
	return slices.ContainsFunc(s.results, func(r coverage.Result) bool { return r.Kind != coverage.QueueProxy && !r.Covered() })
}

// annotate returns the command that changes an annotation of the Service.
func (s *subject) annotate(change string) string {
	return command("kubectl -n %s annotate --overwrite ksvc %s %s", s.Service.Namespace, s.Service.Name, change)
}

// invalid finds invalid, unknown and misplaced annotations and labels.
func (s *subject) invalid() {
	of := annotation.ForService(s.Service.Annotations)
	valid := map[string][]string{pullsecrets.SecretsAnnotation: of.Secrets}
	for _, p := range of.Problems {
		s.find(InvalidAnnotation, s.needed(Warning), p.Error(), "correct the annotation", s.annotate(p.Annotation+"="+corrected(valid[p.Annotation])))
	}
	for _, p := range rollout.Misplaced(s.Service) {
		fix := ""
		if value, set := s.Service.Spec.Template.Annotations[p.Annotation]; set && p.Annotation == pullsecrets.SecretsAnnotation {
			names := slices.Clone(of.Secrets) // The annotation of the Service stays.
			for _, name := range annotation.ForService(map[string]string{p.Annotation: value}).Secrets {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
			fix = s.annotate(p.Annotation + "=" + strings.Join(names, ","))
		}
		s.find(MisplacedKey, s.needed(Warning), p.Error(), "set the right key at the right place, and remove this one", fix)
	}
	if s.damaged != nil {
		s.find(InvalidLedger, Warning, fmt.Sprintf("annotation %s is invalid: %v; entries that it does not name count as the owner's", pullsecrets.AddedAnnotation, s.damaged),
			"do not edit the annotation; remove entries that are not yours from the list", "")
	}
	if s.Namespace == nil {
		return
	}
	object := "Namespace " + s.Namespace.Name
	ofNamespace := annotation.ForNamespace(s.Namespace.Annotations)
	valid = map[string][]string{pullsecrets.SecretsAnnotation: ofNamespace.Secrets, pullsecrets.ServiceAccountsAnnotation: bound(ofNamespace.ServiceAccounts)}
	for _, p := range ofNamespace.Problems {
		s.findings = append(s.findings, found(InvalidAnnotation, s.needed(Warning), object, p.Error(), "correct the annotation").
			with(command("kubectl annotate --overwrite namespace %s %s", s.Namespace.Name, p.Annotation+"="+corrected(valid[p.Annotation]))))
	}
	for _, p := range annotation.Misplaced(annotation.OnNamespace, s.Namespace.Annotations, s.Namespace.Labels) {
		s.findings = append(s.findings, found(MisplacedKey, s.needed(Warning), object, p.Error(), "set the right key at the right place, and remove this one"))
	}
}

// corrected returns the value of an annotation with a placeholder for what is invalid. Items of a list
// that are valid stay.
func corrected(valid []string) string {
	return strings.Join(append(slices.Clone(valid), "VALUE"), ",")
}

// bound returns the valid items of the annotation that binds ServiceAccounts.
func bound(accounts annotation.Accounts) []string {
	if accounts.All {
		return []string{"*"}
	}
	return accounts.Names
}

// withheldNames finds names that the ServiceAccount does not let Pods reference.
func (s *subject) withheldNames() {
	if len(s.next.Withheld) == 0 {
		return
	}
	var names, items []string
	for _, e := range s.next.Withheld {
		names = append(names, e.Name)
		items = append(items, `{"name":"`+e.Name+`"}`)
	}
	patch := `[{"op":"add","path":"/imagePullSecrets","value":[` + strings.Join(items, ",") + `]}]`
	if s.Account != nil && len(s.Account.ImagePullSecrets) > 0 {
		patch = strings.ReplaceAll(strings.ReplaceAll(patch, `/imagePullSecrets","value":[`, `/imagePullSecrets/-","value":`), `]}]`, `}]`)
		patch = strings.ReplaceAll(patch, `},{`, `}},{"op":"add","path":"/imagePullSecrets/-","value":{`)
	}
	s.find(NotMountable, s.needed(Warning),
		fmt.Sprintf("ServiceAccount %s has annotation %s and does not list %s, so Pods that name it are rejected and it is not added",
			s.account(), merge.EnforceMountableSecrets, strings.Join(names, ", ")),
		"add it to the imagePullSecrets of the ServiceAccount",
		command("kubectl -n %s patch serviceaccount %s --type=json -p %s", s.Service.Namespace, s.account(), patch))
}

// deferred finds a change that is due and not written.
func (s *subject) deferred() {
	if !s.due.ListChanged {
		return
	}
	names := namesOf(slices.Concat(s.due.Added, s.due.Taken))
	name := s.Service.Spec.Template.Name
	switch s.decision.Reason {
	case rollout.NamedRevision:
		s.find(NamedRevision, s.needed(Warning),
			fmt.Sprintf("the template names Revision %s, and Knative rejects changes under the same name, so %s is not added", name, names),
			"deploy under the next name, or remove the name from the template, which creates a Revision",
			command("kubectl -n %s patch ksvc %s --type=json -p %s", s.Service.Namespace, s.Service.Name, `[{"op":"remove","path":"/spec/template/metadata/name"}]`))
	case rollout.Deferred:
		remedy := "deploy the Service, or get it now by its own annotation; that creates a Revision, which resolves its tags again"
		if s.Config.Backfill == config.BackfillReport {
			remedy = "deploy the Service; " + s.decision.Remedy
		}
		s.find(Deferred, s.needed(s.whenCovered(Info, Warning)), fmt.Sprintf("adding %s is deferred until the next change of the template", names), remedy,
			s.annotate(pullsecrets.InjectAnnotation+"="+string(s.declaration.Ask())))
	case rollout.Disabled:
		s.find(Deferred, s.needed(Info), fmt.Sprintf("adding %s is deferred until the next change of the template: backfill is disabled in ConfigMap %s", names, config.Name),
			"deploy the Service", "")
	case rollout.NoRoom:
		s.find(Denied, Warning, "the annotations of the Service are too large to add "+pullsecrets.AddedAnnotation, "make its annotations smaller", "")
	default:
		if s.decision.Action == rollout.Write && !s.mayAwaitCopies() {
			s.find(Pending, s.needed(Info), fmt.Sprintf("adding %s is due, and the controller has not written it yet", names),
				"wait for its turn; if it does not come, check the installation", "kn pullsecrets check")
		}
	}
}

// whenCovered returns a severity by whether all images are covered without the change.
func (s *subject) whenCovered(covered, otherwise Severity) Severity {
	if s.uncoveredImages() {
		return otherwise
	}
	return covered
}

func (s *subject) awaitsCopies() bool {
	return slices.ContainsFunc(s.due.Added, func(e merge.Entry) bool {
		return s.Secrets[e.Name].State == coverage.Absent && copied(s.declaration.Granted, s.Service.Namespace, e.Name) != nil
	})
}

// mayAwaitCopies reports whether a Secret to be added is missing, and may be a copy.
func (s *subject) mayAwaitCopies() bool {
	return s.awaitsCopies() || slices.ContainsFunc(s.due.Added, func(e merge.Entry) bool { return s.mayBeCopy(e.Name) })
}

// copies finds copies that do not exist, and why.
func (s *subject) copies() {
	for _, secret := range s.declaration.Names() {
		cps := copied(s.declaration.Granted, s.Service.Namespace, secret)
		if cps == nil {
			continue
		}
		state, owner := s.Secrets[secret].State, s.Secrets[secret].Owner
		object := "ClusterPullSecret " + cps.Name
		source := cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
		switch {
		case source != nil && source.IsFalse():
			severity := Warning
			if state == coverage.Absent {
				severity = Error
			}
			s.findings = append(s.findings, sourceNotReady(severity, cps))
		case state == coverage.Absent:
			s.findings = append(s.findings, found(CopyPending, s.needed(Warning), object,
				fmt.Sprintf("the copy %s does not exist in namespace %s yet", secret, s.Service.Namespace),
				"do not create it; see why the copy is missing").with(describe(cps.Name)))
		case state == coverage.Known && owner == "":
			remedy, adopt := s.adoption(secret, cps.Name)
			s.findings = append(s.findings, found(NameConflict, Info, object,
				fmt.Sprintf("a Secret named %s in namespace %s is not a copy, and is used instead", secret, s.Service.Namespace), remedy).with(adopt))
		}
		if cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted).IsFalse() {
			s.findings = append(s.findings, credentialRejected(Warning, cps))
		}
	}
}

// adoption returns what to do about a Secret that has the name of a copy. There is a command for one
// that stays, with another content. A command that adds labels must not delete a Secret.
func (s *subject) adoption(secret, clusterPullSecret string) (remedy, adopt string) {
	if !s.Secrets[secret].Updatable {
		return "rename it; adoption would delete it with all of its content, and create the copy in its place", ""
	}
	return "rename it, or have it adopted, which replaces its content by that of the source",
		command("kubectl -n %s label secret %s %s %s", s.Service.Namespace, secret,
			pullsecrets.ManagedByLabel+"="+pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel+"="+clusterPullSecret)
}

// reported finds conditions that only Events of the controller report.
func (s *subject) reported() {
	for code, remedy := range map[Code]string{
		Contested: "find the writer that removes the entries", Denied: "correct the object, or the policy that rejects the change",
		Paused: "find out why the named Service's Revision failed",
	} {
		for i := range s.Events {
			e := &s.Events[i]
			if e.Reason == string(code) && e.Type == corev1.EventTypeWarning && e.Source.Component == EventSource && s.due.ListChanged {
				s.findings = slices.DeleteFunc(s.findings, func(f Finding) bool { return f.Code == Pending })
				s.findings = append(s.findings, found(code, s.needed(Warning), e.InvolvedObject.Kind+" "+e.InvolvedObject.Name, Line(e.Message), remedy))
				break
			}
		}
	}
}

// EventSource is the source component of the controller's Events.
const EventSource = "pullsecrets-controller"

// withheld returns the ClusterPullSecret that has copies of this name elsewhere, if none is
// granted here.
func (s *subject) withheld(secret string) *v1alpha1.ClusterPullSecret {
	if s.Namespace == nil {
		return nil
	}
	return s.offered.Withheld(secret, s.Namespace.Labels)
}

// namesOf returns entries with their origins.
func namesOf(entries []merge.Entry) string {
	var texts []string
	for _, e := range entries {
		texts = append(texts, fmt.Sprintf("%s (%s)", e.Name, e.Origin))
	}
	return strings.Join(texts, ", ")
}
