"""The GPU types of the catalogue by the names that drivers, Slurm and sites give them."""

from __future__ import annotations

import re

from hpclaunch.site.load import gpus

SIZE_TOLERANCE = 0.1
"""Share by which a name's gigabytes may differ from the catalogue's: a B200 is sold with 180 and
with 192 GB."""
_PART = re.compile(r"\bmig\b|\b\d+g\.\d+gb\b|-\d+[abcq]\b")
"""A part of a GPU: a MIG instance (`1g.5gb`), a vGPU's profile (`A10-8Q`)."""
_OTHER_MODELS = {"3e", "d", "laptop", "max", "mobile", "super", "ti"}
"""Words that make another model of a name: an H20-3e has more memory than an H20."""


def kind_named(name: str) -> str | None:
    """Return the GPU type by the name that the driver reports, None where none fits.

    `NVIDIA A100-SXM4-40GB` is an a100_40: every word of the kind stands in the name. Slurm's
    AutoDetect writes the same in small letters, with underscores: `nvidia_a100-sxm4-40gb`. A name
    with other gigabytes than the kind's is another model: `NVIDIA H100 64GB HBM2`.
    """
    words = words_of(name)
    fitting = [kind for kind in gpus() if words.issuperset(kind.split("_"))]
    # AMD's boards leave the letter out, where there is one model: `AMD Instinct MI325 OAM`.
    for word in words:
        models = [kind for kind in gpus() if re.fullmatch(rf"{word}[ax]", kind)]
        fitting += models if len(models) == 1 and re.fullmatch(r"mi\d+", word) else []
    kind = max(fitting, key=len, default=None)
    return kind if kind is not None and _is_of_that_size(kind, name) else None


def words_of(name: str) -> set[str]:
    """Return the words of a whole GPU's name in small letters, sizes without `GB`.

    Empty for a part of a GPU, and for a variant that the catalogue does not have.
    """
    plain = name.lower().replace("_", " ")
    words = set(re.findall(r"[0-9]+(?=gb?\b)|[0-9a-z]+", plain))
    return set() if _PART.search(plain) or words & _OTHER_MODELS else words


def _is_of_that_size(kind: str, name: str) -> bool:
    """Whether the gigabytes of a name are those of the kind.

    A superchip's are its CPU's (`GH200 480GB`), but for those of HBM.
    """
    superchip = r"\s*hbm" if kind.startswith(("gh", "gb")) else ""
    sizes = re.findall(rf"\b(\d+)gb?\b{superchip}", name.lower().replace("_", " "))
    memory = gpus()[kind].memory_gb
    return all(abs(int(size) - memory) <= SIZE_TOLERANCE * memory for size in sizes)
