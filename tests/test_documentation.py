"""Every command of the pages is run, or, where it would start a job, run dry."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hpclaunch.pipeline.order import waits_for
from hpclaunch.pipeline.schema import read_pipeline
from hpclaunch.run.evaluations import Evaluation, Score, write_evaluation
from hpclaunch.run.folder import RunFolder
from hpclaunch.site.load import load_site
from monitors.exports.export import export as write_export
from tests.cli.running import ROOT, Home
from tests.monitors import traces
from tests.pages import blocks, lines
from tests.stages.folders import write_adapter

STAGES = ("best", "eval", "merge", "generate", "quantize", "publish")
STARTS = ("sbatch", "srun", "local", "preflight", *STAGES)
EVALUATED = (
    "evaluate.every=checkpoint",
    "evaluate.tasks=[hellaswag]",
    "checkpoints.best=hellaswag",
)
GROUPS = ("pipeline", "sweep")
PROFILES = ("extends:", "# ~/.config/hpclaunch/sites/")
"""How a site profile on a page begins."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home such as the pages assume: a saved token, files of questions, runs."""
    folder = tmp_path_factory.mktemp("documented")
    home = Home(folder, {"HPCLAUNCH_RUNS_DIR": str(folder / "runs")})
    token = folder / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("saved")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples/own-data/questions.jsonl", folder / "questions.jsonl")
    assert home.call("recipes", "cp", "llama3-8b-lora", "mine.yaml").code == 0
    assert home.call("sbatch", "tiny", "--no-submit", "--name", "my-lora", *EVALUATED).code == 0
    write_adapter(folder / "runs/my-lora/final")
    (folder / "runs/my-lora/checkpoints/step-5").mkdir(parents=True)
    scores = {"hellaswag": {"acc": Score(value=0.4), "acc_norm": Score(value=0.5)}}
    write_evaluation(
        RunFolder(folder / "runs/my-lora"),
        Evaluation(
            name="e", created=1.0, model="my-lora", checkpoint="step-5", tasks=("hellaswag",),
            scores=scores, higher_is_better={"hellaswag": {"acc": True, "acc_norm": True}},
        ),
    )  # fmt: skip
    for name in ("first", "own-data"):  # the latter is the newest
        assert home.call("sbatch", "tiny", "--no-submit", "--name", name).code == 0
        (folder / f"runs/{name}/logs/job-1.out").write_text("0: [gpu0]: step 1\n")
        (folder / f"runs/{name}/exit_code").write_text("0\n")
        traces.record(folder / f"runs/{name}/metrics", nodes=1, gpus=1, seconds=20)
    metrics = folder / "runs/own-data/metrics"
    shutil.copytree(metrics, folder / "rec")
    (folder / "prompts.txt").write_text("What is a node?\n")
    (folder / "train.py").write_text("print('trained')")
    for form, name in (("dmon", "dmon.txt"), ("vmstat", "vmstat.txt")):
        with (folder / name).open("w") as file:
            write_export(metrics, form, None, stream=file)
    return folder


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Home:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Home(tmp_path, {"HPCLAUNCH_RUNS_DIR": str(tmp_path / "runs")})


@pytest.mark.parametrize("line", lines("hpclaunch"))
def test_a_documented_command(home: Home, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if "cp" in words:
        (home.folder / "mine.yaml").unlink()
    if words[0] in STARTS:
        words = [word for word in words if word not in {"--dry-run", "--shell"}]
        words.insert(1, "--dry-run")
    if words[0] in GROUPS and "--dry-run" not in words:
        words.append("--dry-run")
    if words[0] in {"rehearse", "fetch", "prepare"}:  # the model is on the hub, which no test asks
        home = Home(home.folder, home.variables | {"HF_HUB_OFFLINE": "1"})
        # A rehearsal goes no further than to there: the whole way is in tests/cli/test_rehearse.py.
        words += ["model.name=meta-llama/Meta-Llama-3-8B"] * (words[0] == "rehearse")
    if words[0] == "adopt":  # another's folder stands there
        words[1:2] = ["runs/first", "--name", "adopted"]
    done = home.call(*words)
    if words[0] == "rehearse":
        assert done.out.startswith("ok    plan")
    elif words[0] in {"fetch", "prepare"}:
        assert "HF_HUB_OFFLINE is set in this shell" in done.err, "its words are understood"
    elif words[0] == "resume":  # the run of this home is done
        assert "own-data is done" in done.err
    elif "--serve" in words:
        assert "own-data is over: done" in done.err
    else:
        assert done.code == 0, done.err
        assert words[0] != "report" or done.out.partition("\n")[0].endswith("."), "a verdict"
    if words[0] in STARTS:
        assert done.out.startswith("#!/bin/bash")


@pytest.mark.parametrize("line", lines("make"))
def test_a_documented_make_target(line: str) -> None:
    words = shlex.split(line, comments=True)
    done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documented_site_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "hpclaunch/sites"
    folder.mkdir(parents=True)
    profiles = [block for block in blocks("yaml") if block.text.startswith(PROFILES)]
    assert len(profiles) == 3
    for number, block in enumerate(profiles):
        (folder / f"mine-{number}.yaml").write_text(block.text)
        site = load_site(f"mine-{number}")
        assert site.account or site.gpus


def test_the_documented_parts_of_recipes(home: Home) -> None:
    others = (*PROFILES, "# chain.yaml")
    parts = [block for block in blocks("yaml") if not block.text.startswith(others)]
    assert len(parts) >= 4
    questions = (home.folder / "questions.jsonl").read_text()
    for name in ("held-out.jsonl", "ours.jsonl"):
        (home.folder / name).write_text(questions)
    (home.folder / "sums.jsonl").write_text('{"prompt": "What is 1 + 5?", "solution": "6"}\n')
    (page,) = (block for block in blocks("python") if block.text.startswith("def correct("))
    rewards = (
        f"{page.text}\n\ndef short(completions, **kwargs):\n    return [0.0] * len(completions)\n"
    )
    (home.folder / "rewards.py").write_text(rewards)
    table = pyarrow.table({"text": ["a page", "another", "a third", "a fourth"]})
    pyarrow.parquet.write_table(table, home.folder / "pages.parquet")
    base = "name: part\nmodel: {name: builtin:tiny-llama}\n"
    for block in parts:
        rows = "sums.jsonl" if "objective: grpo" in block.text else "questions.jsonl"
        data = "" if "\ndata:" in f"\n{block.text}" else f"data: {{name: {rows}}}\n"
        (home.folder / "part.yaml").write_text(base + data + block.text)
        done = home.call("recipes", "validate", "part.yaml")
        lacks = "is on, but the package" in done.err  # a tracker that is not installed here
        assert done.code == 0 or lacks, f"{block.page}: {done.err}"


def test_the_documented_pipelines(tmp_path: Path) -> None:
    files = [block for block in blocks("yaml") if block.text.startswith("# chain.yaml")]
    assert files
    for block in files:
        (tmp_path / "chain.yaml").write_text(block.text)
        spec, document, _ = read_pipeline(tmp_path / "chain.yaml")
        assert list(waits_for(spec, document, tmp_path)) == list(spec.stages)


def test_the_python_example_needs_what_is_exported() -> None:
    import hpclaunch

    (block,) = [b for b in blocks("python") if "from hpclaunch import" in b.text]
    (names,) = re.findall(r"from hpclaunch import (.+)", block.text)
    assert set(names.split(", ")) <= set(hpclaunch.__all__)
    for name in hpclaunch.__all__:
        assert getattr(hpclaunch, name)
        assert f"`{name}`" in (ROOT / block.page).read_text()


@pytest.mark.parametrize("number", range(3))
def test_the_documented_ways_to_read_parquet(prepared: Path, tmp_path: Path, number: int) -> None:
    programs = [b.text for b in blocks("python") if "parquet" in b.text]
    assert len(programs) == 3
    write_export(prepared / "rec", "parquet", tmp_path / "exported")
    command = [sys.executable, "-c", programs[number]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "power_w" in done.stdout and "n1" in done.stdout


def test_the_opening_commands_are_the_two() -> None:
    opening = next(block for block in blocks("bash") if block.page == "README.md")
    assert [line.split("#")[0].strip() for line in opening.text.splitlines()] == [
        "make demo",
        "make test",
    ]
