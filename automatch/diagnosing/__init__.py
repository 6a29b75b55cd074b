"""Both specs, the assignment and the rules: what happened, why, and the verdict."""
