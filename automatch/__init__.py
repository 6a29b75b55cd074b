"""automatch: finds out why a PyTorch state_dict does not fit, and the rules that make it fit."""

__version__ = "0.1.0"
