// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy evaluates MutatingAdmissionPolicies with the API server's own code and
// without a cluster, so that many requests can be tested in little time. It needs the
// module of the control plane, because only that has k8s.io/apiserver.
package policy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// Policy is a compiled policy with one JSON patch.
type Policy struct {
	name     string
	compiler *plugincel.CompositedCompiler
	matcher  matchconditions.Matcher
	patcher  patch.Patcher
}

// Load reads the policy of a manifest, strictly, and compiles it as the API server does.
func Load(file string) (*Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(f)); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s has no MutatingAdmissionPolicy", file)
		}
		if err != nil {
			return nil, err
		}
		var policy admissionregistrationv1.MutatingAdmissionPolicy
		if err := yaml.UnmarshalStrict(document, &policy); err == nil && policy.Kind == "MutatingAdmissionPolicy" {
			return compile(&policy)
		}
	}
}

// compile is compilePolicy of k8s.io/apiserver/pkg/admission/plugin/policy/mutating, which
// is not exported.
func compile(policy *admissionregistrationv1.MutatingAdmissionPolicy) (*Policy, error) {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true}
	var variables []plugincel.NamedExpressionAccessor
	for _, v := range policy.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: v.Name, Expression: v.Expression})
	}
	compiler.CompileAndStoreVariables(variables, options, environment.StoredExpressions)
	var conditions []plugincel.ExpressionAccessor
	for i := range policy.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i]))
	}
	// Errors must be seen here, so they do not count as "no match".
	fail := admissionregistrationv1.Fail
	matcher := matchconditions.NewMatcher(compiler.CompileCondition(conditions, options, environment.StoredExpressions), &fail, "policy", "validate", policy.Name)
	options.HasPatchTypes = true
	condition := &patch.JSONPatchCondition{Expression: policy.Spec.Mutations[0].JSONPatch.Expression}
	evaluator := compiler.CompileMutatingEvaluator(condition, options, environment.StoredExpressions)
	return &Policy{policy.Name, compiler, matcher, patch.NewJSONPatcher(evaluator)}, errors.Join(evaluator.CompilationErrors()...)
}

// Update returns the object of an UPDATE after the policy. matched reports whether the
// match conditions hold. An error changes nothing in a real request, because the failure
// policy is Ignore.
func (p *Policy) Update(ctx context.Context, old, object *unstructured.Unstructured, by string) (result *unstructured.Unstructured, matched bool, err error) {
	gvk := object.GroupVersionKind()
	resource := schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: "services"}
	var oldObject, newObject runtime.Object = old, object.DeepCopy()
	if gvk.Kind == "ServiceAccount" {
		resource.Resource = "serviceaccounts"
		for _, o := range []*runtime.Object{&oldObject, &newObject} {
			typed := &corev1.ServiceAccount{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured((*o).(*unstructured.Unstructured).Object, typed); err != nil {
				return nil, false, err
			}
			*o = typed
		}
	}
	attributes := admission.NewAttributesRecord(newObject, oldObject, gvk, object.GetNamespace(), object.GetName(), resource, "", admission.Update, nil, false, &user.DefaultInfo{Name: by})
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: gvk, VersionedObject: newObject, VersionedOldObject: oldObject}
	ctx = p.compiler.CreateContext(ctx)
	match := p.matcher.Match(ctx, versioned, nil, nil)
	if match.Error != nil || !match.Matches {
		return object, false, match.Error
	}
	patched, err := p.patcher.Patch(ctx, patch.Request{
		MatchedResource: resource, VersionedAttributes: versioned,
		ObjectInterfaces: admission.NewObjectInterfacesFromScheme(clientgoscheme.Scheme),
	}, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return object, true, err
	}
	if u, ok := patched.(*unstructured.Unstructured); ok {
		return u, true, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(patched)
	return &unstructured.Unstructured{Object: content}, true, err
}
