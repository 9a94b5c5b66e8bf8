"""The plan of a job in one line where it is submitted; a job that cannot fit is refused."""

from __future__ import annotations

import os

from hpclaunch.errors import UserError
from hpclaunch.render.job import Job


def prediction(job: Job, *, force: bool) -> str | None:
    """Return lines on memory and time of a job on GPUs, what auto would bring, and full disks.

    Raises UserError if it does not fit.

    None on CPUs and for a program of the user's own. The hub is not queried before a submission.
    """
    from hpclaunch.cli.plan_text import short
    from hpclaunch.cli.plan_words import gain_text, verdict
    from hpclaunch.forecast.auto import auto_gain
    from hpclaunch.forecast.disk_space import space_problems
    from hpclaunch.forecast.forecast import predict
    from hpclaunch.forecast.model_config import beyond_positions
    from hpclaunch.recipe.causal import UnloadableModel

    try:
        made = predict(job.plan)
    except UnloadableModel:
        if not force:
            raise
        return "plan: unknown: the trainer cannot load this model"
    except UserError as error:
        return f"plan: unknown: {error.message}"
    if made is None:
        return None
    gain = auto_gain(made)
    if made.estimate.fits is False and not force:
        shorter = made.estimate.longest_sample_tokens
        fixes = (
            [f"training.max_length={shorter}"]
            if shorter and made.estimate.fits_host is not False
            else []
        )
        fixes += [" ".join(gain.arguments)] if gain else []
        fixes += ["hpclaunch plan --compare lists layouts that fit"]
        raise UserError(
            f"the plan {verdict(made.estimate)}",
            f"{', or '.join(fixes)}; --force submits it anyway",
        )
    seen = {**os.environ, **job.plan.site.environment}
    lines = [f"plan: {short(made)}"]
    beyond = beyond_positions(made.config, made.training.seq_len)
    lines += [f"unknown: {beyond}"] if beyond else []
    lines += [f"faster: {gain_text(gain)}"] if gain else []
    lines += [f"disk: {text}" for text in space_problems(made, seen, job.plan.launch.folder.parent)]
    return "\n".join(lines)
