// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package merge decides what an imagePullSecrets list becomes. It is pure, and it
is the only place where that is decided: admission, reconcilers and tools call
it, so that none of them can undo what another one did.

# Words

A list is the names of spec.template.spec.imagePullSecrets of a Knative Service,
or of imagePullSecrets of a ServiceAccount.

The [Ledger] is the annotation pullsecrets.dev/added: which entries of the list
the product added, and from what [Origin]. Everything else in the list is the
user's own. So is what the ledger names but somebody else claims, that is, owns
by server-side apply's rules or keeps in kubectl's last-applied-configuration
(see [CurrentOf]): an entry that a user writes down later becomes theirs.

The ledger is a record that can be rebuilt. An entry of a Service that field manager
pullsecrets owns alone is ours although no ledger names it, and gets its item again. An
entry that nobody owns and no ledger names may be another webhook's, and is left alone.

The list of a ServiceAccount is atomic, so managedFields say only who owns all of it
(see [CurrentOfServiceAccount]). Which names a server-side apply wrote is known in its
own request alone, before ours are put beside them, so admission judges it then
(see [AppliedBy]). Our next write of the list takes over its ownership, and from then on
the ledger is the only record: a name that it lacks is the user's. Flux and Argo CD
apply by force, which takes the ownership back; kubectl's client-side apply leaves the
last-applied-configuration, which claims its names by itself; an Update, OpenShift's for
instance, writes what it has read, so it claims nothing, and what it adds is in no ledger.

[Declared] is what should be there, in layers.

# The list of a Service

 1. the user's own entries, in the user's order
 2. the Service's secrets, in the order declared
 3. the Namespace's secrets, in the order declared
 4. ClusterPullSecrets with always.services, by name
 5. ClusterPullSecrets that cover an image (inject: auto), by name
 6. the ServiceAccount's own imagePullSecrets, where 1 is empty and 2 to 5 are not

Each name stands once, with the origin of the first layer that has it. Layer 6
is there because Kubernetes gives a Pod the pull secrets of its ServiceAccount
only if the Pod names none: without it, the first entry that anybody injects
would take the ServiceAccount's away.

# Who may change what, and when

[Create], [Update] and [AdmitUpdate] answer an admission request: the user is making a Revision
anyway, so the full list is due. [Reconcile] looks at a Service that nobody is
changing, where each change of the list is a Revision that nobody asked for, so
it adds what layers 2 to 4 lack and takes away only what the Service's own
annotation no longer says. [ForServiceAccount] and [AdmitServiceAccount] keep
the list of a ServiceAccount, where a change makes no Revision.

# Laws

They hold for every input, forged ledgers included, and are tested as such:

  - idempotent: merging a result again changes nothing;
  - the user's own entries keep their order, and none is ever taken away;
  - what is taken away was in the ledger;
  - a result has no repeats and no empty names;
  - inputs are never changed;
  - a difference of order alone is never a change, unless the user made it;
  - where nothing changes, the result says so, and nothing need be written.
*/
package merge
