// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"fmt"
	"slices"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
)

// maxFindings is the number of findings of a Revision that are reported.
const maxFindings = 4

// Finding is why images of a Revision are not covered. Images with the same cause share one.
type Finding struct {
	Reason coverage.Reason
	// Image describes the first image, as part of a sentence.
	Image string
	// Cause is the fact, and Remedy what to do about it.
	Cause, Remedy string
	// References are the images, each once.
	References []string

	fact string
}

// Findings returns what is to be reported of a Revision, given the coverage of its images and
// of the queue-proxy's. newest is the name of the newest Revision: others are named. complete
// means that the Revision and its ServiceAccount list everything that is declared; otherwise a
// change is due that may add the credential.
//
// A verdict is reported if the reader certainly fails, or if a Secret is named that should
// serve and does not. If nothing matches an image, it may be public, or a node may have a
// credential of its own. So that is reported only after a registry rejected the image or a
// node could not pull it. Nothing says that a Secret which does not exist is for the
// queue-proxy.
func (r *Revision) Findings(results []coverage.Result, newest string, complete bool) []Finding {
	var all []Finding
	for i := range results {
		reader, verdict, found := r.reported(i, &results[i], complete)
		if !found {
			continue
		}
		result := &results[i]
		fact := verdict.Message()
		same := slices.IndexFunc(all, func(f Finding) bool { return f.Reason == verdict.Reason && f.fact == fact })
		if same >= 0 {
			if f := &all[same]; !slices.Contains(f.References, result.Reference) {
				f.References = append(f.References, result.Reference)
			}
			continue
		}
		if len(all) < maxFindings {
			all = append(all, Finding{
				Reason: verdict.Reason, Image: r.describe(&result.Image, newest), Remedy: verdict.Remedy(),
				Cause: fmt.Sprintf("is not covered for %s: %s", reader, fact), References: []string{result.Reference}, fact: fact,
			})
		}
	}
	return all
}

// reported returns the first verdict about the image at a position that is reported.
func (r *Revision) reported(i int, result *coverage.Result, complete bool) (dockerconfig.Reader, coverage.Verdict, bool) {
	evidence := [dockerconfig.Readers]Positions{dockerconfig.TagResolution: r.Rejected, dockerconfig.Kubelet: r.Unpulled}
	for reader := range dockerconfig.Readers {
		verdict := result.Verdicts[reader]
		switch verdict.Reason {
		case coverage.Covered, coverage.NotResolved, coverage.NotChecked:
			continue
		case coverage.NoMatch, coverage.NoPullSecrets:
			if !complete || i >= len(r.Template.Images) || !evidence[reader].Has(i) {
				continue
			}
		case coverage.Missing, coverage.NotGranted, coverage.WrongType:
			if result.Kind == coverage.QueueProxy {
				continue
			}
		}
		return reader, verdict, true
	}
	return 0, coverage.Verdict{}, false
}

// describe names an image of the Revision.
func (r *Revision) describe(image *coverage.Image, newest string) string {
	text := fmt.Sprintf("%s %s", image.Kind, annotation.Quote(image.Name))
	if image.Kind == coverage.QueueProxy {
		text = string(image.Kind)
	}
	if r.Name != newest {
		text = "Revision " + r.Name + ": " + text
	}
	return fmt.Sprintf("%s: image %s", text, annotation.Quote(image.Reference))
}
