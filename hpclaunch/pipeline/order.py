"""In which order the stages of a pipeline run, and what each waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from hpclaunch.document import Document
from hpclaunch.errors import UserError, nearest
from hpclaunch.pipeline.references import references
from hpclaunch.pipeline.schema import PipelineSpec, StageSpec, as_list


def waits_for(spec: PipelineSpec, document: Document, folder: Path) -> dict[str, tuple[str, ...]]:
    """Return for each stage those that it waits for, in an order in which they can run.

    `folder`: the file's, which relative paths count from. Raises UserError for a name that is no
    stage, for stages that wait for each other, and for an input that nothing makes.
    """
    makers = _makers(spec, document, folder)
    found: dict[str, tuple[str, ...]] = {}
    for name, stage in spec.stages.items():
        where = document.where(("stages", name))
        before = [_known(spec, document, name, each) for each in as_list(stage.after)]
        try:
            used = list(references([stage.set, stage.command, as_list(stage.inputs)]))
        except UserError as error:
            raise UserError(f"{where}: {name}: {error.message}", error.fix) from None
        for other, part in used:
            if other not in spec.stages:
                raise UserError(
                    f"{where}: {name} takes ${{{other}.{part}}}, and there is no stage '{other}'",
                    nearest(other, spec.stages),
                )
            before.append(other)
        before += [each for each in as_list(stage.of) if each in spec.stages]
        for path in _paths(stage):
            if maker := makers.get(absolute(path, folder)):
                before.append(maker)
        found[name] = tuple(dict.fromkeys(before))
        if name in found[name]:
            raise UserError(f"{where}: {name} waits for itself", "take it out of its inputs")
    ordered = _ordered(found, document)
    _check_inputs(spec, document, folder, makers)
    return {name: found[name] for name in ordered}


def _known(spec: PipelineSpec, document: Document, name: str, other: str) -> str:
    if other not in spec.stages:
        where = document.where(("stages", name, "after"))
        raise UserError(
            f"{where}: {name} is after '{other}', and there is no such stage",
            nearest(other, spec.stages),
        )
    return other


def _makers(spec: PipelineSpec, document: Document, folder: Path) -> dict[Path, str]:
    """Return which stage makes each output. Raises UserError for two that make the same."""
    makers: dict[Path, str] = {}
    for name, stage in spec.stages.items():
        for output in as_list(stage.outputs):
            path = absolute(output, folder)
            if path in makers:
                where = document.where(("stages", name, "outputs"))
                raise UserError(
                    f"{where}: {makers[path]} and {name} both make {output}", "rename one"
                )
            makers[path] = name
    return makers


def _paths(stage: StageSpec) -> list[str]:
    """Return what a stage names that may be the output of another: its inputs, and its data."""
    named = [stage.set.get(key) for key in ("data.name", "data.validation", "model.name")]
    sources = stage.set.get("data.sources")
    if isinstance(sources, list):
        named += [each.get("name") for each in sources if isinstance(each, dict)]
    return [*as_list(stage.inputs), *(each for each in named if isinstance(each, str))]


def _ordered(found: Mapping[str, Sequence[str]], document: Document) -> list[str]:
    sorter = TopologicalSorter(found)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        where = document.where(("stages", error.args[1][0]))
        raise UserError(f"{where}: stages wait for each other: {circle}", "leave one out") from None
    order: list[str] = []
    written = list(found)
    while sorter.is_active():
        # Those that can run at the same time stand as in the file.
        ready = sorted(sorter.get_ready(), key=written.index)
        order += ready
        sorter.done(*ready)
    return order


def _check_inputs(
    spec: PipelineSpec, document: Document, folder: Path, makers: Mapping[Path, str]
) -> None:
    """Refuse an input that is not there and that no stage makes. Raises UserError."""
    for name, stage in spec.stages.items():
        for text in as_list(stage.inputs):
            if "${" in text or absolute(text, folder) in makers:
                continue
            if not absolute(text, folder).exists():
                where = document.where(("stages", name, "inputs"))
                made = ", ".join(sorted(str(path) for path in makers))
                raise UserError(
                    f"{where}: {name} needs {text}, which is not there and which no stage makes",
                    f"stages make: {made}" if made else "name it among the outputs of one",
                )


def absolute(text: str, folder: Path) -> Path:
    """Return a path of the file as an absolute one. Raises UserError for what is no path."""
    try:
        return (folder / Path(text).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{text!r} is no path: {error}") from None


def ancestors(waits: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """Return every stage that must be done before one."""
    found: set[str] = set()
    left = list(waits[name])
    while left:
        other = left.pop()
        if other not in found:
            found.add(other)
            left += waits[other]
    return found
