"""Rules as something to paste elsewhere; a dialect sees rules only."""
