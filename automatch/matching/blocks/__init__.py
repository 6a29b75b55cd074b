"""Stages 5, 6 and 8: two trees, whole blocks of one with whole blocks of the other, and what no block took."""
