"""What the methods share: attention kernels, Gaussian window, anomaly detectors, repair, aggregation, clusters."""

from ovss.ingredients.aggregation import aggregation_weights, cosine_map, similarity_attention
from ovss.ingredients.anomalies import (
    DETECTORS,
    find_anomalies,
    kdist_scores,
    lof_scores,
    repair,
    squared_distances,
)
from ovss.ingredients.attention import (
    PAIRS,
    attend,
    attention_map,
    gaussian_window,
    logit_bound,
    middle_attention,
    patch_qkv,
)
from ovss.ingredients.clusters import (
    DENOISERS,
    cluster,
    cluster_maps,
    clustering_parameters,
    denoise,
    name_by_mean,
    name_by_vote,
    regions,
    self_correlation,
    smooth_maps,
)
from ovss.ingredients.coherence import (
    coherence_auc,
    coherent_attention,
    coherent_pairs,
    patch_classes,
    restrict_attention,
)

__all__ = [
    "DENOISERS",
    "DETECTORS",
    "PAIRS",
    "aggregation_weights",
    "attend",
    "attention_map",
    "cluster",
    "cluster_maps",
    "clustering_parameters",
    "coherence_auc",
    "coherent_attention",
    "coherent_pairs",
    "cosine_map",
    "denoise",
    "find_anomalies",
    "gaussian_window",
    "kdist_scores",
    "lof_scores",
    "logit_bound",
    "middle_attention",
    "name_by_mean",
    "name_by_vote",
    "patch_classes",
    "patch_qkv",
    "regions",
    "repair",
    "restrict_attention",
    "self_correlation",
    "similarity_attention",
    "smooth_maps",
    "squared_distances",
]
