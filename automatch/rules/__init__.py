"""From matches to an ordered list of regex rules, and the proof that they do what they say."""
