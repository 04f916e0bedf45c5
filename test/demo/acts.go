// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// act runs or checks one step of the demo.
type act func(ctx context.Context, d *demo) error

// kubectl prints a command, runs it and prints its output.
func kubectl(args ...string) act {
	return func(ctx context.Context, d *demo) error {
		fmt.Fprintf(d.out, "\n$ kubectl %s\n", quoted(args))
		output, err := d.kubectl(ctx, args...)
		fmt.Fprint(d.out, output)
		return err
	}
}

// plugin does the same with a command of the plugin.
func plugin(args ...string) act {
	return func(ctx context.Context, d *demo) error {
		fmt.Fprintf(d.out, "\n$ kn pullsecrets %s\n", quoted(args))
		output, err := d.run(ctx, "", pluginProgram, args...)
		fmt.Fprint(d.out, output)
		return err
	}
}

// kubectlWithRegistry does the same with a file that contains ${REGISTRY}, the host of the
// cluster's private registry.
func kubectlWithRegistry(file string, args ...string) act {
	return func(ctx context.Context, d *demo) error {
		fmt.Fprintf(d.out, "\n$ envsubst < %s%s | kubectl %s -f -\n", files, file, quoted(args))
		content, err := os.ReadFile(files + file)
		if err != nil {
			return err
		}
		manifest := strings.ReplaceAll(string(content), "${REGISTRY}", d.Registries.Main.Host)
		output, err := d.run(ctx, manifest, kubectlProgram, slices.Concat([]string{"kubectl"}, args, []string{"-f", "-"})...)
		fmt.Fprint(d.out, output)
		return err
	}
}

// account is the user name at the registry.
const account = "robot"

// setRegistryPassword lets the account read the images below shop/.
func setRegistryPassword(password string) act {
	return func(ctx context.Context, d *demo) error {
		fmt.Fprintf(d.out, "\n  The registry at $REGISTRY accepts the password %s of %s.\n", password, account)
		return d.Registries.Main.SetUser(ctx, account, password, "shop/")
	}
}

// pushImage pushes the image of the last Services.
func pushImage(ctx context.Context, d *demo) error {
	_, err := d.Registries.Main.Push(ctx, "shop/private", "v1")
	return err
}

var showServices = kubectl("get", "ksvc", "-n", namespace, "-o", "custom-columns-file="+files+"services.columns")

// showEvents prints the Events of the controller on an object.
func showEvents(object string) act {
	ours := fields.AndSelectors(
		fields.OneTermEqualSelector("involvedObject.name", object),
		fields.OneTermEqualSelector("source", "pullsecrets-controller"),
	)
	return kubectl("get", "events", "-n", namespace, "--field-selector", ours.String(), "-o", "custom-columns-file="+files+"events.columns")
}

// expectService expects a Service to have these pull secrets, separated by commas, and to
// be Ready with the Revision of that number.
func expectService(name, pullSecrets string, number int) act {
	revision := fmt.Sprintf("%s-%05d", name, number)
	expected := fmt.Sprintf("%s has the pull secrets [%s] and is Ready with Revision %s", name, pullSecrets, revision)
	return expect(expected, func(ctx context.Context, d *demo) (string, bool, error) {
		svc, err := d.Serving.ServingV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		var names []string
		for _, ref := range svc.Spec.Template.Spec.ImagePullSecrets {
			names = append(names, ref.Name)
		}
		secrets, latest := strings.Join(names, ","), svc.Status.LatestReadyRevisionName
		ready := svc.Status.ObservedGeneration == svc.Generation && svc.IsReady()
		seen := fmt.Sprintf("%s has the pull secrets [%s], its last Revision to be Ready is %q, Ready now: %t", name, secrets, latest, ready)
		return seen, ready && secrets == pullSecrets && latest == revision, nil
	})
}

// expectEvent expects an Event on an object of the demo whose message contains part.
func expectEvent(object, reason, part string) act {
	expected := fmt.Sprintf("an Event %s on %s says %q", reason, object, part)
	return expect(expected, func(ctx context.Context, d *demo) (string, bool, error) {
		list, err := d.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("involvedObject.name", object).String(),
		})
		if err != nil {
			return "", false, err
		}
		var seen []string
		for _, event := range list.Items {
			if event.Reason == reason && strings.Contains(event.Message, part) {
				return "", true, nil
			}
			seen = append(seen, event.Reason+": "+event.Message)
		}
		return fmt.Sprintf("Events %q", seen), false, nil
	})
}

// expectLedger expects a Service to have this ledger.
func expectLedger(name, ledger string) act {
	return expect("the ledger of "+name+" is "+ledger, func(ctx context.Context, d *demo) (string, bool, error) {
		svc, err := d.Serving.ServingV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		seen := svc.Annotations[pullsecrets.AddedAnnotation]
		return seen, seen == ledger, nil
	})
}

// expectPassword expects a pull secret of the namespace to contain this password of the
// account.
func expectPassword(secret, password string) act {
	auth := base64.StdEncoding.EncodeToString([]byte(account + ":" + password))
	return expect(fmt.Sprintf("Secret %s has the password %s", secret, password), func(ctx context.Context, d *demo) (string, bool, error) {
		found, err := d.Kube.CoreV1().Secrets(namespace).Get(ctx, secret, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return "another one", strings.Contains(string(found.Data[corev1.DockerConfigJsonKey]), auth), nil
	})
}

// expectCopies expects the ClusterPullSecret to be Ready with this number of copies, as
// "synced/selected".
func expectCopies(summary string) act {
	return expect(fmt.Sprintf("%s is Ready with %s copies", credential, summary), func(ctx context.Context, d *demo) (string, bool, error) {
		found, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, credential, metav1.GetOptions{})
		if err != nil || found.Status.Namespaces == nil {
			return "no status", false, err
		}
		seen := found.Status.Namespaces.Summary
		return seen, found.IsReady() && seen == summary, nil
	})
}

// expectCredential expects a reason of the condition CredentialAccepted; it is empty for True.
func expectCredential(reason string) act {
	return expect(fmt.Sprintf("%s has the condition CredentialAccepted with the reason %q", verified, reason), func(ctx context.Context, d *demo) (string, bool, error) {
		found, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, verified, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		condition := found.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted)
		if condition == nil {
			return "no such condition", false, nil
		}
		return fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message), condition.Reason == reason && condition.IsTrue() == (reason == ""), nil
	})
}

// expectFailure expects the first Revision of a Service to have failed, with part in its
// message.
func expectFailure(service, part string) act {
	return expect(fmt.Sprintf("Revision %s-00001 has failed with %q", service, part), func(ctx context.Context, d *demo) (string, bool, error) {
		found, err := d.Serving.ServingV1().Revisions(namespace).Get(ctx, service+"-00001", metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		condition := found.Status.GetCondition(servingv1.RevisionConditionReady)
		return condition.GetMessage(), condition.IsFalse() && strings.Contains(condition.GetMessage(), part), nil
	})
}

// expectRevisions expects exactly n Revisions.
func expectRevisions(n int) act {
	return expect(fmt.Sprintf("there are %d Revisions", n), func(ctx context.Context, d *demo) (string, bool, error) {
		list, err := d.Serving.ServingV1().Revisions(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%d Revisions", len(list.Items)), len(list.Items) == n, nil
	})
}

// waitForAccount waits until Kubernetes has created the ServiceAccount that the next
// step changes.
func waitForAccount(ctx context.Context, d *demo) error {
	return wait(ctx, d, "the namespace has its default ServiceAccount", func(ctx context.Context, d *demo) (string, bool, error) {
		_, err := d.Kube.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return "", err == nil, err
	})
}

// look returns what is seen, and whether that is what was expected.
type look func(ctx context.Context, d *demo) (seen string, as bool, err error)

// expect waits until the state is as expected, and prints it.
func expect(expected string, look look) act {
	return func(ctx context.Context, d *demo) error {
		if err := wait(ctx, d, expected, look); err != nil {
			return err
		}
		fmt.Fprintln(d.out, "  ok:", expected)
		return nil
	}
}

func wait(ctx context.Context, d *demo, expected string, look look) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := "nothing"
	for {
		seen, as, err := look(ctx, d)
		switch {
		case as:
			return nil
		case err == nil:
			last = seen
		case ctx.Err() == nil:
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("\n  expected: %s\n  found:    %s", expected, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
