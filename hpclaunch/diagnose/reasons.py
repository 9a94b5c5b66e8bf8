"""Why Slurm lets a job wait, in words, with what can be done."""

from __future__ import annotations

import re
from shlex import quote

REASONS: tuple[tuple[str, str, str], ...] = (
    (r"Resources", "it is next, and waits for nodes to become free", ""),
    (r"Priority", "jobs of higher priority are before it", ""),
    (r"Dependency", "it waits for another job", ""),
    (r"DependencyNeverSatisfied", "the job it waits for failed: it will never start",
     "hpclaunch cancel {name}, and submit it again"),
    (r"JobArrayTaskLimit", "so many runs of its sweep are running as --parallel allows",
     "it starts when one of them ends"),
    (r"BeginTime", "it may not begin before its time: after a requeue Slurm waits two minutes", ""),
    (r"JobHeldUser", "it is held by you", "scontrol release {job}"),
    (r"JobHeldAdmin", "it is held by an administrator", "ask your site's support"),
    (r"JobHoldMaxRequeue|launch.failed.requeued.held|job_requeued_in_held_state",
     "Slurm could not start it, and holds it",
     "scontrol release {job}, or ask your site's support"),
    (r"ReqNodeNotAvail.*", "nodes it needs are down, reserved or about to be maintained",
     "a shorter --time may fit in before a maintenance: see scontrol show reservation"),
    (r"Nodes?_?required.*DOWN.*|NodeDown", "nodes it needs are down, or kept for jobs of higher "
     "priority", "sinfo -R says why nodes are down"),
    (r"PartitionTimeLimit", "its --time is over the partition's limit: it will not start",
     "see sinfo -o '%P %l', cancel it and ask for less --time; a training goes on by restarts"),
    (r"PartitionNodeLimit", "it asks for more nodes than the partition gives a job",
     "ask for fewer --nodes, or another --partition"),
    (r"PartitionDown|PartitionInactive", "the partition is closed",
     "another --partition: see sinfo"),
    (r"BadConstraints|.*[Nn]ode configuration.*not available.*", "no node has what it asks for",
     "see --gpu, --cpus, --mem against sinfo -N -o '%N %c %m %G %f'"),
    (r"InvalidAccount|AccountNotAllowed", "the account may not be used",
     "name another with --account"),
    (r"uid_\d+_not_in_group.*", "the partition is for members of other groups",
     "another --partition"),
    (r".*[Tt]opology.*", "no part of the network has enough free nodes close to each other",
     "it waits for some; with fewer --nodes, or without --switches, it may start sooner"),
    (r"Requested_nodes_are_busy|SchedDefer|MpiPortsBusy|NvidiaImexChannels|MaxPoweredUpNodes",
     "nodes, or what they need to start it, are busy", ""),
    (r"InvalidQOS|QOSNotAllowed", "the QOS may not be used here", "name another with --qos"),
    (r"ReservationDeleted|ReservationInvalid", "its reservation is gone: it will not start",
     "cancel it, and submit it again without --reservation, or with another"),
    (r"Reservation.*", "it waits for its reservation", ""),
    (r"Licenses", "it waits for licences", ""),
    (r"(?:QOS|Assoc)MaxJobs.*|QOSJobLimit|AssociationJobLimit|.*JobsLimit",
     "so many of your jobs are running as may run at once", "it starts when one of them ends"),
    (r".*MaxSubmit.*", "so many jobs are queued as you may queue", "wait for one to end"),
    (r"(?:QOS)?Max\w+RunMin(?:ute)?s\w*",
     "the time limits of your group's running jobs and of this one are more than may be reserved "
     "at once", "ask for less --time, or wait for others to end"),
    (r"(?:QOS)?Max\w+Per(?:User|Account)(?:Limit)?",
     "with this job you or your group would have more than may be in use at once",
     "it starts when others end, unless it asks for more than the limit alone: then ask for fewer "
     "--gpus or --nodes, or another --qos"),
    (r"(?:QOS|Assoc)Max(?:GRES|Gres).*", "it asks for more GPUs than one job may have",
     "ask for fewer --gpus or --nodes, or another --qos"),
    (r"(?:QOS|Assoc)Max(?:Cpu|CPU).*", "it asks for more cores than one job may have",
     "ask for fewer --cpus, or another --qos"),
    (r"(?:QOS|Assoc)MaxMem.*|MaxMemPer.*", "it asks for more memory than one job may have",
     "ask for less --mem"),
    (r"(?:QOS|Assoc)MaxNode.*", "it asks for more nodes than one job may have",
     "ask for fewer --nodes, or another --qos"),
    (r"(?:QOS|Assoc)MaxWall.*|QOSTimeLimit|AssociationTimeLimit",
     "its --time is over what the QOS or account allows", "ask for less --time"),
    (r"(?:QOS|Assoc)Grp(?:GRES|Gres)\w*Minutes.*|(?:QOS|Assoc)Grp\w*Minutes.*",
     "the group's budget is used up, or does not cover this job",
     "see sshare or your site's accounts; another --account"),
    (r"(?:QOS|Assoc)Grp(?:GRES|Gres)", "your group has as many GPUs as it may have at once",
     "it starts when others of the group end; another --account or --qos"),
    (r"(?:QOS|Assoc)Grp.*", "your group uses as much as it may at once",
     "it starts when others of the group end; another --account or --qos"),
    (r"(?:QOS|Assoc)Min.*", "it asks for less than the QOS is meant for", "another --qos"),
    (r"QOSUsageThreshold", "your fair share is used up for this QOS", "another --qos"),
    (r"QOS.*|Assoc.*|AccountingPolicy", "a limit of the QOS or account holds it",
     "see sacctmgr show qos and sacctmgr show assoc; another --qos or --account"),
    (r"Prolog.*|Cleaning|Stag.*|BurstBuffer.*", "its nodes are being made ready", ""),
    (r"FrontEndDown|SystemFailure|JobLaunchFailure", "Slurm itself has a fault",
     "ask your site's support"),
    (r"DeadLine", "it cannot end before its deadline", "cancel it, and submit it without one"),
)  # fmt: skip
"""Pattern of Slurm's word, what it means, what can be done; the first that fits counts."""

UNLISTED = "Slurm's documentation has a list of its reasons"


def explain(reason: str, name: str, job: str) -> tuple[str, str]:
    """Return what Slurm's reason means and what can be done ('' where nothing), for a job's run."""
    word = reason.strip().strip("()").partition(",")[0].replace(" ", "_")
    for pattern, meaning, step in REASONS:
        if re.fullmatch(pattern, word):
            return meaning, step.format(name=quote(name), job=job)
    return (UNLISTED if word else "Slurm does not say why"), ""
