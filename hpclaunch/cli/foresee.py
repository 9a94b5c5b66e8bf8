"""What a job will take, in a line where it is submitted; what cannot fit is refused."""

from __future__ import annotations

import os

from hpclaunch.errors import UserError
from hpclaunch.render.job import Job


def foresee(job: Job, *, force: bool) -> str | None:
    """Give a line on memory and time of a job on GPUs. Raises UserError for what cannot fit.

    None where the model's shape is not known here: the hub is not asked before a submission.
    """
    plan = job.plan
    if plan.device != "gpu" or not plan.builtin_trainer:
        return None
    from hpclaunch.cli.plan_text import short, verdict
    from hpclaunch.cluster.forecast import Question, forecast

    per_node = plan.processes_per_node
    question = Question(plan.recipe, plan.site, plan.nodes, per_node, plan.resources.gpu)
    try:
        made = forecast(question, os.environ, ask_hub=False)
    except UserError:
        return None
    if made.estimate.never and not force:
        raise UserError(
            f"the plan {verdict(made.estimate)}",
            "hpclaunch plan --compare shows what does; --force submits it all the same",
        )
    return f"plan: {short(made)}"
