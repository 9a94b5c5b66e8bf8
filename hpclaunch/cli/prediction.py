"""The plan of a job in one line where it is submitted; a job that cannot fit is refused."""

from __future__ import annotations

from hpclaunch.errors import UserError
from hpclaunch.render.job import Job


def prediction(job: Job, *, force: bool) -> str | None:
    """Return a line on memory and time of a job on GPUs. Raises UserError if it cannot fit.

    None on CPUs and for a program of the user's own. The hub is not queried before a submission.
    """
    from hpclaunch.cli.plan_text import short, verdict
    from hpclaunch.forecast.forecast import predict
    from hpclaunch.predict.model_types import UnloadableModel

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
    if made.estimate.never_fits and not force:
        raise UserError(
            f"the plan {verdict(made.estimate)}",
            "hpclaunch plan --compare lists layouts that fit; --force submits it anyway",
        )
    return f"plan: {short(made)}"
