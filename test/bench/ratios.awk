# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the output of "go test -bench". After a benchmark whose name differs from an
# earlier one only in numbers, it adds the ratio of their times: how the cost of one event
# grows with the size of the cluster.
{ print; fflush() }
/^Benchmark.* ns\/op/ {
	key = $1
	sub(/-[0-9]+$/, "", key)
	name = key
	gsub(/[0-9]+/, "#", key)
	if (key in last)
		printf "  %s takes %.2f times as long as %s\n", name, $3 / last[key], names[key]
	last[key] = $3
	names[key] = name
}
