// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"reflect"
	"testing"
)

func TestRegistriesBesideAKubeconfig(t *testing.T) {
	l := layout{dir: t.TempDir()}
	if found, err := readRegistries(l); found != nil || err != nil {
		t.Errorf("without a file got %v, %v, want none", found, err)
	}
	written := &Registries{
		Main:  &Registry{Host: "172.18.0.3:5000", URL: "http://172.18.0.3:5000", Password: "one"},
		Other: &Registry{Host: "172.18.0.4:5000", URL: "http://172.18.0.4:5000", Password: "two"},
	}
	if err := written.write(l); err != nil {
		t.Fatal(err)
	}
	if found, err := readRegistries(l); err != nil || !reflect.DeepEqual(found, written) {
		t.Errorf("registries are %v, %v, want %v", found, err, written)
	}
	for _, mistake := range []string{"{", "{}", `{"main": {"host": "172.18.0.3:5000"}}`} {
		if err := writeFile(l.registries(), []byte(mistake), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := readRegistries(l); err == nil {
			t.Errorf("%s parsed as %v, want an error", mistake, found)
		}
	}
}

func TestWhatClustersOffer(t *testing.T) {
	private := &Registries{Main: &Registry{}, Other: &Registry{}}
	withHub := &Registries{Main: &Registry{}, Other: &Registry{}, Hub: &Registry{}}
	for name, test := range map[string]struct {
		env  Env
		want map[Capability]bool
	}{
		"local": {
			Env{Kind: Local, Processes: &localProcesses{}, Audit: &AuditLog{}, Registries: private},
			map[Capability]bool{
				ProgramControl: true, ProcessControl: true, RequestCounts: true, LoopbackCalls: true,
				RevisionOutcomes: true, PrivateRegistries: true,
			},
		},
		"kind": {
			Env{Kind: Existing, Processes: &deployments{}, Audit: &AuditLog{}, Registries: withHub},
			map[Capability]bool{ProgramControl: true, RequestCounts: true, PrivateRegistries: true, Pulls: true, DockerHub: true},
		},
		"another one":              {Env{Kind: Existing}, nil},
		"another, with registries": {Env{Kind: Existing, Registries: private}, map[Capability]bool{PrivateRegistries: true, Pulls: true}},
	} {
		for _, c := range []Capability{
			ProgramControl, ProcessControl, RequestCounts, LoopbackCalls, RevisionOutcomes, PrivateRegistries, Pulls, DockerHub,
		} {
			if got := test.env.offers(c); got != test.want[c] {
				t.Errorf("cluster of kind %s offers %s: %t", name, c, got)
			}
		}
	}
}
