"""Stage 2: what a file or a model holds beside the network: slots, second copies, masks, parts registered twice."""
