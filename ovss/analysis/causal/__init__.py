"""Causes, not correlations: what a part of the model does is seen by taking it out.

Words of this room
    part: a head, a block's attention or FFN, tokens or a channel of a hidden state.
    untouched: the pass of the model as it is.
    edit: what a pass changes; the model itself is never written to.
    exchange: a pass whose attention, or whose values, come from another image.
    contribution: what a head adds to the score of a patch; those of all heads and of the biases add up to it.
"""

from ovss.analysis.causal.ablation import ablate
from ovss.analysis.causal.contributions import head_scores
from ovss.analysis.causal.exchange import exchanged, followed_image
from ovss.analysis.causal.parts import Part, list_parts

__all__ = ["Part", "ablate", "exchanged", "followed_image", "head_scores", "list_parts"]
