"""Rules as something to paste elsewhere: a dialect sees rules, and the keys that they were proven on."""
