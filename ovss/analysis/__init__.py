"""Measurements on `Tokens`: each returns a tidy frame (image, layer, head, measure, value) or an array; none draws.

Blocks and heads are numbered from 1, hidden states from 0 (the input of block 1) to L. Values are given per head
wherever a head has one; averaging is the caller's choice.

Words of this room
    tokens: one pass of the backbone; B images, N = h w patches, T = 1 + N tokens with CLS first, H heads.
    layer: in frames and parameters, the number of a block (from 1) or of a hidden state (from 0).
    truth: class of each patch (B, h, w), -1 where it has none.
    measure: the name of what was measured; a frame can hold several.
"""

from ovss.analysis import causal
from ovss.analysis.attention import (
    attention,
    attention_of,
    attention_statistics,
    between_patches,
    entropy,
    global_patches,
    global_statistics,
    mass_within,
    mean_distance,
    overlap,
    patch_distances,
    rollout,
    top_patches,
)
from ovss.analysis.borders import border_change, border_records
from ovss.analysis.channels import massive_channels
from ovss.analysis.coherence import (
    coherence,
    in_class_mass,
    in_class_statistics,
    neighbourhood,
    self_correlation_statistics,
    value_contamination,
)
from ovss.analysis.layers import (
    cka,
    cluster_patches,
    layer_miou,
    layer_read_out,
    linear_cka,
    pca_rgb,
    read_out_labels,
    stream_norms,
)
from ovss.analysis.mixing import method_attention
from ovss.analysis.outliers import anomaly_scores, anomaly_statistics
from ovss.analysis.quality import link_to_quality, mean_interval, rank_correlation, within_images
from ovss.analysis.reach import receptive_field, shift_energy
from ovss.analysis.sinks import sink_statistics, stationary
from ovss.ingredients import patch_labels

__all__ = [
    "anomaly_scores",
    "anomaly_statistics",
    "attention",
    "attention_of",
    "attention_statistics",
    "between_patches",
    "border_change",
    "border_records",
    "causal",
    "cka",
    "cluster_patches",
    "coherence",
    "entropy",
    "global_patches",
    "global_statistics",
    "in_class_mass",
    "in_class_statistics",
    "layer_miou",
    "layer_read_out",
    "linear_cka",
    "link_to_quality",
    "mass_within",
    "massive_channels",
    "mean_distance",
    "mean_interval",
    "method_attention",
    "neighbourhood",
    "overlap",
    "patch_distances",
    "patch_labels",
    "pca_rgb",
    "rank_correlation",
    "read_out_labels",
    "receptive_field",
    "rollout",
    "self_correlation_statistics",
    "shift_energy",
    "sink_statistics",
    "stationary",
    "stream_norms",
    "top_patches",
    "value_contamination",
    "within_images",
]
