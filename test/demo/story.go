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
		title: "A team deploys from a private registry, without pull secrets",
		text: `The images of catalog and checkout are given by digest, the image of cart by tag.
checkout lists a pull secret of its own. The ServiceAccount has one too, for the
mirror of the cluster.`,
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
		text: `One Secret and one annotation on the Namespace. Services by digest get a new
Revision, which runs the same image. The tag of cart may resolve to a new image by
now, so cart is deferred to its next change, and an Event says how to get it now.`,
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
		title: "Why is an entry there? See the ledger",
		text: `The entry mirror comes from the ServiceAccount: Kubernetes gives a Pod the pull
secrets of its ServiceAccount only if the Pod lists none itself. The entry partner
is not in the ledger of checkout: it is the team's own, and stays first.`,
		acts: []act{
			kubectl("get", "ksvc", "catalog", "-n", namespace, "-o", ledger),
			expectLedger("catalog", `{"ghcr":"namespace","mirror":"serviceaccount/default"}`),
			kubectl("get", "ksvc", "checkout", "-n", namespace, "-o", ledger),
			expectLedger("checkout", `{"ghcr":"namespace"}`),
		},
	},
	{
		title: "The owner of cart asks for it now",
		acts: []act{
			kubectl("annotate", "ksvc", "cart", "-n", namespace, pullsecrets.InjectAnnotation+"=declared"),
			expectService("cart", "ghcr,mirror", 2),
			showServices,
		},
	},
	{
		title: "New Services have the pull secrets from their first Revision",
		text: `The webhook adds them in the request that creates the Service. Applying the earlier
manifests again, which have no list, changes nothing.`,
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
		title: "An invalid name is reported, and the valid names are used",
		text: `my_quay is not a valid name of a Secret. quay is valid, but there is no such Secret
yet. The Services get the name now, so that creating the Secret later makes no
Revision.`,
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
		text: `The credential is kept in one place. Every Namespace of the team gets a copy, under
the name that its Services list already. The copy follows its source.`,
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
		title: "Each change made exactly one Revision",
		text:  "The Services listed the name already, so the copy and the new password made none.",
		acts: []act{
			kubectl("get", "revisions", "-n", namespace, "-o", "custom-columns-file="+files+"revisions.columns"),
			expectRevisions(10),
		},
	},
	{
		title: "The registry rejects a rotated credential, and the copies stay",
		text: `With spec.verify, the controller tries a changed credential out before it replaces
copies: it asks for an image as Knative does. A mistake in a rotation reaches no
namespace.`,
		acts: []act{
			pushImage,
			setRegistryPassword("first"),
			kubectlWithRegistry("registry.yaml", "apply"),
			kubectlWithRegistry("private.yaml", "apply", "-n", namespace),
			expectService("private", verified+",ghcr,quay,mirror", 1),
			expectCredential(""),
			kubectlWithRegistry("mistaken.yaml", "replace"),
			expectCredential("CredentialRejected"),
			kubectl("get", "clusterpullsecrets.pullsecrets.dev", verified),
			expectPassword(verified, "first"),
		},
	},
	{
		title: "A Service cannot be pulled: it is explained, corrected and retried",
		text: `This team has a Secret of its own, with a wrong password. The command line says what
the cause is. Knative would try again after seconds, and soon after many minutes. So
the failed Revision is deleted, and Knative builds it again at once.`,
		acts: []act{
			kubectlWithRegistry("own.yaml", "apply", "-n", namespace),
			expectFailure("own", "401 Unauthorized"),
			plugin("explain", "own", "-n", namespace, "--fail-on=never"),
			kubectlWithRegistry("corrected.yaml", "replace", "-n", namespace),
			plugin("retry", "own", "-n", namespace),
			expectService("own", "own,ghcr,quay,mirror", 1),
			plugin("status", "-n", namespace, "--fail-on=never"),
		},
	},
}
