"""A CPU job that fetches, tokenizes and packs, and the job with the GPUs that waits for it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from shlex import quote

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import JobFailed, UserError
from hpclaunch.launch.check import CheckData
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.start import Submitted, submit
from hpclaunch.render.job import Job
from hpclaunch.render.script import preamble
from hpclaunch.slurm import batch
from hpclaunch.slurm.rewritten import changed_by_site
from hpclaunch.slurm.submission import UNANSWERED, held_signals

CPUS, TIME = 4, "2:00:00"
"""CPU cores and time limit of the job, where its options do not say."""


def submit_behind(
    request: Request,
    drafted: Job,
    options: str,
    *,
    data: CheckData = check_data,
    variables: Mapping[str, str] = os.environ,
    on_submitted: Callable[[str], None] = lambda _: None,
) -> Submitted:
    """Submit the CPU job, then the drafted one to start after it.

    `options`: further options of sbatch for the CPU job, as typed; `on_submitted` is called with
    its number. Where the second is refused, the first is cancelled. Raises UserError and JobFailed
    as `submit`.
    """
    script, words = prepare_script(drafted), words_of(options)
    if not drafted.plan.site.internet:
        raise UserError(
            f"--prepare-job: nodes of site {drafted.plan.site.name} have no internet",
            "run hpclaunch prepare on the login node before",
        )
    try:
        with held_signals() as held:
            done = batch.sbatch(["--parsable", *words], drafted.plan.launch.cwd, script)
    except KeyboardInterrupt:
        raise JobFailed(f"--prepare-job: {UNANSWERED}", 130) from None
    number = done.stdout.strip().splitlines()[-1].partition(";")[0] if done.stdout.strip() else ""
    if done.returncode or not number.isdigit():
        raise UserError(
            f"--prepare-job: Slurm refuses the CPU job: {' '.join(done.stderr.split())}",
            'give its own options: --prepare-job="--partition=cpu --time=1:00:00"',
        )
    on_submitted(number)
    if held:
        batch.cancel(number)
        raise KeyboardInterrupt
    try:
        waits = f"afterok:{number}"
        before = request.resources.dependency
        resources = replace(request.resources, dependency=f"{before},{waits}" if before else waits)
        made = submit(draft(replace(request, resources=resources), variables), data=data)
    except JobFailed:
        raise  # Slurm may have the job
    except UserError:
        batch.cancel(number)
        raise
    typed = "\n".join([script, *(f"#SBATCH {word}" for word in words)])
    if changed := changed_by_site(typed, number):
        both = [f"the job that prepares: {changed}", made.changed]
        return replace(made, changed="; ".join(filter(None, both)))
    return made


def words_of(options: str) -> list[str]:
    """Return options of sbatch as words. Raises UserError for what is none."""
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise UserError(f"--prepare-job: {error}") from None
    for word in words:
        if not word.startswith("--") or "\n" in word:
            raise UserError(
                f"--prepare-job: {word!r} is no option of sbatch in one word",
                'write --prepare-job="--partition=cpu --time=1:00:00"',
            )
    return words


def prepare_script(job: Job) -> str:
    """Return the CPU job's batch script, with the drafted job's recipe in it."""
    launch = job.plan.launch
    account = [str(each) for each in job.plan.options if each.flag == "--account"]
    end = "END-OF-RECIPE"
    while end in job.recipe:
        end += "-"
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={launch.name}-prepare",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={CPUS}",
        f"#SBATCH --time={TIME}",
        f'#SBATCH --output="{launch.folder}-prepare-%j.out"',
        *(f"#SBATCH {option}" for option in account),
        "",
        f"# Fetches, tokenizes and packs for run {launch.name}, which waits for this job.",
        *preamble(job.plan),
        "folder=$(mktemp -d) || exit 1",
        "trap 'rm -rf \"$folder\"' EXIT",
        f"cat >\"$folder/recipe.yaml\" <<'{end}'",
        job.recipe.rstrip("\n"),
        end,
        'python -P -m hpclaunch.cli.main prepare "$folder/recipe.yaml" '
        f"--site {quote(job.plan.site.name)} --venv {quote(str(launch.python.path))}",
    ]
    return "\n".join(lines) + "\n"
