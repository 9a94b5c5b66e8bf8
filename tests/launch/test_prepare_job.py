"""`--prepare-job`: a CPU job with the run's recipe in it, and the run that waits for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch import prepare_job
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.render.job import Job
from hpclaunch.slurm import batch


@pytest.fixture
def request_and_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Request, Job]:
    (tmp_path / "cpu only").mkdir()
    monkeypatch.chdir(tmp_path)
    request = Request(
        recipe="llama3-8b-lora",
        overrides=("training.global_batch=32",),
        resources=Resources(gpus=4, gpu="h100", account="proj", dependency="afterok:5"),
        site="generic",
        name="r",
        runs_dir=tmp_path / "cpu only",
    )
    return request, draft(request, {})


def answering(
    monkeypatch: pytest.MonkeyPatch, out: str, code: int = 0
) -> list[tuple[list[str], str]]:
    asked: list[tuple[list[str], str]] = []

    def sbatch(words: list[str], _cwd: Path, text: str) -> subprocess.CompletedProcess[str]:
        asked.append((words, text))
        return subprocess.CompletedProcess(words, code, out, "no such partition")

    monkeypatch.setattr(batch, "sbatch", sbatch)
    return asked


def test_the_run_waits_for_the_cpu_job(
    request_and_job: tuple[Request, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, "77;cluster\n")
    seen: list[Any] = []
    monkeypatch.setattr(prepare_job, "submit", lambda job, data: seen.append(job))
    prepare_job.submit_behind(*request_and_job, "--partition=cpu", variables={})
    ((words, text),) = asked
    assert words == ["--parsable", "--partition=cpu"]
    assert "--dependency=afterok:5,afterok:77" in seen[0].script
    assert seen[0].recipe == request_and_job[1].recipe
    assert "gpus" not in "".join(line for line in text.splitlines() if line.startswith("#SBATCH"))
    assert "#SBATCH --account=proj" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_its_script_hands_over_the_very_recipe(
    request_and_job: tuple[Request, Job], tmp_path: Path
) -> None:
    job = request_and_job[1]
    text = prepare_job.prepare_script(job)
    before, marker, rest = text.partition("folder=$(mktemp")
    kept = rest.partition("python -P")[0]
    script = f'{marker}{kept}cp "$folder/recipe.yaml" {tmp_path}/seen.yaml\n'
    assert "python" not in before.replace("/bin/python", "")
    subprocess.run(["bash", "-c", script], check=True)
    assert (tmp_path / "seen.yaml").read_text("utf-8") == job.recipe


def test_a_refused_run_takes_its_cpu_job_back(
    request_and_job: tuple[Request, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "77\n")

    def refuse(job: Job, data: Any) -> None:
        raise UserError("Slurm refuses this job: account")

    cancelled: list[str] = []
    monkeypatch.setattr(prepare_job, "submit", refuse)
    monkeypatch.setattr(batch, "cancel", cancelled.append)
    with pytest.raises(UserError, match="account"):
        prepare_job.submit_behind(*request_and_job, "", variables={})
    assert cancelled == ["77"]


def test_what_slurm_refuses_is_said(
    request_and_job: tuple[Request, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "", 1)
    with pytest.raises(UserError, match="no such partition"):
        prepare_job.submit_behind(*request_and_job, "--partition=x", variables={})


@pytest.mark.parametrize("options", ["cpu", "-p cpu", "'", "--comment='a\nb'"])
def test_only_options_of_sbatch_are_taken(options: str) -> None:
    with pytest.raises(UserError, match="--prepare-job"):
        prepare_job.words_of(options)
