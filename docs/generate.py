"""Write what is generated in the pages: `python docs/generate.py [--check]`.

docs/reference/: the command line's page comes from click, the others from the docstrings of the
fields that hold the values. README.md and docs/: a text block under `<!-- hpclaunch ... -->` is
replaced by what that command prints, and the table under `<!-- export formats -->` by that of the
formats. With --check nothing is written; pages that are not current
are named, and it exits 1.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from commands import commands_page
from schemas import GENERATED, ROOT, about, classes, fields, one_line, table

PAGES = ROOT / "docs" / "reference"


def recipe_page() -> str:
    """Return the page on recipes, from the schema, and the ready ones."""
    from hpclaunch.recipe import library
    from hpclaunch.recipe.families import published_models
    from hpclaunch.recipe.objectives import OBJECTIVES
    from hpclaunch.recipe.training import DEFAULTS, OWNED

    found = {**classes("hpclaunch/recipe/schema.py"), **classes("hpclaunch/recipe/data_section.py")}
    found |= classes("hpclaunch/recipe/reporting.py")
    names = {f.name: f.type for f in fields(found["Recipe"])}
    parts = [
        GENERATED.format("hpclaunch/recipe/schema.py") + "\n# Recipe\n",
        "A recipe is a YAML file that says what to train. `hpclaunch recipes cp NAME FILE` makes "
        "one to edit, `hpclaunch recipes validate FILE` checks it. Every key can also be set on "
        "the command line, as `training.learning_rate=2e-4`.\n",
        table(found["Recipe"], found),
    ]
    order = [(key, found[kind]) for key, kind in names.items() if kind in found]
    order.insert(order.index(("data", found["Data"])) + 1, ("data.sources", found["DataSource"]))
    order[order.index(("method", found["Method"])) + 1 : 0] = [
        ("method.lora", found["Lora"]),
        ("method.quantization", found["Quantization"]),
    ]
    order += [
        (f"tracking.{f.name}", found[f.type]) for f in fields(found["Tracking"]) if f.type in found
    ]
    parts += [f"\n## `{key}`\n\n{about(node)}\n\n{table(node, found)}" for key, node in order]
    parts.append(
        "\n## `training`\n\nAny field of the objective's TRL config, which has those of "
        "Transformers' `TrainingArguments`, by its own name; and `global_batch`, the rows of a "
        "step over all GPUs ([how](../guides/plan.md#the-same-training-on-other-gpus)). "
        "hpclaunch's own defaults:\n\n| key | default |\n|---|---|"
    )
    parts += [f"| `{key}` | `{value}` |" for key, value in DEFAULTS.items()]
    parts.append("| `learning_rate` | by objective and method, below |")
    parts.append(
        "\n| `method.objective` | learns | its fields | `learning_rate`, full | lora | qlora |\n"
        "|---|---|---|---|---|---|"
    )
    for objective, spec in OBJECTIVES.items():
        numbers = " | ".join(f"`{rate:g}`" for rate in spec.learning_rate.values())
        parts.append(f"| `{objective}` | {spec.summary} | TRL's {spec.config} | {numbers} |")
    parts.append(
        "\nhpclaunch sets some fields itself and refuses them:\n\n| key | instead |\n|---|---|"
    )
    parts += [f"| `{key}` | {one_line(text)} |" for key, text in OWNED.items()]
    parts.append("\n## Ready recipes\n\n| name | what it is |\n|---|---|")
    made = {name for model in published_models() for name in model.recipes}
    for name in library.names():
        if name not in made:
            text = yaml.safe_load(library.text(name)).get("description", "")
            parts.append(f"| `{name}` | {one_line(text)} |")
    for model in published_models():
        made_of_it = ", ".join(f"`{name}`" for name in model.recipes)
        gated = "; gated" if model.gated else ""
        parts.append(f"| {made_of_it} | {model.title}{model.suffix}, `{model.hub}`{gated} |")
    return "\n".join(parts) + "\n"


def site_page() -> str:
    """Return the page on site profiles, from the schema, and those that come along."""
    from hpclaunch.site.sbatch_options import SITE_NAMES, rows

    found = classes("hpclaunch/site/schema.py")
    parts = [
        GENERATED.format("hpclaunch/site/schema.py") + "\n# Site profile\n",
        "A site profile is a YAML file that says how a cluster is asked for nodes and GPUs. Yours "
        "go into `~/.config/hpclaunch/sites/NAME.yaml`. [Sites](../guides/sites.md) shows how to "
        "write one.\n",
        table(found["Site"]),
        *(
            f"| `{name}` | text | none | `{rows()[name].flag}` where the user gives none. |"
            for name in SITE_NAMES
        ),
        f"\n## `gpus`\n\n{about(found['GpuRequest'])}\n",
        table(found["GpuRequest"]),
        "\n## Profiles that come along\n\n| name | what it is |\n|---|---|",
    ]
    for path in sorted((ROOT / "hpclaunch/site/profiles").glob("*.yaml")):
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
        parts.append(f"| `{path.stem}` | {one_line(text['description'])} |")
    parts.append(
        "\n## GPU types\n\nFrom the makers' data sheets: dense rates; links one way.\n\n"
        "| `--gpu` | name | memory, GB | bf16, TFLOP/s | memory, GB/s | link, GB/s |\n"
        "|---|---|---|---|---|---|"
    )
    sheets = yaml.safe_load((ROOT / "hpclaunch/site/gpus.yaml").read_text(encoding="utf-8"))
    for name, gpu in sheets.items():
        values = (gpu.get(key, "none") for key in ("memory_gb", "bf16_tflops", "bandwidth_gb_s"))
        cells = " | ".join(map(str, (*values, gpu["link_gb_s"])))
        parts.append(f"| `{name}` | {gpu['name']} | {cells} |")
    from hpclaunch.site.sbatch_arguments import SET_BY_HPCLAUNCH

    parts.append(
        "\n## Options of sbatch\n\n`--sbatch-arg` passes on any option of sbatch, except those "
        "that hpclaunch sets itself:\n\n| option | instead |\n|---|---|"
    )
    parts += [f"| `{flag}` | {one_line(text)} |" for flag, text in SET_BY_HPCLAUNCH.items()]
    return "\n".join(parts) + "\n"


def run_folder_page() -> str:
    """Return the page on run folders: its paths, run.json's fields, the events."""
    parts = [
        GENERATED.format("hpclaunch/run/*.py") + "\n# Run folder\n",
        "One folder holds a run. All of it is plain text or safetensors, but for the packed "
        "[samples](samples.md). Files are appended to or renamed into place, so a reader sees a "
        "consistent state at any moment.\n\n| path | what it holds |\n|---|---|",
    ]
    (folder,) = (classes("hpclaunch/run/folder.py")[name] for name in ("RunFolder",))
    for item in folder.body:
        if isinstance(item, ast.FunctionDef) and (path := _path(item)):
            parts.append(f"| `{path}` | {one_line(ast.get_docstring(item) or '')} |")
    parts.append("\n## `run.json`\n\n| key | meaning |\n|---|---|")
    for field in fields(classes("hpclaunch/run/record.py")["Record"]):
        parts.append(f"| `{field.name}` | {field.text} |")
    tree = ast.parse((ROOT / "hpclaunch/run/events.py").read_text(encoding="utf-8"))
    text = (ast.get_docstring(tree) or "").replace(" |\n| |", "")
    parts.append(f"\n## `events.jsonl`\n\n{text}")
    return "\n".join(parts) + "\n"


def _path(function: ast.FunctionDef) -> str:
    """Return the path that a property of RunFolder stands for, under the run folder."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.BinOp):
        return ""
    text = ast.unparse(last.value).replace("self.root / ", "").replace("self.", "")
    text = text.replace("rank-{rank}", "rank-R").removeprefix("f")
    return text.replace(" / f", "/").replace(" / ", "/").replace("'", "")


def values_page() -> str:
    """Return the page on recorded values, from their declarations."""
    from monitors.samples.fields import GPU_METRICS, HOST_METRICS

    parts = [
        GENERATED.format("monitors/samples/*.py") + "\n# Recorded values\n",
        "What a node's sidecar samples. The unit stands at the end of a name, too. 1 MB is 10^6 "
        "bytes, 1 MiB is 2^20. A value that a node does not offer is left out, never recorded as "
        '0. Counters only grow; those marked "seldom" are read every few samples alone. How '
        "they lie on disk: [Recorded samples](samples.md).",
    ]
    for title, metrics in (("A GPU", GPU_METRICS), ("A node", HOST_METRICS)):
        parts.append(f"\n## {title}\n\n| name | unit | kind | meaning |\n|---|---|---|---|")
        for name, metric in metrics.items():
            kind = ("counter" if metric.counter else "gauge") + ", seldom" * metric.seldom
            parts.append(f"| `{name}` | {metric.unit} | {kind} | {one_line(metric.help)} |")
    records = classes("monitors/records.py")
    for name, title in (("GpuInfo", "A GPU, once"), ("OwnCost", "The sidecar itself")):
        text = about(records[name])
        rows = [f"| `{f.name}` | {f.text} |" for f in fields(records[name])]
        parts += [f"\n## {title}\n\n{text}\n\n| name | meaning |\n|---|---|", *rows]
    return "\n".join(parts) + "\n"


MAKERS = {
    "commands.md": commands_page,
    "recipe.md": recipe_page,
    "site.md": site_page,
    "run-folder.md": run_folder_page,
    "values.md": values_page,
}


SHOWN = re.compile(r"(<!-- hpclaunch ([^\n]*?) -->\n```text\n).*?(\n```)", re.S)


FORMATS_SHOWN = re.compile(r"(?<=<!-- export formats -->\n)(?:\|.*\n)+")


def with_outputs(text: str) -> str:
    """Return a page with the outputs of its commands as they are now."""
    text = FORMATS_SHOWN.sub(lambda _: formats_table(), text)
    return SHOWN.sub(lambda match: match[1] + output(match[2]) + match[3], text)


def formats_table() -> str:
    """Return the table of the formats that samples are exported to."""
    from monitors.exports.formats import FORMATS

    rows = [f"| `{name}` | {row.help} | {row.readers} |\n" for name, row in FORMATS.items()]
    return "".join(["| `--to` | what it writes | for |\n", "|---|---|---|\n", *rows])


def output(arguments: str) -> str:
    """Return what a command prints for a user without earlier runs, 100 columns wide."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "hpclaunch.cli.main", *shlex.split(arguments)],
            env=os.environ | {"HOME": home, "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout.rstrip()


def pages() -> Iterator[tuple[Path, str]]:
    """Yield every page that has generated parts, with its text as it should be."""
    for name, maker in MAKERS.items():
        yield PAGES / name, maker()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if SHOWN.search(text) or FORMATS_SHOWN.search(text):
            yield path, with_outputs(text)


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check name those that are not current; return the exit code."""
    code = 0
    for path, text in pages():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is not current: run `make docs`")
            code = 1
        else:
            path.write_text(text, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
