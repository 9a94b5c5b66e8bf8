"""A model's config.json, wherever it can be had: its folder, the cache, what is known, the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.chat.hub_cache import cache_folder, snapshot
from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import token
from hpclaunch.predict.known_models import known_config
from hpclaunch.recipe.model_folder import read_config
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.schema import Model

HUB = "https://huggingface.co"
HUB_SECONDS = 5.0
"""How long the hub may take to answer."""
MOST_BYTES = 1_000_000
"""No model's config is longer."""


def model_config(
    model: Model, environment: Mapping[str, str], *, ask_hub: bool
) -> tuple[dict[str, Any] | None, str]:
    """Return a model's config, None where it cannot be had; and where it came from, or why not."""
    if is_local(model.name):
        folder = Path(model.name)
        try:
            return read_config(folder), str(folder / "config.json")
        except UserError as error:
            return None, str(error)
    kept = _cached(model, environment)
    if kept is not None:
        return _read(kept)
    known = known_config(model.name)
    if known is not None:
        return known, "its published figures"
    if not ask_hub or model.name.startswith("builtin:"):
        return None, f"the config of {model.name} is not here"
    return _from_hub(model, environment)


def beyond_positions(config: Mapping[str, Any], tokens: int) -> str | None:
    """Return what is not known where samples are longer than the positions that a model knows.

    `tokens`: of a sample at most. None where they are not, or the config does not say.
    """
    text = config.get("text_config") or config
    known = text.get("max_position_embeddings") or text.get("n_positions")
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if isinstance(rope, Mapping):  # the length that its factor stretches it to
        first, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
        if isinstance(first, int) and isinstance(factor, int | float) and isinstance(known, int):
            known = max(known, int(first * factor))
    if not isinstance(known, int) or tokens <= known:
        return None
    return (
        f"what the model makes of tokens beyond position {known:,} (its config's "
        f"max_position_embeddings): samples are up to {tokens:,}"
    )


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return None, f"{path} cannot be read: {type(error).__name__}"
    return (found, str(path)) if isinstance(found, dict) else (None, f"{path} is no mapping")


def _cached(model: Model, environment: Mapping[str, str]) -> Path | None:
    """Return the config of the model's revision in the hub's cache, or of the newest snapshot."""
    if model.revision:
        there = snapshot(model.name, model.revision, environment)
        return there / "config.json" if there and (there / "config.json").is_file() else None
    folder = cache_folder(environment) / f"models--{model.name.replace('/', '--')}" / "snapshots"
    try:
        found = sorted(folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return None
    return found[-1] if found else None


def _from_hub(model: Model, environment: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    # Only plan asks the hub: every submission would wait for these.
    import http.client
    import urllib.error
    import urllib.request

    base = environment.get("HF_ENDPOINT") or HUB
    address = f"{base}/{model.name}/resolve/{model.revision or 'main'}/config.json"
    if not address.startswith(("https://", "http://")):
        return None, f"HF_ENDPOINT {base} is no web address"
    request = urllib.request.Request(address)  # noqa: S310 - looked at above
    secret = token(environment)
    if secret:
        # Not sent on where the hub hands over to a storage of its own.
        request.add_unredirected_header("Authorization", f"Bearer {secret}")
    try:
        with urllib.request.urlopen(request, timeout=HUB_SECONDS) as answer:  # noqa: S310 - as above
            found = json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        return None, f"the hub answers {error.code} for the config of {model.name}"
    except (OSError, ValueError, http.client.HTTPException):
        return None, f"the hub cannot be reached for the config of {model.name}"
    return (found, address) if isinstance(found, dict) else (None, f"{address} is no mapping")
