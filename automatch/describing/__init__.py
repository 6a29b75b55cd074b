"""Facts about one state_dict: path tokens, the module tree with its signatures, the lexicon (pure)."""
