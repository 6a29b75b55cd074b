"""Matchers that answer the same cases, one file each; to add one, write the file and add its name here."""

from matchers import automatch_itself, detectron2, fuzzy, hungarian, lit_wsl, timm_order, weightbridge
from matchers.matcher import Matcher

MATCHERS: tuple[Matcher, ...] = (
    automatch_itself.MATCHER,
    weightbridge.MATCHER,
    lit_wsl.MATCHER,
    timm_order.MATCHER,
    detectron2.MATCHER,
    fuzzy.MATCHER,
    hungarian.MATCHER,
)
