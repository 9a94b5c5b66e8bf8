"""How a sharding divides the ranks of a job: into copies of the model, and shards of a copy."""

from __future__ import annotations

from hpclaunch.recipe.schema import Sharding


def shards_and_replicas(sharding: Sharding, nodes: int, per_node: int) -> tuple[int, int]:
    """Return the ranks that share one copy of the model, and the number of copies."""
    ranks = nodes * per_node
    replicas = {"full": 1, "grad": 1, "hybrid": nodes, "none": ranks}[sharding]
    return ranks // replicas, replicas
