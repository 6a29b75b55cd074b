"""Stage 0: long lists of equal items are cut on both sides, matched short, and the answer is said of all items."""
