"""Stage 1: what neighbours, numbers and the other side show of a key that its own words do not."""
