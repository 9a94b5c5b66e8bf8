"""What a submission plugin made of a job, by what scontrol and sinfo say of it: stand-ins."""

from __future__ import annotations

import pytest

from hpclaunch.slurm.rewritten import changed_by_site
from tests.slurm.stand_ins import Commands

ASKED = "#!/bin/bash\n#SBATCH --time=2:00:00\n#SBATCH --nodes=2\n#SBATCH --partition=gpu\n"
NO_PARTITION = ASKED.replace("#SBATCH --partition=gpu\n", "")


def held(**more: str) -> str:
    fields = {"JobId": "7", "Partition": "gpu", "TimeLimit": "02:00:00", "NumNodes": "2-2"} | more
    return " ".join(f"{name}={value}" for name, value in fields.items())


@pytest.mark.parametrize(
    ("script", "row", "told"),
    [
        (ASKED, held(), ""),
        (ASKED, held(TimeLimit="00:30:00"), "time limit 00:30:00, 2:00:00 was requested"),
        (ASKED, held(Partition="long"), "partition long, gpu was requested"),
        (ASKED.replace("=gpu", "=gpu,long"), held(Partition="long"), ""),
        (NO_PARTITION, held(), ""),
        (NO_PARTITION, held(Partition="long"), "partition long, not the default gpu"),
        # Of an array Slurm lists its tasks, the first of which may have a number of its own.
        (ASKED, held(JobId="8", ArrayJobId="7", NumNodes="1"), "nodes 1, 2 was requested"),
        (ASKED, held(JobId="8", NumNodes="1"), ""),  # of another job
    ],
)
def test_what_the_site_has_changed_is_told(
    commands: Commands, script: str, row: str, told: str
) -> None:
    commands(scontrol=f"echo '{row}'", sinfo="printf 'gpu*|64||gpu:4\\nlong|64||gpu:4\\n'")
    assert changed_by_site(script, "7").removeprefix("the site has changed the job: ") == told
