"""What is taken for a secret, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.cli.main import run
from hpclaunch.errors import UserError
from hpclaunch.run.events import log_event
from hpclaunch.secret_shapes import SHAPES
from hpclaunch.secrets import MIN_CHANGES, find_secret, is_secret, mask, secret_argument
from hpclaunch.slurm.environment import (
    for_submission,
    refuse_secret_variables,
    refuse_secrets,
    refuse_secrets_in,
    withheld,
)
from tests.monitors import traces
from tests.run.making import run_in
from tests.secret_keys import KEYS, random_text

ADDRESSES = (
    random_text(12).map(lambda word: f"postgres://me:{word}@db/x"),
    random_text(40).map(lambda word: f"https://b.s3/x?a=1&X-Amz-Signature={word}"),
    random_text(40).map(lambda word: f"https://x.blob/y?sp=r&sig={word}"),
    random_text(40).map(lambda word: f"Authorization: Bearer {word}"),
)
SECRETS = st.one_of(*ADDRESSES, *[key for keys in KEYS.values() for key in keys])


@pytest.mark.parametrize("service", SHAPES)
def test_each_shape_is_that_of_its_services_keys(service: str) -> None:
    assert service in KEYS, "a shape without an example in tests/secret_keys.py"
    shape = re.compile(SHAPES[service])

    @settings(max_examples=20, database=None)
    @given(st.one_of(*KEYS[service]))
    def check(key: str) -> None:
        assert shape.search(key), key
        assert key[-12:] not in mask(key) or key.startswith("-----BEGIN")

    check()


@given(SECRETS, st.sampled_from(["", "x=", "--option=", "see "]), st.sampled_from(["", " end"]))
def test_every_shape_is_found_refused_and_masked(secret: str, before: str, after: str) -> None:
    text = before + secret + after
    assert find_secret(text) is not None
    shown = mask(text)
    for size in (12, len(secret)):
        assert secret[-size:] not in shown or secret.startswith("-----BEGIN")
    refusals: tuple[Callable[[], None], ...] = (
        lambda: refuse_secrets(["train.py", text]),
        lambda: refuse_secrets_in(f"a: 1\nb: {text}\n", "the recipe"),
        lambda: refuse_secret_variables({"NEUTRAL": text}, "the profile"),
    )
    for refuse in refusals:
        with pytest.raises(UserError) as refused:
            refuse()
        assert secret not in str(refused.value)
    assert for_submission({"NEUTRAL": text, "PATH": "/bin"}) == {"PATH": "/bin"}
    assert withheld({"NEUTRAL": text, "PATH": "/bin"}) == ["NEUTRAL"]


@given(
    st.sampled_from(
        [
            "--token", "--wandb-key", "--api_key", "--auth-token", "--hub_token", "--secret",
            "--password", "--db-passwd", "--passphrase", "--access-key", "--pwd", "--jwt",
        ]
    ),
    random_text(20).filter(lambda t: any(c.isdigit() for c in t) and len(set(t)) > 9),
    st.booleans(),
)  # fmt: skip
def test_a_value_under_a_telling_name_is_refused(name: str, value: str, joined: bool) -> None:
    words = [f"{name}={value}"] if joined else [name, value]
    if any(each.isalpha() for each in value):
        found = secret_argument(["prog.py", *words])
        assert found is not None
        assert value not in found


@pytest.mark.parametrize(
    "words",
    [
        ["bash", "-c", "export AWS_SECRET_ACCESS_KEY={} && python x.py"],
        ["--sbatch-arg=--export=ALL,WANDB_API_KEY={}"], ["--config", '{{"api_key": "{}"}}'],
        ["curl", "-H", "PRIVATE-TOKEN: {}"], ["git", "clone", "https://{}@example.org/x"],
        ["wandb", "login", "{}"], ["bash", "-c", "wandb login --relogin {} && python x.py"],
        ["bash", "-c", "echo {} | wandb login"], ["sh", "-c", "printf '%s' {}|docker login -u me"],
        ["bash", "-c", 'set -e; wandb login <<< "{}"'], ["bash", "-c", "hf auth login --token {}"],
    ],
)  # fmt: skip
def test_a_secret_inside_a_word_is_refused(words: list[str]) -> None:
    secret = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
    found = secret_argument([word.format(secret) for word in words])
    assert found is not None
    assert secret not in found
    line = " ".join(words).format(secret)
    assert secret not in mask(line)
    with pytest.raises(UserError, match="a secret"):
        refuse_secrets_in(f"setup:\n- {line}\n", "the recipe")


@pytest.mark.parametrize(
    "line",
    [
        "wandb login && git checkout 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "git checkout 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567; wandb login",
        "on login node login-0001-rack12-unit34: run 0a1b2c3d4e5f6071 done",
        "hf auth login --add-to-git-credential --token $HF_TOKEN",
        "docker login registry.host42.org",
        "loginctl show-session 0a1b2c3d4e5f60718293a4b5", "ssh login1.cluster42.example.org",
    ],
)  # fmt: skip
def test_what_stands_near_a_login_is_no_secret(line: str) -> None:
    assert secret_argument(["bash", "-c", line]) is None
    assert mask(line) == line


@pytest.mark.parametrize(
    "text", ["setup:\n- export WANDB_API_KEY={}\n", "api_key: {}", "db: {{password: {}}}"]
)
def test_a_secret_without_a_shape_is_refused_in_a_file(text: str) -> None:
    with pytest.raises(UserError, match=r"a secret \([\w ]+\) stands in the recipe"):
        refuse_secrets_in(text.format("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"), "the recipe")
    refuse_secrets_in(text.format("$FROM_ELSEWHERE"), "the recipe")


@pytest.mark.parametrize(
    "words",
    [
        "--tokens 5", "--max-tokens 4096", "--pad-token <pad>", "--eos_token </s>", "--key name",
        "--password-file /home/me/pw", "--token $HF_TOKEN", "--token-file ./x", "tokenizer=gpt2",
        "--tokenizer meta-llama/Llama-3.1-8B-Instruct", "model.name=org/token-classifier-v2",
        "--keys a,b,c", "--sort-key loss", "--auth none", "hf_home=/data", "sk-learn",
        "hf-internal/tiny", "--bypass-cache yes", "--pass-through x", "--secret-file=~/x",
        "data.name=./secret_santa.jsonl", "https://host/page?key=a", "git@github.com:me/x",
        "--author me", "PASSWORD_FILE=/x", "--run 1e6b3c9f7a2d4850be1c", "--seed 12345678901234567",
        "s3://bucket/a@b", "sftp://service-account-17@host/x", "--patience 3",
        "--webhook-timeout 30", "lora_key_value=1",
    ],
)  # fmt: skip
def test_ordinary_words_are_none(words: str) -> None:
    assert secret_argument(words.split()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GPG_PASSPHRASE", "open sesame"), ("DOCKER_AUTH_CONFIG", '{"auths":{"x":1}}'),
        ("SMTP_AUTH", "me:pw"), ("MY_JWT", "abc"), ("COOKIE", "sid=1"), ("BEARER", "abc"),
        ("SENTRY_DSN", "https://abc@sentry.io/1"), ("AZURE_STORAGE_SAS", "sv=2022&x"),
        ("SLACK_WEBHOOK_URL", "https://example.org/x"), ("WANDB_API_KEY", "abc"),
        ("GIT_CONFIG_VALUE_0", "Authorization: Basic eDp5eDp5"), ("OPENAI_KEY", "k"),
        ("NEUTRAL", "-----BEGIN RSA PRIVATE KEY-----\nMII"), ("X", "github_pat_" + "a" * 30),
        ("https_proxy", "http://me:secret@proxy:3128"),
    ],
)  # fmt: skip
def test_variables_that_no_job_inherits(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"), ("HF_TOKEN_PATH", "/home/me/token"),
        ("SSH_AUTH_SOCK", "/tmp/agent"), ("XAUTHORITY", "/home/me/.Xauthority"),
        ("MAX_TOKENS", "4096"), ("KEYBOARD", "us"), ("LS_COLORS", "rs=0:di=01;34"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/x"), ("GOOGLE_APPLICATION_CREDENTIALS", "/x.json"),
        ("http_proxy", "http://proxy:3128"), ("CONDA_PREFIX", "/conda"), ("GIT_AUTHOR", "me"),
        ("KRB5CCNAME", "FILE:/tmp/krb5"), ("COMPASS", "north"), ("NCCL_DEBUG", "INFO"),
    ],
)  # fmt: skip
def test_variables_that_a_job_inherits(name: str, value: str) -> None:
    assert not is_secret(name, value)


@given(
    st.sampled_from([
        "WANDB_API_KEY={}", "password: {}", '"api_key": "{}"', "--token {} --lr 1", "db_passwd={}",
        "{{'hf_token': '{}'}}", "export MY_SECRET={}", "auth_token = {}", "sshpass={}",
    ]),
    st.text(alphabet="0123456789abcdef", min_size=32, max_size=40),
)  # fmt: skip
def test_a_random_value_under_a_telling_name_is_masked_in_a_log(line: str, value: str) -> None:
    if len(re.findall(r"[a-f][0-9]|[0-9][a-f]", value)) >= MIN_CHANGES and len(set(value)) > 10:
        text = f"n1: before {line.format(value)} after"
        assert value[-12:] not in mask(text)
        assert mask(text).startswith("n1: before")


@pytest.mark.parametrize(
    "line",
    [
        "KeyError: 'model.layers.0.self_attn.q_proj.weight'", "pad_token_id = 128001",
        "missing key: model_layers_0_self_attn_q_proj_weight", "tokens: 12345678901234567890",
        "password: missing", "tokenizer: meta-llama/Llama-3.1-8B-Instruct", "key_states: [4, 128]",
        "eos_token: <|eot_id|>", "ValueError: Token indices sequence length is longer than 512",
        "unexpected keyword argument 'attn_implementation'", "HF_TOKEN is not set",
        "--key-file /home/me/key --tokens 4096", "cache key: 2026-11-27T10:00:00",
        "OSError: [Errno 28] No space left on device: '/scratch/me/step-12'",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b of hf_transfer", "npm_config_registry_url",
        "GPU-8f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0", "MIG-6a1f0c3e-2b4d-5f60-9182-a3b4c5d6e7f8",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "cache-key-d41d8cd98f00b204e9800998ecf8427e", "pat-reading-comprehension-of-long-texts",
        "sk-learn-contrib-and-other-extensions", "s.gradient_accumulation_steps", "dp.size()",
        "key-value-cache-of-the-attention-layers", "fw_bw_time_of_the_last_step",
        "rnd_seed_everything",
        "SG.all_gather_into_tensor.default", "hv.module_of_the_encoder", "xai-org/grok-1",
        "nvapi-python-bindings", "pypi-mirror.example.org/simple/pip", "v1.0-rc2-3-gdeadbeef",
        "wandb: run-20261127_101500-1a2b3c4d", "AKID-less", "SKIPPED 32", "LTAI", "ops_per_second",
        "model-00001-of-00030.safetensors", "ghost_writer_of_long_stories_and_poems", "glue-mnli",
        "torch-2.13.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl", "A3-cluster", "age-secret-key",
        "eyJ is how they begin", "gloo-agent-on-the-first-node-of-the-job", "fm2_layers", "1//0",
    ],
)  # fmt: skip
def test_an_ordinary_line_of_a_log_stays_as_it_is(line: str) -> None:
    assert mask(line) == line


PLANTED = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def test_what_a_program_printed_stands_in_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run_in(tmp_path / "run", mode="local", processes_per_node=1, nodes=1)
    for inner in (folder.logs, folder.metrics):
        inner.mkdir()
    said = f"requests.HTTPError: 401 for https://me:{PLANTED}@host/x, api_key={PLANTED}"
    (folder.logs / "job-local.out").write_text(
        f"0: [cpu0]: Traceback (most recent call last):\n0: [cpu0]:   File 'x', line 1\n"
        f"0: [cpu0]: {said}\n"
    )
    folder.rank_error(0).write_text(
        json.dumps({"rank": 0, "host": "n1", "time": 1.0, "error": said, "traceback": said})
    )
    log_event(folder.events, "start", world=1)
    log_event(folder.events, "sync failed", name="step-1", why=said)
    log_event(folder.events, "checkpoint failed", step=1, why=said)
    folder.exit_code_file.write_text("1\n")
    traces.record(folder.metrics, nodes=1, gpus=1, seconds=20)
    page = tmp_path / "page.html"
    for command in ("why", "status", "report", "watch"):
        for more in ([], ["--json"]):
            words = [command, str(folder.root), *more]
            words += ["--html", str(page)] if command == "report" else []
            run([*words, "--once"] if command == "watch" else words)
    shown = capfd.readouterr()
    assert "requests.HTTPError: 401" in shown.out
    assert PLANTED not in shown.out + shown.err + page.read_text()
    assert "***" in page.read_text()
