"""A job whose last node serves: one node more, and only where a node can be asked for."""

from __future__ import annotations

import pytest

from hpclaunch.errors import UserError
from hpclaunch.plan.plan import make_plan
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.load import load
from hpclaunch.render.script import script
from hpclaunch.site.load import load_site
from hpclaunch.train.serve import server_command
from tests.plan.making import launch

SERVED = load("grpo", ["method.grpo.server.enabled=true", "model.revision=main"])


def test_nodes_are_those_that_train() -> None:
    plan = make_plan(SERVED, load_site("generic"), Resources(nodes=2, gpus=4), launch())
    assert (plan.nodes, plan.processes, plan.server_nodes) == (2, 8, 1)
    text = script(plan)
    assert "#SBATCH --nodes=3 " in text and "--num_machines 2 --num_processes 8" in text
    assert "begin --nodes 2" in text and "--relative=0 --nodes=3 --ntasks=3" in text
    assert 'python -P -m hpclaunch.train.serve "$HPCLAUNCH_RUN" --gpus 4' in text
    own = make_plan(load("grpo"), load_site("generic"), Resources(nodes=2, gpus=4), launch())
    assert "serve" not in script(own)


@pytest.mark.parametrize("mode", ["srun", "local"])
def test_only_a_batch_job_has_a_node_for_it(mode: str) -> None:
    with pytest.raises(UserError, match=r"method\.grpo\.server\.enabled"):
        make_plan(SERVED, load_site("generic"), Resources(gpus=4), launch(mode=mode))


def test_the_servers_command() -> None:
    words = server_command(SERVED, "/models/x", "10.0.0.7", "21003", 4)
    assert words[1:3] == ["-m", "trl.scripts.vllm_serve"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given == {
        "--model": "/models/x", "--host": "10.0.0.7", "--port": "21003", "--dtype": "float32",
        "--tensor_parallel_size": "4", "--max_model_len": "88", "--revision": "main",
    }  # fmt: skip
