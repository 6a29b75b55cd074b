"""What all stages speak of: tensors, modules, words, parts of something fused, evidence and what it is worth."""
