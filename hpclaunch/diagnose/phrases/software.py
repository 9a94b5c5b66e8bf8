"""What Python, pip and the loader print of software that does not fit."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

GLIBC: Family = {
    "glibc": phrases("version `GLIBC", "version `CXXABI", "version `GLIBCXX",
                     confirmed=r"version `[A-Z]+_[\d.]+' not found")
}  # fmt: skip
ABI: Family = {
    "abi": phrases(
        "undefined symbol: ", "binary incompatibility", "compiled using NumPy 1.x",
        "module compiled against ABI version", "compiled against API version",
        "_ARRAY_API not found", "numpy.core.multiarray failed to import",
        "Numpy is not available", "were built against a different",
        "was compiled with a different version of",
    )
}  # fmt: skip
WRONG_WHEEL: Family = {
    "wrong_wheel": phrases(
        "is not a supported wheel on this platform", "requires a different Python",
        "require a different python version", "but the running Python is",
        "Requires-Python", "module was compiled for", "Python version mismatch",
        "bad magic number in", "invalid ELF header", "wrong ELF class",
        "cannot execute binary file", "Exec format error",
    )
}  # fmt: skip
MISSING_LIBRARY: Family = {
    "missing_library": phrases(
        "cannot open shared object file", "Could not load library lib",
        "Unable to load any of {lib",
        "libcuda.so cannot found", "CUDA Setup failed", "no libcuda.so",
        "compile the bitsandbytes library", "Configured CUDA binary not found at",
        "find the bitsandbytes CUDA binary", "CUDA VERSION MISMATCH",
        "bitsandbytes was compiled without GPU support",
    )
}  # fmt: skip
STATIC_TLS: Family = {"static_tls": phrases("in static TLS block")}
TORCHCODEC: Family = {"torchcodec": phrases("Could not load libtorchcodec")}
EXTERNALLY_MANAGED: Family = {"managed": phrases("error: externally-managed-environment")}
PACKAGE_INDEX: Family = {
    "package_index": phrases(
        "No matching distribution found for", "Could not find a version that satisfies",
        "Could not fetch URL https://", "Could not install packages due to",
    ),
    "pip_retry": phrases("WARNING: Retrying (Retry("),
}  # fmt: skip
OLD_PACKAGE: Family = {
    "old_package": phrases(
        "does not recognize this architecture", "data did not match any variant of untagged enum",
        "is not currently imported", "Available feature types: ",
        "`rope_scaling` must be a dictionary", "`rope_scaling` must be", "unknown field `",
    )
}  # fmt: skip
ASCII: Family = {
    "ascii": phrases(
        "UnicodeDecodeError: 'ascii' codec", "UnicodeEncodeError: 'ascii' codec",
        "UnicodeEncodeError: 'latin-1' codec", "unsupported locale setting",
    )
}  # fmt: skip
BUILD: Family = {
    "build_error": phrases(
        "fatal error: ", "nvcc fatal",
        "error: identifier ", "collect2: fatal", "internal compiler error", "ptxas fatal",
        "error: #error ", "ninja: fatal", "unrecognized command", "g++: error:", "gcc: error:",
    )
}  # fmt: skip
"""What compilers and linkers print of what stopped them."""
NO_COMPILER: Family = {
    "no_compiler": phrases(
        "Failed to find C compiler", "CUDA_HOME does not exist", "CUDA_HOME environment variable",
        "MissingCUDAException", "CUDAMismatchException", "Error building extension",
        "Ninja is required to load", "does not match the version torch was compiled with",
        "unable to compile cuda/cpp", "nvcc not found", "fatal error: Python.h",
        "fatal error: cuda", "unsupported GNU version",
        ".so: cannot open shared", "'nvcc'", "cannot find -l",
        "mismatches the version that was used to compile",
        confirmed=r"(?m)^(?!.*cannot open shared)|torch_extensions/",
    )
}  # fmt: skip
NO_PACKAGE: Family = {
    "no_package": phrases(
        "ModuleNotFoundError: No module named", "No module named ", "is not installed",
        "seems to be not installed", "PackageNotFoundError", " requires bitsandbytes",
        "library but it was not found",
        "please install it", "Please install it", "pip install", "optional dependency '",
        "Please install ",
        confirmed=r"(?m)^(?:\[rank\d+\]: ?)?(?:ImportError|ModuleNotFoundError"
        r"|[\w.]*PackageNotFound|RuntimeError: .*not installed"
        r"|ValueError: .*(?:not installed|pip install))|library but it was not found",
    )
}  # fmt: skip
NO_CODEC: Family = {
    "no_codec": phrases("Compression type ", confirmed=r"ValueError: Compression type \S+ not supp")
}
FSSPEC: Family = {"fsspec": phrases("NotImplementedError: Loading a dataset cached in a ")}
NO_GRADIENT: Family = {
    "no_gradient": phrases(
        "does not require grad and does not have a grad_fn", "No inf checks were recorded"
    )
}
NO_SHARDING_RULE: Family = {
    "no_sharding_rule": phrases("does not have a sharding strategy registered")
}
QUANT_STORAGE: Family = {
    "quant_storage": phrases(
        "Cannot flatten integer dtype tensors", "Must flatten tensors with uniform dtype",
        confirmed=r"integer dtype|\bu?int8\b",
    )
}  # fmt: skip
SHARDED_WEIGHT: Family = {"sharded_weight": phrases("RuntimeError: 'weight' must be 2-D")}
NO_ATTENTION: Family = {
    "no_attention": phrases("No valid execution plans built", "No available kernel. Aborting")
}
META_WEIGHTS: Family = {
    "meta_weights": phrases("is on the meta device, we need a", "Cannot copy out of meta tensor")
}
DTYPES: Family = {
    "dtypes": phrases(
        "Attempting to unscale FP16 gradients", "must have the same dtype",
        "to have the same dtype",
        "expected scalar type ", "should be the same dtype", "must have the same data type",
        confirmed=r"(?m)^(?:\[rank\d+\]: ?)?(?:RuntimeError|ValueError|TypeError): ",
    )
}  # fmt: skip
MIXED_SHARDING: Family = {"mixed_sharding": phrases("got mixed torch.Tensor and DTensor")}
MARKED_TWICE: Family = {"marked_twice": phrases("Expected to mark a variable ready only once")}
NOT_PICKLABLE: Family = {
    "not_picklable": phrases(
        "Can't pickle ",
        "can't pickle ",
        "cannot pickle ",
        "Can't get local",
        "Can't get attribute '",
    )
}
REQUIREMENT: Family = {
    "requirement": phrases(
        "is required for a normal functioning of", " or higher", " or newer", " or later",
        "pip install -U", "pip install --upgrade", " but found ", "Your version is",
        "currently installed)",
        confirmed=r"(?m)(?:Import|Runtime|Value)Error: .*"
        r"(?:[<>=]=? ?\d|version|pip install (?:-U|--upgrade))",
    )
}  # fmt: skip
HIDDEN: Family = {
    "hidden_package": phrases(
        ".py)", ".py'", "is not a package",
        confirmed=r"cannot import name|partially initialized module|has no attribute"
        r"|No module named",
    )
}  # fmt: skip
OLD_PYTHON: Family = {
    "old_python": phrases(
        "unsupported operand type(s) for |: 'type'", "unsupported operand type(s) for |: '_Gen",
        "unsupported operand type(s) for |: 'NoneType' and 'type'",
        "No module named 'tomllib'", "cannot import name 'StrEnum' from 'enum'",
        "from 'typing' (/", "dataclass() got an unexpected keyword argument",
    )
}  # fmt: skip
ARGUMENTS: Family = {"unknown_argument": phrases("got an unexpected keyword argument")}
PROTOBUF: Family = {
    "protobuf": phrases("Descriptors cannot be created", "Descriptors cannot not be created")
}
CHAT: Family = {
    "no_chat_template": phrases(
        "chat_template is not set and", "does not have a chat template", "no chat template set"
    ),
    "chat_template": phrases(
        "jinja2.exceptions.", "Conversation roles must alternate", "roles must alternate"
    ),
}
WEIGHTS_ONLY: Family = {"weights_only": phrases("Weights only load failed")}
BETWEEN: Family = {"no_attribute": phrases("has no attribute '", confirmed=r"(?m)AttributeError: ")}
OTHER_ARGUMENTS: Family = {
    "other_arguments": phrases(
        " positional argument but ", " positional arguments but ", " required positional argument",
        "() got an unexpected keyword",
        confirmed=r"(?m)TypeError: ",
    )
}  # fmt: skip
PACKAGE_VERSIONS: Family = {
    "package_versions": phrases(
        "cannot import name ", "VersionConflict",
        "DistributionNotFound", "Failed to import transformers.", "operator torchvision::",
    )
}  # fmt: skip
