"""Stage 7: the modules of two blocks that correspond are put together: an assignment by the sum of evidence."""
