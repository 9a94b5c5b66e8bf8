"""Parameters of the vision tower that some models load beside their text decoder.

Training is on text alone: the tower is loaded, sharded and saved, never run, and stays frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.predict.model_types import has_tower
from hpclaunch.predict.sizes import Sizes, UncountedModel


def tower_parameters(config: Mapping[str, Any], hidden_size: int, name: str) -> int:
    """Return the parameters of a model's tower and projector, 0 where it has none.

    `hidden_size`: the decoder's. Raises UncountedModel for a tower that is not counted here.
    """
    family = str(config.get("model_type", ""))
    if not has_tower(family):
        return 0
    vision = config.get("vision_config") or {}
    kind = vision.get("model_type", "siglip_vision_model") if isinstance(vision, Mapping) else None
    if family != "gemma3" or kind != "siglip_vision_model":
        raise UncountedModel(
            f"{name} has a tower beside its decoder ({family}), which cannot be counted here",
            "use plan --exact, which builds it without weights (needs hpclaunch[train])",
        )
    read = Sizes(vision, "siglip_vision_model", name)
    # Gemma 3's projector: one matrix, and the norm before it.
    projector = read("hidden_size") * (hidden_size + 1)
    return _siglip(read) + projector


def _siglip(read: Sizes) -> int:
    width, inner, patch = read("hidden_size"), read("intermediate_size"), read("patch_size")
    patches = (read("image_size") // patch) ** 2
    embeddings = read("num_channels") * patch**2 * width + width + patches * width
    attention = 4 * (width + 1) * width
    norm = 2 * width
    mlp = (width + 1) * inner + (inner + 1) * width
    layers = read("num_hidden_layers") * (attention + 2 * norm + mlp)
    # Its pooling head: a probe, an attention that takes it, a norm and an MLP.
    head = width + attention + norm + mlp if read.flag("vision_use_head") else 0
    return embeddings + layers + norm + head
