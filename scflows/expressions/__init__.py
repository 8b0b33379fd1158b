"""Templates in a sandbox, conditions, comparison of values, and jq programs."""
