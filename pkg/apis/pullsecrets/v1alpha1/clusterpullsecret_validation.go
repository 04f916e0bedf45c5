// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"knative.dev/pkg/apis"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Validate reports everything that is wrong with the object, each with the
// path of the field. The schema of the CRD says most of it too, so that a
// mistake is refused while the webhook is away; the webhook says it better.
func (c *ClusterPullSecret) Validate(ctx context.Context) *apis.FieldError {
	// Rules may become stricter. An object that was accepted once must still
	// let its status be written and its finalizer be removed.
	if apis.IsInStatusUpdate(ctx) || c.DeletionTimestamp != nil {
		return nil
	}
	return c.validateName().ViaField("metadata").
		Also(c.validateUpdate(ctx).ViaField("spec")).
		Also(c.Spec.Validate(apis.WithinSpec(ctx)).ViaField("spec"))
}

// validateUpdate rejects another name for the copies: Revisions refer to the copies
// by name, and would lose them.
func (c *ClusterPullSecret) validateUpdate(ctx context.Context) *apis.FieldError {
	before, ok := apis.GetBaseline(ctx).(*ClusterPullSecret)
	if !apis.IsInUpdate(ctx) || !ok || before == nil || c.copyName() == before.copyName() {
		return nil
	}
	return apis.ErrInvalidValue(c.Spec.SecretName, "secretName", fmt.Sprintf(
		"field is immutable and was %s; create a new ClusterPullSecret with the new secretName, and delete this one when nothing refers to its copies", before.copyName()))
}

// copyName is the name of the copies, whether or not it has been defaulted.
func (c *ClusterPullSecret) copyName() string { return cmp.Or(c.Spec.SecretName, c.Name) }

// validateName refuses names that copies could not carry as a label. The API
// server has seen to the rest.
func (c *ClusterPullSecret) validateName() *apis.FieldError {
	return invalid(c.Name, "name", validation.IsValidLabelValue(c.Name))
}

// Validate reports everything that is wrong with the spec.
func (s *ClusterPullSecretSpec) Validate(context.Context) *apis.FieldError {
	errs := s.SecretRef.validate().ViaField("secretRef").
		Also(s.validateNamespaceSelector()).
		Also(s.validateSecretName()).
		Also(s.CopyMetadata.validate().ViaField("copyMetadata"))
	if s.Always != nil {
		errs = errs.Also(s.Always.validate().ViaField("always"))
	}
	switch s.DeletionPolicy {
	case "", DeletionPolicyDelete, DeletionPolicyRetain:
	default:
		errs = errs.Also(apis.ErrInvalidValue(s.DeletionPolicy, "deletionPolicy",
			fmt.Sprintf("must be %s or %s", DeletionPolicyDelete, DeletionPolicyRetain)))
	}
	return errs
}

func (r SecretReference) validate() (errs *apis.FieldError) {
	switch r.Namespace {
	case "":
		errs = errs.Also(apis.ErrMissingField("namespace"))
	case pullsecrets.SystemNamespace:
		errs = errs.Also(apis.ErrInvalidValue(r.Namespace, "namespace",
			"a source must not be in the namespace of the installation; use "+pullsecrets.SourcesNamespace))
	default:
		errs = errs.Also(invalid(r.Namespace, "namespace", validation.IsDNS1123Label(r.Namespace)))
	}
	if r.Name == "" {
		return errs.Also(apis.ErrMissingField("name"))
	}
	return errs.Also(invalid(r.Name, "name", validation.IsDNS1123Subdomain(r.Name)))
}

// validateNamespaceSelector insists on a selector, because its absence could
// be read as "none" and as "all", and it is the authorization.
func (s *ClusterPullSecretSpec) validateNamespaceSelector() *apis.FieldError {
	const path = "namespaceSelector"
	if s.NamespaceSelector == nil {
		missing := apis.ErrMissingField(path)
		missing.Details = "it selects the namespaces that may use the credential; {} selects every namespace"
		return missing
	}
	var errs *apis.FieldError
	for _, err := range metav1validation.ValidateLabelSelector(
		s.NamespaceSelector, metav1validation.LabelSelectorValidationOptions{}, field.NewPath(path)) {
		errs = errs.Also(&apis.FieldError{Message: err.ErrorBody(), Paths: []string{err.Field}})
	}
	return errs
}

// validateSecretName accepts what is both the name of a Secret and a label
// value. Empty is accepted: the default is the name of the object.
func (s *ClusterPullSecretSpec) validateSecretName() *apis.FieldError {
	if s.SecretName == "" {
		return nil
	}
	problems := validation.IsDNS1123Subdomain(s.SecretName)
	if len(problems) == 0 {
		problems = validation.IsValidLabelValue(s.SecretName)
	}
	return invalid(s.SecretName, "secretName", problems)
}

// maxCopyMetadata is how much the annotations of CopyMetadata may hold in total, of
// the 256 KiB that an object may have.
const maxCopyMetadata = 64 << 10

// validate accepts what the API server accepts as labels and annotations, and of that
// nothing that says whose a Secret is.
func (m *CopyMetadata) validate() (errs *apis.FieldError) {
	if m == nil {
		return nil
	}
	for key, value := range m.Labels {
		problems := append(validateCopyKey(key), validation.IsValidLabelValue(value)...)
		errs = errs.Also(invalid(key, apis.CurrentField, problems).ViaFieldKey("labels", key))
	}
	size := 0
	for key, value := range m.Annotations {
		size += len(key) + len(value)
		errs = errs.Also(invalid(key, apis.CurrentField, validateCopyKey(key)).ViaFieldKey("annotations", key))
	}
	for field, count := range map[string]int{"labels": len(m.Labels), "annotations": len(m.Annotations)} {
		if count > maxCopyKeys {
			errs = errs.Also(apis.ErrInvalidValue(count, field, fmt.Sprintf("must have at most %d keys", maxCopyKeys)))
		}
	}
	if size > maxCopyMetadata {
		errs = errs.Also(apis.ErrInvalidValue(size, "annotations", fmt.Sprintf("must hold no more than %d bytes", maxCopyMetadata)))
	}
	return errs
}

// maxCopyKeys is how many labels copies may have, and how many annotations.
const maxCopyKeys = 32

// validateCopyKey returns what is wrong with the key of a label or an annotation.
func validateCopyKey(key string) []string {
	domain, _, qualified := strings.Cut(key, "/")
	domain = strings.ToLower(domain)
	for _, reserved := range []string{pullsecrets.GroupName, "kubernetes.io", "k8s.io"} {
		if qualified && (domain == reserved || strings.HasSuffix(domain, "."+reserved)) {
			return []string{fmt.Sprintf("keys under %s/ are reserved", reserved)}
		}
	}
	if qualified && domain == "meta.helm.sh" {
		return []string{"keys under meta.helm.sh/ are reserved: Helm would treat the copy as its own"}
	}
	return validation.IsQualifiedName(key)
}

func (a *Always) validate() (errs *apis.FieldError) {
	const path = "serviceAccounts"
	seen := make(map[string]int, len(a.ServiceAccounts))
	for i, name := range a.ServiceAccounts {
		if first, ok := seen[name]; ok {
			errs = errs.Also(apis.ErrInvalidValue(name, apis.CurrentField,
				fmt.Sprintf("already listed at index %d", first)).ViaFieldIndex(path, i))
			continue
		}
		seen[name] = i
		if name == AllServiceAccounts {
			continue
		}
		errs = errs.Also(invalid(name, apis.CurrentField, validation.IsDNS1123Subdomain(name)).ViaFieldIndex(path, i))
	}
	return errs
}

// invalid makes one error of what a validator of apimachinery found, or none.
func invalid(value, path string, problems []string) *apis.FieldError {
	if len(problems) == 0 {
		return nil
	}
	return apis.ErrInvalidValue(value, path, strings.Join(problems, "; "))
}
