"""Stage 10: the pairs become an `Assignment`: keys, operations, confidence, flag and reason."""
