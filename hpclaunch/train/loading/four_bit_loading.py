"""Loads a sharded model with 4-bit weights: quantized by its ranks, or as an earlier start kept it.

What is kept decides nothing but the time: both ways leave the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hpclaunch.train.loading import four_bit
from hpclaunch.train.loading.files import Deferred
from hpclaunch.train.loading.heap import freed_at_once
from hpclaunch.train.loading.reader import Reader, read_parts


class FourBitLoading:
    """One model's loading."""

    def __init__(self, reader: Reader, deferred: Deferred, log: Callable[[str], None]) -> None:
        """`log` gets what came of keeping."""
        self.how = ""
        """Where the weights came from, in words, if not from the model's files."""
        self._reader, self._deferred, self._log = reader, deferred, log
        self._kept: Any = None
        self._values: dict[str, Any] = {}

    @freed_at_once()
    def load(self, model: Any, *, cpu_offload: bool = False) -> None:
        """Give a sharded model with 4-bit weights the values that are still on meta. Collective.

        Raises UserError for files that are not whole.
        """
        source = self._reader
        files = self._find(model) if self._deferred.keep else None
        if files is None:
            quantized = four_bit.quantize_shards(model, source, cpu_offload=cpu_offload)
        else:
            source = Reader(replace(self._deferred, files=files))
            quantized = four_bit.read_shards(model, source, cpu_offload=cpu_offload)
            self.how = ", in 4 bits as an earlier start kept them"
        values = dict(quantized)
        rest = {
            name: parameter
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if name not in values and parameter.to_local().is_meta
        }
        values |= read_parts(rest, source, cpu_offload=cpu_offload)
        model.load_state_dict(values, strict=False, assign=True)
        self._values = {} if files else values

    @freed_at_once()
    def keep_weights(self, model: Any) -> None:
        """Keep what was quantized for later starts; where that fails, say why. Collective."""
        from hpclaunch.train.loading import kept_shards
        from hpclaunch.train.loading.kept_files import NotKeptError

        values, self._values = self._values, {}
        if self._kept is None or not values:
            return
        try:
            self._log(kept_shards.keep(self._kept, model, values, self._reader))
        except NotKeptError as error:
            self._log(f"4-bit weights are not kept: {error}")

    def _find(self, model: Any) -> list[str] | None:
        from hpclaunch.train.loading import kept_shards
        from hpclaunch.train.loading.kept_files import NotKeptError

        try:
            self._kept = kept_shards.find(model, self._deferred)
            return kept_shards.files_of(self._kept)
        except NotKeptError as error:
            self._log(f"4-bit weights are not kept: {error}")
            return None
