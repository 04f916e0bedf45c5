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

// Validate returns all errors in the object, each with the path of its field. The schema
// of the CRD has most rules too, so that mistakes are rejected without the webhook; the
// webhook's messages are better.
func (c *ClusterPullSecret) Validate(ctx context.Context) *apis.FieldError {
	// Rules may become stricter. The status of an object that was accepted earlier
	// must remain writable, and its finalizer removable.
	if apis.IsInStatusUpdate(ctx) || c.DeletionTimestamp != nil {
		return nil
	}
	return c.validateName().ViaField("metadata").
		Also(c.validateUpdate(ctx).ViaField("spec")).
		Also(c.Spec.Validate(apis.WithinSpec(ctx)).ViaField("spec"))
}

// validateUpdate rejects another name for the copies, because Revisions reference the
// copies by name.
func (c *ClusterPullSecret) validateUpdate(ctx context.Context) *apis.FieldError {
	before, ok := apis.GetBaseline(ctx).(*ClusterPullSecret)
	if !apis.IsInUpdate(ctx) || !ok || before == nil || c.copyName() == before.copyName() {
		return nil
	}
	return apis.ErrInvalidValue(c.Spec.SecretName, "secretName", fmt.Sprintf(
		"field is immutable and was %s; create a new ClusterPullSecret with the new secretName, and delete this one when nothing refers to its copies", before.copyName()))
}

// copyName returns the name of the copies, also if it has no default yet.
func (c *ClusterPullSecret) copyName() string { return cmp.Or(c.Spec.SecretName, c.Name) }

// validateName rejects names that are no label value, because copies have the name as a
// label. The API server validates the rest.
func (c *ClusterPullSecret) validateName() *apis.FieldError {
	return invalid(c.Name, "name", validation.IsValidLabelValue(c.Name))
}

// Validate returns all errors in the spec.
func (s *ClusterPullSecretSpec) Validate(context.Context) *apis.FieldError {
	errs := s.SecretRef.validate().ViaField("secretRef").
		Also(s.validateNamespaceSelector()).
		Also(s.validateSecretName()).
		Also(s.validateRegistries()).
		Also(s.Verify.validate().ViaField("verify")).
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

// validateNamespaceSelector requires a selector. It is the authorization, and a missing
// one could mean no namespace or every namespace.
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

// validateSecretName accepts a name of a Secret that is a label value too. An empty name
// is valid: it defaults to the name of the object.
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

// maxCopyMetadata is the total size of the annotations of CopyMetadata, of the 256 KiB
// that an object may have.
const maxCopyMetadata = 64 << 10

// validate accepts valid labels and annotations, apart from keys that define who owns a
// Secret.
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

// maxCopyKeys is the maximum number of labels, and of annotations.
const maxCopyKeys = 32

// validateCopyKey returns the problems with the key of a label or an annotation.
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

// invalid returns one error for the problems that a validator of apimachinery returned, or
// nil.
func invalid(value, path string, problems []string) *apis.FieldError {
	if len(problems) == 0 {
		return nil
	}
	return apis.ErrInvalidValue(value, path, strings.Join(problems, "; "))
}
