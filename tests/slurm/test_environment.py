from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.launch.request import from_environment
from hpclaunch.plan.resources import Resources
from hpclaunch.slurm.environment import for_submission, refuse_secrets, refuse_secrets_in

KEPT = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "SLURM_CONF": "/etc/slurm.conf",
    "HF_HOME": "/data/hf",
    "HF_TOKEN_PATH": "/home/me/token",
    "TOKENIZERS_PARALLELISM": "false",
    "LD_LIBRARY_PATH": "/lib",
    "PWD": "/home/me",
    "http_proxy": "http://proxy:3128",
    "AWS_SHARED_CREDENTIALS_FILE": "/home/me/aws",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/google.json",
    "SLURM_JWT": "needed by sbatch itself",
    "CONDA_PREFIX": "/conda",
    "KEYBOARD": "us",
    "MODULEPATH": "/modules",
}
DROPPED = {
    "SLURM_JOB_ID": "1",
    "SLURM_NTASKS": "4",
    "SBATCH_ACCOUNT": "a",
    "SALLOC_PARTITION": "p",
    "SRUN_DEBUG": "1",
    "PMI_RANK": "0",
    "HF_TOKEN": "hf_x",
    "HUGGING_FACE_HUB_TOKEN": "hf_x",
    "WANDB_API_KEY": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "GITHUB_TOKEN": "t",
    "DB_PASSWORD": "p",
    "GH_PAT": "p",
    "SSHPASS": "p",
    "MYSQL_PWD": "p",
    "OPENAI_KEY": "k",
    "AZURE_STORAGE_CONNECTION_STRING": "k",
    "https_proxy": "http://me:secret@proxy:3128",
    "MINE": "hf_abcdefghijklmnopqrstuvwxyz",
    "RANK": "3",
    "MASTER_ADDR": "old",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "1",
}


def test_what_a_job_inherits() -> None:
    assert for_submission(KEPT | DROPPED) == KEPT


@given(st.text(alphabet="abcdefgh0123456789", min_size=34, max_size=34), st.text(max_size=9))
def test_a_token_is_refused_wherever_it_stands_and_not_repeated(token: str, before: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_secrets(["fine", f"{before} hf_{token}"])
    assert token not in str(caught.value)


@pytest.mark.parametrize("address", ["https://u:pw@h/x", "mysql://:pw@db/x"])
def test_nothing_of_a_password_in_an_address_is_repeated(address: str) -> None:
    with pytest.raises(UserError) as in_command:
        refuse_secrets([address])
    with pytest.raises(UserError) as in_text:
        refuse_secrets_in(address, "it")
    for caught in (in_command, in_text):
        assert "p" not in str(caught.value).partition("stands in")[0]


def test_ordinary_words_are_no_tokens() -> None:
    refuse_secrets(["train.py", "hf_home=/data", "--tokens", "sk-learn", "hf-internal/tiny"])


@pytest.mark.parametrize(("mode", "prefix"), [("sbatch", "SBATCH"), ("srun", "SALLOC")])
def test_slurms_variables_stand_where_options_are_silent(mode: str, prefix: str) -> None:
    variables = {f"{prefix}_ACCOUNT": "a", f"{prefix}_QOS": "q", f"{prefix}_TIMELIMIT": "5"}
    assert mode in {"sbatch", "srun"}
    found = from_environment(
        Resources(qos="mine"), "sbatch" if mode == "sbatch" else "srun", variables
    )
    assert (found.account, found.qos, found.time, found.partition) == ("a", "mine", "5", None)
