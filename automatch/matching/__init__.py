"""Matching: two `StateDictSpec` in, an `Assignment` out (pure: no file is read, no tensor library is needed)."""

from automatch.matching.engine import match

__all__ = ["match"]
