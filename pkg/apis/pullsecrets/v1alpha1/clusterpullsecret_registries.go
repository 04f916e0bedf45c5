// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"regexp"
	"strings"

	"knative.dev/pkg/apis"
)

const (
	// maxRegistries is the maximum number of spec.registries.
	maxRegistries = 64
	// maxRegistry is the maximum length of one of them.
	maxRegistry = 255
	// maxVerifyImages is the maximum number of spec.verify.images.
	maxVerifyImages = 16
	// maxVerifyImage is the maximum length of one of them.
	maxVerifyImage = 512
)

// registry is the grammar of spec.registries: a host and a path that images can have. The
// schema of the CRD has it too.
var registry = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$`)

// validateRegistries accepts registries under which both readers of pull Secrets find images.
func (s *ClusterPullSecretSpec) validateRegistries() (errs *apis.FieldError) {
	const path = "registries"
	if len(s.Registries) > maxRegistries {
		errs = errs.Also(apis.ErrInvalidValue(len(s.Registries), path, fmt.Sprintf("must have at most %d items", maxRegistries)))
	}
	seen := make(map[string]int, len(s.Registries))
	for i, item := range s.Registries {
		problem := problemWithRegistry(item)
		if first, repeated := seen[item]; repeated {
			problem = fmt.Sprintf("already listed at index %d", first)
		} else {
			seen[item] = i
		}
		if problem != "" {
			errs = errs.Also(apis.ErrInvalidValue(item, apis.CurrentField, problem).ViaFieldIndex(path, i))
		}
	}
	return errs
}

// problemWithRegistry returns what is wrong with an item of spec.registries, or an empty
// string.
func problemWithRegistry(item string) string {
	_, path, _ := strings.Cut(item, "/")
	version, _, _ := strings.Cut(path, "/")
	switch {
	case len(item) > maxRegistry:
		return fmt.Sprintf("must be no more than %d characters", maxRegistry)
	case strings.Contains(item, "://"):
		return "must have no scheme; expected host[:port][/path]"
	case strings.Contains(item, "*"):
		return "wildcards are not supported; expected host[:port][/path]"
	case strings.Contains(path, ":"), strings.Contains(path, "@"):
		return "must have no tag and no digest; expected host[:port][/path]"
	case !registry.MatchString(item):
		return "expected host[:port][/path] in lower case"
	case version == "v1", version == "v2":
		return "the path must not begin with " + version + ", which is the version of the registry's API"
	}
	return ""
}

// validate accepts what can be requested at a reasonable rate. Whether the source covers the
// images is reported in the status.
func (v *Verify) validate() (errs *apis.FieldError) {
	if v == nil {
		return nil
	}
	if len(v.Images) > maxVerifyImages {
		errs = errs.Also(apis.ErrInvalidValue(len(v.Images), "images", fmt.Sprintf("must have at most %d items", maxVerifyImages)))
	}
	seen := make(map[string]int, len(v.Images))
	for i, image := range v.Images {
		problem := ""
		first, repeated := seen[image]
		switch {
		case repeated:
			problem = fmt.Sprintf("already listed at index %d", first)
		case image == "", len(image) > maxVerifyImage, len(strings.Fields(image)) != 1, strings.Contains(image, "://"):
			problem = "expected an image, such as registry.example.com/acme/app:tag"
		}
		if !repeated {
			seen[image] = i
		}
		if problem != "" {
			errs = errs.Also(apis.ErrInvalidValue(image, apis.CurrentField, problem).ViaFieldIndex("images", i))
		}
	}
	if v.Interval != nil && v.Interval.Duration < MinVerifyInterval {
		errs = errs.Also(apis.ErrInvalidValue(v.Interval.Duration.String(), "interval", "must be at least "+MinVerifyInterval.String()))
	}
	return errs
}
