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
    regions,
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
from ovss.ingredients.naming import RegionMeans, RegionVotes, WindowScores, name_by_mean, name_by_vote

__all__ = [
    "DENOISERS",
    "DETECTORS",
    "PAIRS",
    "VOID",
    "RegionMeans",
    "RegionVotes",
    "WindowScores",
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
    "patch_labels",
    "patch_qkv",
    "regions",
    "repair",
    "restrict_attention",
    "self_correlation",
    "similarity_attention",
    "smooth_maps",
    "squared_distances",
]
