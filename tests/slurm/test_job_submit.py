"""A site whose job_submit.lua refuses jobs: what its words become at each way to submission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings
from tests.slurm.user import User

pytestmark = pytest.mark.slurm

WORDS = "give a project with --account"
RULE = f"""
function slurm_job_submit(job, partitions, uid)
  if job.account == nil then
    slurm.log_user("{WORDS}")
    return slurm.ERROR
  end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""
SIZE = ("tiny", "--nodes", "1", "--cpu-processes", "1")


@pytest.fixture(scope="module")
def strict() -> Iterator[ThrowawayCluster]:
    need_slurm()
    with ThrowawayCluster(Settings(nodes=1, job_submit=RULE)) as cluster:
        yield cluster


def test_a_refused_job_is_refused_in_the_sites_own_words(
    strict: ThrowawayCluster, tmp_path: Path
) -> None:
    user = User(strict, tmp_path)
    refused = user.hpclaunch("sbatch", *SIZE, "--name", "one")
    assert refused.returncode == 2
    assert WORDS in refused.stderr
    assert "nothing was submitted" in refused.stderr
    assert not (tmp_path / "runs" / "one").exists()
    rehearsed = user.hpclaunch("rehearse", *SIZE)
    assert rehearsed.returncode == 1
    assert "FAIL  script" in rehearsed.stdout
    assert WORDS in rehearsed.stdout
    attached = user.hpclaunch("srun", *SIZE, "--name", "two")
    assert attached.returncode == 2
    assert WORDS in attached.stderr


def test_with_an_account_it_is_taken(strict: ThrowawayCluster, tmp_path: Path) -> None:
    user = User(strict, tmp_path)
    taken = user.hpclaunch("sbatch", *SIZE, "--name", "one", "--account", "lab", "--", "true")
    assert taken.returncode == 0, taken.stderr
