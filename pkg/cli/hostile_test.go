// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/explain"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// hostile has what acts in a terminal, and what could start a line of a report.
const hostile = "g\x1b[2J\u009b2J\u202e\u2066\u2028\U000e0041\x7f\r\nerror Forged: it\tx"

// No output has characters of a tenant that act in a terminal, or a line that it forged.
func TestHostileText(t *testing.T) {
	w := newWorld()
	w.kube = append(w.kube, fixture.Namespace("team-x"))
	svc := fixture.Service("team-x", "evil", fixture.WithPullSecrets("ghcr", hostile), fixture.WithConfigurationsReady(corev1.ConditionFalse))
	svc.Spec.Template.Spec.Containers[0].Name = hostile
	svc.Status.LatestCreatedRevisionName = hostile
	svc.Status.Conditions[0].Message = hostile
	w.serving = append(w.serving, svc)
	for _, args := range [][]string{
		{"explain", "evil", "-n", "team-x"}, {"explain", "evil", "-n", "team-x", "-o", "wide"}, {"status", "-A"}, {"plan", "-A", "--secrets", "ghcr"},
		{"explain", "evil", "-n", "team-x", "-o", "json"}, {"explain", "evil", "-n", "team-x", "-o", "yaml"}, {"retry", "evil", "-n", "team-x"},
	} {
		r := w.run(t, "", args...)
		text := r.out + r.err
		if i := strings.IndexFunc(text, unprintable); i >= 0 || strings.Contains(text, "\nerror Forged") {
			t.Errorf("%v prints at %d:\n%q", args, i, text)
		}
		switch args[len(args)-1] {
		case "yaml", "json":
			raw, err := yaml.YAMLToJSON([]byte(r.out))
			if args[len(args)-1] == "json" {
				raw, err = []byte(r.out), nil
			}
			var d struct {
				Result struct{ PullSecrets []explain.EntryReport }
			}
			if err == nil {
				err = json.Unmarshal(raw, &d)
			}
			if err != nil || len(d.Result.PullSecrets) < 2 || d.Result.PullSecrets[1].Secret != hostile {
				t.Errorf("%v has lost the name: %v, %v", args, d, err)
			}
		}
	}
}

// Colors stay, and what is between them is plain.
func TestColors(t *testing.T) {
	var out strings.Builder
	p := &printer{out: &out, color: true}
	p.line("%s %s", p.paint(explain.Error), "\x1b[0mx")
	p.table([][]string{{"a\tb\x1b", "c"}})
	if got, want := out.String(), "\x1b[31merror\x1b[0m  [0mx\na b    c\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// A list with names that the client refuses, and a Service that cannot be read, hide no other
// Service from who reads all namespaces.
func TestHostileNamesHideNothing(t *testing.T) {
	w := newWorld()
	w.kube = append(w.kube, fixture.Namespace("team-x"))
	svc := fixture.Service("team-x", "evil", fixture.WithPullSecrets("a/b", ".", "..", "x%y", "UPPER", "a b"))
	svc.Spec.Template.Spec.ServiceAccountName = "c/d"
	w.serving = append(w.serving, svc)
	for _, args := range [][]string{{"status", "-A"}, {"plan", "-A"}, {"status", "-n", "team-x"}, {"explain", "evil", "-n", "team-x"}} {
		r := w.run(t, "", args...)
		if r.code > 1 || !strings.Contains(r.out, "evil") || args[1] == "-A" && !strings.Contains(r.out, "shop") {
			t.Errorf("%v: exit code %d: %s\n%s", args, r.code, r.err, r.out)
		}
		for _, action := range w.fakeKube.Actions() {
			if get, ok := action.(interface{ GetName() string }); ok && action.GetVerb() == "get" && get.GetName() != "" && !explain.IsName(get.GetName()) {
				t.Errorf("%v reads %q", args, get.GetName())
			}
		}
	}
}

// With all namespaces, an error about one Service is noted, and one about all is returned.
func TestEach(t *testing.T) {
	services := []servingv1.Service{*fixture.Service("a", "one"), *fixture.Service("b", "two")}
	for _, test := range []struct {
		namespace, fails string
		read, noted      int
		err              bool
	}{{"", "", 2, 0, false}, {"", "a", 1, 1, false}, {"", "ab", 0, 1, true}, {"a", "a", 0, 0, true}} {
		r, read := &reader{}, 0
		err := r.each(t.Context(), test.namespace, services, func(svc *servingv1.Service) error {
			if strings.Contains(test.fails, svc.Namespace) && test.fails != "" {
				return errors.New("broken\x1b")
			}
			read++
			return nil
		})
		if (err != nil) != test.err || read != test.read || len(r.unread) != test.noted {
			t.Errorf("%+v: read %d, noted %v, error %v", test, read, r.unread, err)
		}
	}
}
