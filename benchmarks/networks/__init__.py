"""Pairs of networks that two libraries implement alike; to add one, write a line in its family's file."""

from networks import convolutional, text, vision_transformers
from networks.network import Network, Pair, first

PAIRS: tuple[Pair, ...] = (*convolutional.PAIRS, *vision_transformers.PAIRS, *text.PAIRS)

__all__ = ["PAIRS", "Network", "Pair", "first"]
