# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Passes on what "go test -bench" prints. Behind a benchmark whose name differs from an
# earlier one in numbers alone, it adds how much longer than that one it takes: how the
# cost of one event grows with what others have.
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
