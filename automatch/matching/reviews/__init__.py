"""Stage 9, second half: looks at the pairs as a whole, which put right or flag what no single block could see."""
