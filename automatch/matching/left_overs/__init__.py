"""Stage 9: what is left over, what serves twice, what is not there, and what is no match at all."""
