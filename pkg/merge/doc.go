// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package merge computes what an imagePullSecrets list becomes. It is pure, and it is the
only place where that is decided: the webhook and the reconcilers call it, so that none of
them reverts what another one did.

# Terms

A list is the names of spec.template.spec.imagePullSecrets of a Knative Service, or of
imagePullSecrets of a ServiceAccount.

The [Ledger] is the annotation pullsecrets.dev/added. It records which entries of the list
were added by the controller or the webhook, and for what [Origin]. All other entries are
the user's own. So are entries of the ledger that another manager claims, because it owns
them by the rules of server-side apply or has them in kubectl's last-applied-configuration
(see [CurrentOf]): an entry that a user adds to a manifest later becomes the user's.

The ledger can be rebuilt. An entry of a Service that field manager pullsecrets alone owns
is ours even if no ledger has it, and gets its item again. An entry without owner and
without an item may be another webhook's, and is not changed.

The list of a ServiceAccount is atomic, so managedFields only record who owns all of it
(see [CurrentOfServiceAccount]). Which names a server-side apply wrote is known only in
its request, before ours are added, so the webhook decides it then (see [AppliedBy]). Our
next write of the list takes over ownership, and from then on the ledger is the only
record: a name that it lacks is the user's. Flux and Argo CD apply by force, which takes
the ownership back. kubectl's client-side apply leaves the last-applied-configuration,
which claims its names. An Update, as from OpenShift, writes what it has read, so it claims
nothing, and the names that it adds are in no ledger.

[Declared] is what should be in the list, in layers.

# The list of a Service

 1. the user's own entries, in the user's order
 2. the Service's secrets, in the order declared
 3. the Namespace's secrets, in the order declared
 4. ClusterPullSecrets with always.services, by name
 5. ClusterPullSecrets that cover an image (inject: auto), by name
 6. the ServiceAccount's own imagePullSecrets, if 1 is empty and 2 to 5 are not

Each name occurs once, with the origin of the first layer that has it. Layer 6 exists
because Kubernetes gives a Pod the pull secrets of its ServiceAccount only if the Pod has
none. Without it, the first entry that is added would remove the ServiceAccount's.

# Which change is made when

[Create] and [AdmitUpdate] answer an admission request. The user creates a Revision anyway,
so the complete list is due. [Reconcile] computes the list of a Service outside of a
request, where each change of the list creates a Revision that no user asked for. So it
adds what layers 2 to 4 lack, and removes only what the Service's own annotation no longer
declares. [ForServiceAccount] and [AdmitServiceAccount] compute the list of a
ServiceAccount, where a change creates no Revision.

# Laws

They hold for every input, including forged ledgers, and are fuzzed:

  - idempotent: merging a result again changes nothing;
  - the user's own entries keep their order, and none is ever removed;
  - an entry that is removed was in the ledger;
  - a result has no repeats and no empty names;
  - inputs are never changed;
  - a difference of order alone is never a change, unless the user made it;
  - if nothing changes, the result says so, and nothing is written.
*/
package merge
