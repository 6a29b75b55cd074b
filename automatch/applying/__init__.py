"""Rules on real tensors: the strict-load proof, a loaded model, a rewritten file. Nothing is left half done."""
