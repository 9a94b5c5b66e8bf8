"""A job log's lines: which node and which rank said it.

`srun --label` puts the node's number in front, torchrun's --tee the device and the local rank:
`2: [gpu1]: text`. Lines of the launcher itself carry the node alone, the script's own neither.
"""

from __future__ import annotations

import re

from hpclaunch.frozen import frozen

_NODE = re.compile(r" *([0-9]{1,5}):(?: (.*)|)", re.DOTALL)
# One space after the label is no part of the text; of more, all are: indented lines.
_RANK = re.compile(r"\[((?:gpu|cpu)([0-9]{1,3}))\]:(?: (?! ))?(.*)", re.DOTALL)


@frozen
class Line:
    """One line and who said it."""

    text: str
    node: int | None = None
    """Number of the node within the job; None for the batch script itself."""
    local_rank: int | None = None
    """Rank within the node; None for the launcher."""
    process: str = ""
    """What the local rank runs on, with its number: `gpu1`, `cpu0`."""

    def rank(self, per_node: int) -> int | None:
        """Return the global rank, where there is one."""
        if self.node is None or self.local_rank is None:
            return None
        return self.node * per_node + self.local_rank


def parse_line(raw: str) -> Line:
    """Take a raw line apart. Anything that carries no label is its own text."""
    raw = raw.rstrip("\r\n")
    node = _NODE.fullmatch(raw)
    if not node:
        return Line(raw)
    text = node.group(2) or ""
    rank = _RANK.fullmatch(text)
    if not rank:
        return Line(text, int(node.group(1)))
    return Line(rank.group(3), int(node.group(1)), int(rank.group(2)), rank.group(1))


def show(line: Line, nodes: int, names: tuple[str, ...] = (), per_node: int = 1) -> str:
    """Return a line for a person: who said it, then what.

    On a single node the launcher needs no label, nor does a rank that is alone (`per_node` is 1).
    """
    if line.node is None:
        return line.text
    if nodes == 1:
        alone = line.local_rank is None or (per_node == 1 and line.local_rank == 0)
        return line.text if alone else f"{line.process} | {line.text}"
    where = names[line.node] if line.node < len(names) else f"node {line.node}"
    return f"{where} {line.process:<4} | {line.text}"
