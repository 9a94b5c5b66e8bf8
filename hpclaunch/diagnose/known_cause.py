"""What an entry of the registry of causes consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from hpclaunch.diagnose.phrases import Phrases
from hpclaunch.frozen import frozen


@frozen
class KnownCause:
    """One cause: its rule, what its lines look like, and how it relates to others."""

    kind: str
    """What a script goes by: `gpu-memory`, `time-limit`, `peer-lost`, ..."""
    rule: str = ""
    """Module and function within `diagnose/rules`: takes RunEvidence, returns Cause or None."""
    phrases: Mapping[str, Phrases] = field(default_factory=dict)
    """Phrases by the name that rules ask for them."""
    headline: str = ""
    """Of a cause that one line of the rank that failed first shows: it needs no rule."""
    steps: tuple[str, ...] = ()
    """The fix of such a cause; how to resume follows by itself."""
    decided: bool = False
    """It came from outside: what the ranks said before it is shown beside it."""
    general: bool = False
    """It is seen whenever a rank fails: beside a more precise one it adds nothing."""
    node_fault: bool = False
    """It may lie with the node; an exception, memory, a disk or the hub fail anywhere."""
    collateral: bool = False
    """A rank prints its phrases when a peer is dead or slow: it did not begin there."""

    @property
    def name(self) -> str:
        """The rule, or the kind of a cause without one: no two entries share it."""
        return self.rule or self.kind
