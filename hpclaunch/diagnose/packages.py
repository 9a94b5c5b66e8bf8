"""Which package of Python's index a path or a message is about. Pure."""

from __future__ import annotations

import re

# A name begins with a letter or digit: it goes into commands to paste, and must be no option there.
_SITE_PACKAGE = re.compile(r"(?:site|dist)-packages/([\w.-]+?)(?:\.(?:cpython|abi3|so)\b|/|\.py)")
PIP = {
    "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn",
    "bs4": "beautifulsoup4", "dotenv": "python-dotenv", "google.protobuf": "protobuf",
    "skimage": "scikit-image", "dateutil": "python-dateutil", "attr": "attrs", "git": "gitpython",
    "flash_attn": "flash-attn", "flash_attn_2_cuda": "flash-attn", "attn": "flash-attn",
    "selective_scan_cuda": "mamba-ssm",
    "causal_conv1d_cuda": "causal-conv1d", "Levenshtein": "levenshtein",
    "hydra": "hydra-core", "faiss": "faiss-cpu",
    "lightning_fabric": "lightning", "OpenSSL": "pyopenssl", "serial": "pyserial",
    "absl": "absl-py", "tensorboardX": "tensorboardX", "sentence_transformers":
    "sentence-transformers", "pkg_resources": "setuptools", "transformer_engine":
    "transformer-engine", "mamba_ssm": "mamba-ssm", "causal_conv1d": "causal-conv1d",
}  # fmt: skip
"""Packages whose name on the index is not the name that is imported."""
OWN = {"src", "utils", "util", "lib", "common", "config", "configs", "data", "dataset",
        "model", "models", "train", "trainer", "tools", "helpers", "main", "modules", "core",
        "scripts", "losses", "metrics", "eval", "test", "tests", "project"}  # fmt: skip
"""Names of folders of programs: what the index has under them is something else."""
MODULES = {
    "torch", "torchvision", "torchaudio", "torchao", "triton", "transformers", "accelerate",
    "peft", "trl", "datasets", "tokenizers", "safetensors", "huggingface_hub", "bitsandbytes",
    "deepspeed", "vllm", "xformers", "flash_attn", "numpy", "scipy", "pandas", "pyarrow",
    "sklearn", "pydantic", "google", "ray", "lightning", "jax", "PIL", "cv2", "wandb", "mlflow",
    "jinja2", "liger_kernel", "kernels", "torchdata", "sentencepiece", "tiktoken", "xgrammar",
    "outlines", "trackio", "hf_xet", "gptqmodel", "optimum", "evaluate",
}  # fmt: skip
"""Modules that are no program's own."""
REBUILT = {"flash-attn", "mamba-ssm", "causal-conv1d", "transformer-engine", "apex", "deepspeed"}
"""Packages that compile against PyTorch."""


def package_of(text: str) -> str:
    """Return the package that a path or message is about, as the index has it; '' if none."""
    match = None
    for match in _SITE_PACKAGE.finditer(text):  # noqa: B007  # the last one counts
        pass
    name = match[1] if match else ""
    return PIP.get(name, name.replace("_", "-").strip("-"))
