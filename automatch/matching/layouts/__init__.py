"""Stage 3: tensors that one side stores transposed, cut into heads or laid on each other, in the form of the other."""
