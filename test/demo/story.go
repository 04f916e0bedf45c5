// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "pullsecrets.dev/pkg/apis/pullsecrets"

// step is one step of the story.
type step struct {
	title string
	text  string
	acts  []act
}

// ledger selects the annotation that holds the ledger.
const ledger = `jsonpath={.metadata.annotations.pullsecrets\.dev/added}{"\n"}`

var story = []step{
	{
		title: "A team deploys from a private registry, and nobody thought of pull secrets",
		text: `Three Services: catalog and checkout are given by digest, cart by tag, and
checkout names a pull secret of its own. The ServiceAccount has one, too, which
the cluster's mirror needs.`,
		acts: []act{
			kubectl("create", "namespace", namespace),
			waitForAccount,
			kubectl("apply", "-n", namespace, "-f", files+"services.yaml"),
			expectService("catalog", "", 1),
			expectService("cart", "", 1),
			expectService("checkout", "partner", 1),
			showServices,
		},
	},
	{
		title: "The platform team declares a pull secret for the whole namespace",
		text: `One Secret, one annotation on the Namespace. Services by digest get a new
Revision with it, as that runs the same code. The tag of cart could mean other
code by now, so cart waits for its next change, and an Event says how to get it
at once.`,
		acts: []act{
			kubectl("create", "secret", "docker-registry", "ghcr", "-n", namespace,
				"--docker-server=ghcr.io", "--docker-username=robot", "--docker-password=not-a-real-one"),
			kubectl("annotate", "namespace", namespace, pullsecrets.SecretsAnnotation+"=ghcr"),
			expectService("catalog", "ghcr,mirror", 2),
			expectService("checkout", "partner,ghcr", 2),
			expectService("cart", "", 1),
			showServices,
			expectEvent("catalog", "SecretsAdded", "ghcr (namespace)"),
			expectEvent("cart", "BackfillDeferred", "ghcr (namespace)"),
			showEvents("catalog"),
			showEvents("cart"),
		},
	},
	{
		title: "Why is it there? The ledger tells",
		text: `The mirror's entry came along from the ServiceAccount: Kubernetes gives Pods the
ServiceAccount's pull secrets only while they name none themselves. The entry
that checkout had is not in its ledger: it is the team's own, and stays first.`,
		acts: []act{
			kubectl("get", "ksvc", "catalog", "-n", namespace, "-o", ledger),
			expectLedger("catalog", `{"ghcr":"namespace","mirror":"serviceaccount/default"}`),
			kubectl("get", "ksvc", "checkout", "-n", namespace, "-o", ledger),
			expectLedger("checkout", `{"ghcr":"namespace"}`),
		},
	},
	{
		title: "The owner of cart does not want to wait, and asks",
		acts: []act{
			kubectl("annotate", "ksvc", "cart", "-n", namespace, pullsecrets.InjectAnnotation+"=declared"),
			expectService("cart", "ghcr,mirror", 2),
			showServices,
		},
	},
	{
		title: "New Services have them from their first Revision on",
		text: `The webhook adds them in the request that creates the Service. And the manifests
of before, applied once more without any list, change nothing.`,
		acts: []act{
			kubectl("apply", "-n", namespace, "-f", files+"newcomer.yaml"),
			expectService("search", "ghcr,mirror", 1),
			kubectl("apply", "-n", namespace, "-f", files+"services.yaml"),
			expectService("catalog", "ghcr,mirror", 2),
			expectService("checkout", "partner,ghcr", 2),
			expectService("cart", "ghcr,mirror", 2),
			showServices,
		},
	},
	{
		title: "A typo is reported, and the good names work",
		text: `my_quay cannot be the name of a Secret. And quay can, but there is no such
Secret yet: the Services get the name all the same, so that the Secret may come
later without one more Revision.`,
		acts: []act{
			kubectl("annotate", "namespace", namespace, "--overwrite", pullsecrets.SecretsAnnotation+"=ghcr, my_quay, quay"),
			expectService("catalog", "ghcr,quay,mirror", 3),
			expectService("checkout", "partner,ghcr,quay", 3),
			expectService("cart", "ghcr,quay,mirror", 3),
			showServices,
			expectEvent(namespace, "InvalidAnnotation", "my_quay"),
			expectEvent("checkout", "SecretMissing", "quay"),
			showEvents(namespace),
			showEvents("checkout"),
		},
	},
	{
		title: "The platform team grants a credential for quay, and rotates it",
		text: `It is kept in one place, and every Namespace of the team gets a copy under the name
that its Services have by now. The copy follows its source.`,
		acts: []act{
			kubectl("create", "secret", "docker-registry", credential, "-n", pullsecrets.SourcesNamespace,
				"--docker-server=quay.io", "--docker-username=robot", "--docker-password=not-a-real-one"),
			kubectl("apply", "-f", files+"clusterpullsecret.yaml"),
			kubectl("label", "namespace", namespace, "demo.example.com/team=shop"),
			expectPassword("quay", "not-a-real-one"),
			expectCopies("1/1"),
			kubectl("get", "clusterpullsecrets.pullsecrets.dev", credential),
			kubectl("replace", "-f", files+"rotated.yaml"),
			expectPassword("quay", "another-one"),
		},
	},
	{
		title: "Each change was one Revision, and not one more",
		text:  "The Services had the name already, so neither the copy nor the new password made one.",
		acts: []act{
			kubectl("get", "revisions", "-n", namespace, "-o", "custom-columns-file="+files+"revisions.columns"),
			expectRevisions(10),
		},
	},
}
