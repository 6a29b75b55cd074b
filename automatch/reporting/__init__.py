"""A comparison as text: what is said, how it is folded, how it is drawn."""
