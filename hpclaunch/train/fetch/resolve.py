"""Names whose kind nobody said: asked of the hub."""

from __future__ import annotations

from hpclaunch.errors import UserError
from hpclaunch.train.fetch.listing import KERNELS, Item, Kind
from hpclaunch.train.hub import explain


def kind_of(name: str, revision: str | None) -> Kind:
    """Return whether a name is a model, a dataset or a kernel. Raises UserError.

    A name that is both is refused: which is meant is not known.
    """
    if name.startswith(KERNELS):
        return "kernel"
    found: dict[Kind, str] = {}
    refused: UserError | None = None
    kinds: tuple[Kind, ...] = ("model", "dataset")
    for kind in kinds:
        try:
            found[kind] = _ask(Item(kind, name, revision))
        except UserError as error:
            if "is not on the hub" not in error.message:
                refused = refused or error
    if len(found) == 2:
        raise UserError(
            f"the hub has a model and a dataset called {name}",
            f"write models/{name} or datasets/{name}",
        )
    if found:
        return next(iter(found))
    if refused is not None:
        raise refused
    raise UserError(f"no recipe, task, model or dataset called {name}", "see its name")


def _ask(item: Item) -> str:
    """Return a repository's commit. Raises UserError."""
    from huggingface_hub import HfApi

    with explain(item.kind, item.name):
        info = HfApi().repo_info(item.name, repo_type=item.repo_type, revision=item.revision)
    return str(info.sha)
