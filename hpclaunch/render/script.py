"""A Plan to the text of its script: for sbatch, for salloc, or for this machine. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache

import jinja2

from hpclaunch.errors import UserError
from hpclaunch.plan.neuron import PRECOMPILE, split_program
from hpclaunch.plan.plan import Plan
from hpclaunch.render.compiled import Compiled
from hpclaunch.run.stop_timing import SIGNAL_BEFORE_END_SECONDS, TEST_RUN
from hpclaunch.shipped import shipped

# Held against the whole text: a '$' would let a line break pass at the end.
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:/-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUFFIX = re.compile(r"[A-Za-z0-9_.-]*")
_HEADER = re.compile(r"[A-Za-z0-9_.,:;@+/*=|&!<>()\[\]-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.,:@+/%=-]+")
_PYTHON_SUFFIXES = (".py",)
_PROGRAM_WIDTH = 110
"""Characters of a line that holds the words of the user's own program."""


def script(plan: Plan) -> str:
    """Return the whole script. The user's own strings are in it only as quoted words.

    Raises UserError for a site profile whose module or variable names are no names.
    """
    site, launch, stage = plan.site, plan.launch, plan.launch.stage
    for name, value in plan.environment:
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"site {site.name}: environment: {name!r} is not a variable's name")
        _check_words(f"the value of {name}", value)
    _check_words("the command", *launch.command, *launch.program, str(launch.cwd))
    if not _SUFFIX.fullmatch(site.address_suffix):
        raise UserError(f"site {site.name}: address_suffix {site.address_suffix!r} is no host name")
    accelerate = stage is None or stage.parallel
    return _template().render(
        slurm=launch.mode != "local",
        options=list(_header(plan)),
        timed=any(option.flag == "--time" for option in plan.options),
        output=header_value(f"{launch.folder}/logs/job-%j.out"),
        title=_comment(_title(plan)),
        version=launch.version,
        command=_comment(shlex.join(launch.command)),
        run=shlex.quote(str(launch.folder)),
        cwd=shlex.quote(str(launch.cwd)),
        modules={"names": _modules(plan), "setup": plan.site.setup},
        activation=_activation(plan) + (" || exit 1" if launch.python.kind == "venv" else ""),
        python=shlex.quote(str(launch.python.path)),
        environment=[(name, shlex.quote(value)) for name, value in plan.environment],
        torchrun=plan.neuron,
        precompile=f"{PRECOMPILE} " if plan.neuron and split_program(launch.program)[0] else "",
        nccl=plan.device == "gpu"
        and not plan.neuron
        and "NCCL_DEBUG" not in dict(plan.environment),
        address_suffix=site.address_suffix,
        internet=site.internet,
        port=plan.resources.port,
        builtin=plan.builtin_trainer,
        safe_path=plan.builtin_trainer or _is_own_module(plan.launch.program),
        restarts=plan.restarts,
        test_run=launch.test_run,
        stop_text=TEST_RUN,
        notify=plan.recipe.notify.webhook,
        signal_seconds=SIGNAL_BEFORE_END_SECONDS,
        nodes=plan.nodes,
        part=launch.part_of_allocation or plan.server_nodes > 0,
        served=plan.server_nodes,
        server_minutes=plan.recipe.method.grpo.server.start_minutes,
        per_node=plan.processes_per_node,
        processes=plan.processes if accelerate else plan.nodes,
        accelerate=accelerate,
        sampled=stage is None or stage.sampled,
        cpus=plan.cpus_per_node,
        device=plan.device,
        interval=f"{plan.recipe.monitoring.interval:g}",
        program=_program(plan),
    )


@cache
def _template() -> jinja2.Template:
    """Load the template. No autoescape: this is bash, and every foreign word is quoted above."""
    folder = shipped("render", "templates")
    environment = jinja2.Environment(  # noqa: S701 - bash, no HTML
        loader=jinja2.FileSystemLoader(folder),
        bytecode_cache=Compiled(folder / "__pycache__"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Jinja's own comments begin with what bash writes for a length: ${#word}
        comment_start_string="<%#",
        comment_end_string="#%>",
    )
    return environment.get_template("job.sbatch.j2")


def _check_words(what: str, *words: str) -> None:
    """Refuse bytes that no argument and no script can hold. Raises UserError."""
    for word in words:
        if "\0" in word or any("\ud800" <= char <= "\udfff" for char in word):
            raise UserError(f"{what} holds bytes that are no text: {word!r}")


def _header(plan: Plan) -> Iterator[str]:
    """Return the #SBATCH lines, reasons aligned. Literals only: Slurm expands no variables here.

    The user's values were checked before; a site profile's are checked here.
    """
    for option in plan.options:
        if option.value is not None and not _HEADER.fullmatch(option.value):
            raise UserError(
                f"site {plan.site.name}: {option.flag} {option.value!r} does not fit a header",
                "leave out spaces, quotes and the like",
            )
        line = f"#SBATCH {option}"
        yield f"{line:<34} # {option.why}" if option.why else line


def header_value(value: str) -> str:
    """Quote a value that is not plain; Launch.check refused what quotes cannot hold.

    Without quotes Slurm takes a space for the end, and '#' for the start of a comment.
    """
    return value if _PLAIN.fullmatch(value) else f'"{value}"'


def _title(plan: Plan) -> str:
    """Return in a line what the script does."""
    what = plan.recipe.name if plan.builtin_trainer else shlex.join(plan.launch.program)
    if plan.launch.stage:
        what = f"stage {plan.launch.stage.name} (see stage.json)"
    kind = plan.resources.gpu or ("CPU processes" if plan.device == "cpu" else "GPUs")
    nodes = "1 node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    return f"{what} on {nodes} x {plan.processes_per_node} {kind}, site {plan.site.name}"


def _comment(text: str) -> str:
    """Make a text safe as the rest of a comment line: nothing in it can end the line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def preamble(plan: Plan) -> list[str]:
    """Return the shell lines that load the site's modules and the Python environment.

    Raises UserError for a module name that is none.
    """
    loads = [f"module load {name}" for name in _modules(plan)]
    return [*loads, *plan.site.setup, _activation(plan)]


def _modules(plan: Plan) -> list[str]:
    """Return the names of the modules to load, the site's first."""
    names = [*plan.site.modules, *plan.launch.modules]
    for name in names:
        if not _MODULE.fullmatch(name):
            raise UserError(f"module name {name!r} is not plain", "write it as 'module load' does")
    return names


def _activation(plan: Plan) -> str:
    """Return the line by which the job gets its Python."""
    python = plan.launch.python
    path = shlex.quote(str(python.path))
    if python.kind == "venv":
        return f"source {path}/bin/activate"
    return f'export PATH={path}/bin:"$PATH"'


def _is_own_module(program: Sequence[str]) -> bool:
    """Return whether a program is a module of this package, as `preflight` runs one."""
    return program[:1] == ("-m",) and program[1:2] != () and program[1].startswith("hpclaunch.")


def _program(plan: Plan) -> list[str]:
    """Return what accelerate launches in place of the trainer: quoted words, wrapped into lines."""
    words = list(split_program(plan.launch.program)[1])
    if not words:
        return []
    if words[0].startswith("-") and (words[0] != "-m" or len(words) == 1):
        raise UserError(
            f"{shlex.join(words)!r} names no program",
            "write -- train.py ..., -- -m module ... or -- program ...",
        )
    quoted = [shlex.quote(word) for word in words]
    if words[0] != "-m" and not words[0].endswith(_PYTHON_SUFFIXES):
        # Not Python: accelerate would otherwise hand it to the interpreter.
        quoted.insert(0, "--no_python")
    lines = [quoted[0]]
    for word in quoted[1:]:
        joined = f"{lines[-1]} {word}"
        if len(joined) <= _PROGRAM_WIDTH:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
