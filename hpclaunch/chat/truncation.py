"""How many samples lose their answer to `max_length`, and the length that would keep them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen

KEPT = 0.99
"""Share of the samples that the suggested length keeps whole."""


MAX_LENGTH, MAX_PROMPT_LENGTH = "training.max_length", "method.grpo.max_prompt_length"
"""Keys of a recipe that say how long a sample, or a prompt that the model answers, may be."""


@frozen
class Truncation:
    """What `max_length` cuts off, counted over `samples` of which `total` is the whole."""

    max_length: int | None
    samples: int
    lost: int = 0
    """Samples with no token to learn from within `max_length`."""
    cut: int = 0
    """Samples that lose some of what is learnt, and not all."""
    needed_length: int = 0
    """Tokens that keep all that is learnt of 99% of the samples."""
    field: str = MAX_LENGTH
    """The key of the recipe that cuts."""

    @property
    def nothing_left(self) -> bool:
        """Whether no sample has anything to learn."""
        return 0 < self.samples == self.lost

    def line(self, of: int | None = None) -> str | None:
        """Return it in words, None where nothing is cut. `of`: samples in all, if these are few."""
        if not self.lost and not self.cut:
            return None
        if self.field == MAX_PROMPT_LENGTH:
            return self._of_prompts(of)
        some = "" if of is None or of <= self.samples else f" looked at, of {of:,} in all,"
        parts = []
        if self.lost:
            parts.append(
                f"{self.lost:,} of {self.samples:,} samples{some} have no token to learn from "
                f"within {self.max_length:,}"
            )
        if self.cut and self.lost:
            parts.append(f"{self.cut:,} more lose a part of what is learnt")
        elif self.cut:
            parts.append(
                f"{self.cut:,} of {self.samples:,} samples{some} lose a part of what is learnt "
                f"beyond {self.max_length:,} tokens"
            )
        words = " and ".join(parts)
        return f"{words}; training.max_length={self.needed_length} keeps 99% whole"

    def _of_prompts(self, of: int | None) -> str:
        some = "" if of is None or of <= self.samples else f" looked at, of {of:,} in all,"
        return (
            f"{self.lost:,} of {self.samples:,} prompts{some} are longer than {self.max_length:,} "
            f"tokens and are left out; {self.field}={self.needed_length} keeps 99% of them"
        )


def truncation(
    spans: Sequence[tuple[int, int, int]],
    max_length: int | None,
    mode: str = "keep_start",
    field: str = MAX_LENGTH,
) -> Truncation:
    """Return what is lost of samples, each given as first learnt token, end of the last, length.

    `mode`: TRL's `truncation_mode`. `field`: the key of the recipe that says `max_length`. None as
    `max_length` cuts nothing.
    """
    samples = len(spans)
    if max_length is None or not samples:
        return Truncation(max_length, samples, field=field)
    lost = cut = 0
    needed = []
    for first_learnt, end_of_learnt, length in spans:
        first, end = first_learnt, end_of_learnt
        if mode == "keep_end":  # seen from the end
            first, end = length - end_of_learnt, length - first_learnt
        needed.append(end)
        lost += first >= max_length
        cut += first < max_length < end
    needed.sort()
    enough = needed[min(samples, math.ceil(KEPT * samples)) - 1]
    return Truncation(max_length, samples, lost, cut, enough, field)


def nothing_left(source: str, lost: Truncation) -> UserError:
    """Return the error of data of which nothing is learnt. `source`: the data's name."""
    if lost.field == MAX_PROMPT_LENGTH:
        return UserError(
            f"all {lost.samples:,} prompts of {source} are longer than {lost.max_length} tokens",
            f"raise {lost.field}: {lost.needed_length} keeps 99% of them",
        )
    return UserError(
        f"all {lost.samples:,} samples of {source} have no token to learn from within "
        f"max_length {lost.max_length}",
        f"raise training.max_length: {lost.needed_length} keeps 99% whole",
    )
