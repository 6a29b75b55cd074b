"""Stage 9: looks at the pairs as a whole, which put right or flag what no single block could see."""
