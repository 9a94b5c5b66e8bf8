"""`python -m hpclaunch.train.prepare RUN`: one process brings model and data onto the machine.

Errors end it here in one line, before any rank has started: a bad row, no access to a
model, a chat template that leaves nothing to learn from, a package that is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.document import parse, read_text
from hpclaunch.errors import UserError
from hpclaunch.recipe.attention import VARLEN
from hpclaunch.recipe.groups import of_one_process
from hpclaunch.recipe.levers import needed_packages
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.schema import Model, Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.failure import forget_failures, one_line
from hpclaunch.train.fetch.listing import UNWANTED, WANTED, no_safetensors
from hpclaunch.train.one_process import import_libraries, run_alone
from hpclaunch.train.process import run_program


def prepare(folder: RunFolder, recipe: Recipe) -> None:
    """Fetch or check model and data, and look at every row. Raises UserError."""
    from hpclaunch.recipe.parallel import check_model
    from hpclaunch.train import attention, mixture, model, packing, settings, template
    from hpclaunch.train.distributed import DistContext
    from hpclaunch.train.prepared import rows as prepared_rows
    from hpclaunch.train.prepared.kept import kept_rows

    device = device_of(folder)
    phases.begin(f"reading the tokenizer of {recipe.model.name}")
    where = model.source(recipe.model)
    config = model.load_config(where)
    check_model(recipe, config.to_dict())
    packed = packing.use_packing(recipe.training, config, recipe.objective)
    if recipe.model.attention == VARLEN:
        attention.attn_implementation(VARLEN, device, config, recipe.model.dtype, packed=packed)
    tokenizer, _ = model.load_tokenizer(where, recipe)
    chat = template.has_chat_template(tokenizer, recipe.training)
    phases.begin(f"reading {recipe.data.title}")
    kept = kept_rows(recipe, device)
    facts = None if kept is None else kept.facts(digests=True)
    rows = None
    if facts is None:
        rows = mixture.load_rows(recipe.data, recipe.objective, chat=chat, check=True)
        held_out = True if mixture.validates(rows) else None
        facts = {"messages": rows.messages, "validation_samples": held_out}
    alone = DistContext(rank=0, world_size=1, device="cpu", fsdp_version=0)
    arguments = settings.training_arguments(
        of_one_process(recipe),
        folder,
        alone,
        conversations=facts["messages"],
        has_eval_set=facts["validation_samples"] is not None,
        packing=packed,
    )
    if rows is not None:
        phases.begin(f"tokenizing {recipe.data.title}")
        tokenized, of_rows = mixture.tokenize(rows, recipe, tokenizer, arguments)
        facts = prepared_rows.facts_of(of_rows)
        if kept is not None:
            phases.begin(f"keeping the tokens of {recipe.data.title}")
            kept.write(prepared_rows.arrange(tokenized, of_rows, arguments))
    if kept is not None:
        kept.cache.accept(kept.key, kept.request)
        kept.point(folder)
    print(f"ready: {summary(recipe, facts)}{', tokenized before' if rows is None else ''}")


def prepare_from_cache(folder: RunFolder, recipe: Recipe) -> bool:
    """Return whether an earlier start has checked this recipe and left its rows in the cache.

    Imports none of the large libraries for a model on this machine. Raises UserError.
    """
    from hpclaunch.train import settings
    from hpclaunch.train.prepared.kept import kept_rows

    folder.prepared.unlink(missing_ok=True)
    device = device_of(folder)
    check_packages(recipe, device)
    check_storage(recipe, folder)
    settings.check_tracking(recipe)
    fetch(recipe.model)
    kept = kept_rows(recipe, device)
    if kept is None or not kept.cache.accepted(kept.key, kept.request):
        return False
    facts = kept.facts(digests=True)
    if facts is None:
        return False
    kept.point(folder)
    print(f"ready: {summary(recipe, facts)}, tokenized before")
    return True


def summary(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    """Return in words what is ready: the model, and the samples of the data."""
    samples, validation = facts["samples"], facts["validation_samples"]
    held_out = "" if validation is None else f", {validation:,} to validate on"
    return f"{recipe.model.name}; {recipe.data.title}, {samples:,} samples{held_out}"


def device_of(folder: RunFolder) -> str:
    """Return what the ranks will run on. This process may see no GPU where they do."""
    config = parse(read_text(folder.accelerate, "accelerate config"), folder.accelerate.name)
    return "cpu" if config.data.get("use_cpu") else "cuda"


def check_packages(recipe: Recipe, device: str) -> None:
    """Refuse a method or an attention kernel whose package is missing. Raises UserError."""
    import importlib.util

    from hpclaunch.train import attention

    if recipe.method.kind == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "method.kind: qlora needs the package bitsandbytes, which is not installed",
            "install hpclaunch[train] in the job's environment, or set method.kind: lora",
        )
    for package in needed_packages(recipe):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"the recipe's performance section needs the package {package}, which is not "
                "installed",
                "install hpclaunch[fast] in the job's environment",
            )
    attention.check_installed(recipe.model.attention, device)


def check_storage(recipe: Recipe, folder: RunFolder) -> None:
    """Check the address that checkpoints are copied to; training starts even if it does not answer.

    Raises UserError where a package is missing, or another run's copies lie there.
    """
    url = recipe.checkpoints.sync_to
    if url is None:
        return
    from hpclaunch.train.upload.remote import RemoteFolder, check_owner, run_url

    remote = RemoteFolder(run_url(url, folder))
    try:
        check_owner(folder, remote)
    except UserError:
        raise
    except Exception as error:  # whatever a storage's library raises
        print(f"hpclaunch: {remote.url} cannot be asked: {one_line(error)}", file=sys.stderr)


def fetch(model: Model) -> None:
    """Bring a hub model into the cache; offline, check that it is there. Raises UserError."""
    if model.name.startswith("builtin:") or is_local(model.name):
        return
    from huggingface_hub import snapshot_download

    from hpclaunch.train.hub import explain
    from hpclaunch.train.progress_bars import download_bar

    phases.begin(f"downloading {model.name}")
    with explain("model", model.name):
        path = snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
            tqdm_class=download_bar(model.name, model.revision, WANTED, UNWANTED),
        )
    if not any(Path(path).glob("*.safetensors")):
        raise no_safetensors(model.name)


def work(folder: RunFolder, recipe: Recipe) -> None:
    """Prepare a run, with the libraries imported where nothing was prepared before."""
    forget_failures(folder)
    if not prepare_from_cache(folder, recipe):
        import_libraries(recipe)
        from hpclaunch.train.progress_bars import report_progress_bars

        report_progress_bars()
        prepare(folder, recipe)
    phases.begin("starting the ranks")


def main(arguments: list[str]) -> int:
    """Prepare the run folder named by the one argument; return the exit code."""
    return run_alone("hpclaunch.train.prepare", arguments, work)


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
