"""What the methods share: attention kernels, Gaussian window, anomaly detectors, repair, aggregation, clusters.

Words used here:
    kernel: Which of q, k, v are compared, or another source of attention.
    anomaly: A patch token that differs from its neighbours by far; repair replaces it by their mean.
    aggregation: Patches replaced by weighted means of patches like them.
    region: Pixels that belong together; naming gives them one class.
"""

from ovss.ingredients.aggregation import aggregation_weights, cosine_map, keep_similar, similarity_attention
from ovss.ingredients.anomalies import (
    DETECTORS,
    cls_outliers,
    find_anomalies,
    kdist_scores,
    lof_scores,
    repair,
    squared_distances,
)
from ovss.ingredients.attention import (
    PAIRS,
    attend,
    attend_last,
    attend_middle,
    attend_neighbours,
    attention_map,
    balanced_attention,
    gaussian_window,
    key_attention,
    logit_bound,
    middle_attention,
    neighbourhood,
    patch_qkv,
    row_chunks,
    shared_attention,
    sharpest_heads,
    spread,
)
from ovss.ingredients.clusters import (
    DENOISERS,
    cluster,
    cluster_maps,
    clustering_parameters,
    denoise,
    self_correlation,
    smooth_maps,
)
from ovss.ingredients.coherence import (
    VOID,
    coherence_auc,
    coherent_attention,
    coherent_pairs,
    patch_labels,
    restrict_attention,
)
from ovss.ingredients.distraction import OPENAI_CHANNELS, Blur, redistribute
from ovss.ingredients.feedback import feedback_attention, first_labels
from ovss.ingredients.places import surroundings
from ovss.ingredients.regions import (
    NAMINGS,
    RegionMeans,
    RegionNaming,
    RegionVotes,
    WindowScores,
    find_regions,
    name_by_mean,
    name_by_vote,
)
from ovss.ingredients.registers import Register, find_register_neurons
from ovss.ingredients.window_stitcher import WindowStitcher

__all__ = [
    "DENOISERS",
    "DETECTORS",
    "NAMINGS",
    "OPENAI_CHANNELS",
    "PAIRS",
    "VOID",
    "Blur",
    "RegionMeans",
    "RegionNaming",
    "RegionVotes",
    "Register",
    "WindowScores",
    "WindowStitcher",
    "aggregation_weights",
    "attend",
    "attend_last",
    "attend_middle",
    "attend_neighbours",
    "attention_map",
    "balanced_attention",
    "cls_outliers",
    "cluster",
    "cluster_maps",
    "clustering_parameters",
    "coherence_auc",
    "coherent_attention",
    "coherent_pairs",
    "cosine_map",
    "denoise",
    "feedback_attention",
    "find_anomalies",
    "find_regions",
    "find_register_neurons",
    "first_labels",
    "gaussian_window",
    "kdist_scores",
    "keep_similar",
    "key_attention",
    "lof_scores",
    "logit_bound",
    "middle_attention",
    "name_by_mean",
    "name_by_vote",
    "neighbourhood",
    "patch_labels",
    "patch_qkv",
    "redistribute",
    "repair",
    "restrict_attention",
    "row_chunks",
    "self_correlation",
    "shared_attention",
    "sharpest_heads",
    "similarity_attention",
    "smooth_maps",
    "spread",
    "squared_distances",
    "surroundings",
]
