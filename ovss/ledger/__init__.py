"""The ledger: published numbers beside those measured here.

A *cell* is one published number: a method with an architecture and weights, under a protocol, on a data set, in one
measure. Its protocol is the one that its source really used, or "unknown" with the reason. The state of a cell is its
verdict:

- "within", "off": measured here, and the difference is inside or outside the tolerance;
- "not run": nothing was measured that is the same experiment;
- "no value": a number was published, but is not known here;
- "not comparable": no named protocol here reproduces what the source did, so nothing measured can be right or wrong.

`published.csv` holds the cells, `averages.csv` the averages that sources print and their ablations, `known.toml`
tolerances and recorded reasons. `support` says what a method had: TR-SF trained, TF-SF training-free and support-free,
TF-TA adapted to the target, OFF-SA with an offline support set.
"""

from ovss.ledger.averages import load_averages, recompute
from ovss.ledger.joining import VERDICTS, join, states, unexplained
from ovss.ledger.measured import load_results, protocol_ranks, tidy
from ovss.ledger.published import KEY, SUPPORT, load_published

__all__ = [
    "KEY",
    "SUPPORT",
    "VERDICTS",
    "join",
    "load_averages",
    "load_published",
    "load_results",
    "protocol_ranks",
    "recompute",
    "states",
    "tidy",
    "unexplained",
]
