"""Stands in for vLLM: a package `vllm` with a server of the same HTTP endpoints, on any CPU.

Written into a folder that goes on PYTHONPATH. TRL's own client talks to it; what needs a GPU alone
is left out: the NCCL group, over which the tensors would go (the client walks through them).
"""

from __future__ import annotations

from pathlib import Path

FILES = {
    "vllm-0.25.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.25.0\n",
    "vllm/__init__.py": '''\
__version__ = "0.25.0"


def __getattr__(name):
    """TRL asks for LLM when its client is there: it has no GPU to make an NCCL group with."""
    if name == "LLM":
        from trl.generation import vllm_client

        def init_communicator(self, device=0):
            assert self.get_server_info()["weight_transfer_config"] is not None
            info = {"init_info": {"world_size": self.get_world_size() + 1}}
            self._post(f"{self.base_url}/init_weight_transfer_engine", json=info)

        vllm_client.VLLMClient.init_communicator = init_communicator
    if name in ("LLM", "RequestOutput", "SamplingParams"):
        return object
    raise AttributeError(name)
''',
    "vllm/sampling_params.py": "StructuredOutputsParams = object\n",
    "vllm/utils/__init__.py": "",
    "vllm/utils/network_utils.py": "def get_ip():\n    return '127.0.0.1'\n",
    "vllm/distributed/__init__.py": "",
    "vllm/distributed/weight_transfer/__init__.py": "",
    "vllm/distributed/weight_transfer/nccl_engine.py": """\
class NCCLTrainerSendWeightsArgs:
    def __init__(self, **options):
        pass


class NCCLWeightTransferEngine:
    @staticmethod
    def trainer_send_weights(iterator, trainer_args):
        for name, tensor in iterator:
            assert tensor.isfinite().all(), name
""",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/cli/__init__.py": "",
    "vllm/entrypoints/cli/main.py": """\
import json, os, random, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

model = sys.argv[2]
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
dies = int(os.environ.get("STANDIN_DIES", "0"))
asked = 0
CONFIG = {"weight_transfer_config": {"backend": "nccl"},
          "model_config": {"logprobs_mode": options["--logprobs-mode"]}}
ANSWERS = {"/health": {}, "/v1/models": {"data": [{"id": model}]},
           "/get_world_size": {"world_size": 1}, "/server_info": {"vllm_config": CONFIG}}


def completions(body):
    global asked
    asked += 1
    if asked == dies:
        print("RuntimeError: the stand-in gives out", flush=True)
        os._exit(3)
    choices = []
    for prompt in body["prompt"]:
        for _ in range(body["n"]):
            ids = [random.randrange(20, 60) for _ in range(random.randrange(2, 6))]
            tops = [{f"token_id:{each}": -3.0} for each in ids]
            logprobs = {"tokens": [f"token_id:{each}" for each in ids], "top_logprobs": tops,
                        "token_logprobs": [-3.0] * len(ids)}
            choices.append({"prompt_token_ids": prompt, "token_ids": ids, "logprobs": logprobs})
    return {"choices": choices}


class Handler(BaseHTTPRequestHandler):
    def answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(ANSWERS[self.path.partition("?")[0]])

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        print("POST", self.path, flush=True)
        self.answer(completions(body) if self.path == "/v1/completions" else {})

    def log_message(self, *_):
        pass


print("serving", model, flush=True)
ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
""",
}


def write(folder: Path) -> Path:
    """Write the package into a folder, and return it."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
