"""What a job will take, in a line where it is submitted; what cannot fit is refused."""

from __future__ import annotations

from hpclaunch.errors import UserError
from hpclaunch.render.job import Job


def prediction(job: Job, *, force: bool) -> str | None:
    """Return a line on memory and time of a job on GPUs. Raises UserError for what cannot fit.

    None on CPUs and of an own program. The hub is not asked before a submission.
    """
    from hpclaunch.cli.plan_text import short, verdict
    from hpclaunch.forecast.forecast import predict

    try:
        made = predict(job.plan)
    except UserError as error:
        return f"plan: unknown: {error.message}"
    if made is None:
        return None
    if made.estimate.never_fits and not force:
        raise UserError(
            f"the plan {verdict(made.estimate)}",
            "hpclaunch plan --compare shows what does; --force submits it all the same",
        )
    return f"plan: {short(made)}"
