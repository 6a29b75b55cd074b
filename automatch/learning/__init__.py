"""What values tell: the correspondence of a checkpoint and its conversion; hints where names and shapes are silent."""
