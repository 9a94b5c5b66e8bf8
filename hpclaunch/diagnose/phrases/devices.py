"""What CUDA and its driver print of GPUs."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

GPU_ERROR: Family = {
    "xid": phrases("NVRM: Xid", "Xid (PCI", anywhere=True),
    "gpu_lost": phrases(
        "has fallen off the bus", "GPU is lost", "ncorrectable ECC error",
        "HW Exception by GPU node", "UR_RESULT_ERROR_DEVICE_LOST", "ZE_RESULT_ERROR_DEVICE_LOST",
        "ncorrectable NVLink error", "cudaErrorECCUncorrectable",
        anywhere=True,
    ),
}  # fmt: skip
FABRIC_MANAGER: Family = {
    "multicast": phrases("Failed to bind NVLink SHARP", "NVLS) Multicast"),
    "fabric_manager": phrases(
        "system not yet initialized",
        "Error 802",
        "cudaErrorSystemNotReady",
        "CUDA_ERROR_SYSTEM_NOT_READY",
    ),
}
GPU_BUSY: Family = {
    "gpu_busy": phrases(
        "busy or unavailable", "cudaErrorDevicesUnavailable", "exclusive-thread device already in",
        "cudaErrorDeviceAlreadyInUse", confirmed=r"CUDA|cuda|[Dd]evice",
    )
}  # fmt: skip
GPU_ORDINAL: Family = {
    "gpu_ordinal": phrases(
        "invalid device ordinal", "cudaErrorInvalidDevice", "nvalid device id",
        "CUDA_ERROR_INVALID_DEVICE", "nvalid device argument", "but torch.cuda.device_count() is",
        "But your machine only has",
        confirmed=r"(?m)^(?!.*[Dd]evice ?[Ff]unction)",
    )
}  # fmt: skip
DUPLICATE_GPU: Family = {"duplicate_gpu": phrases("Duplicate GPU detected")}
GPU_MEMORY: Family = {
    "gpu_oom": phrases(
        "CUDA out of memory", "CUDA error: out of memory", "OutOfMemoryError", "HIP out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "Cuda failure 2 'out of memory'",
        "Cuda failure 'out of memory'", "Failed to CUDA calloc", "Failed to CUDA malloc",
        "No executable batch size found", "CUDA_ERROR_OUT_OF_MEMORY", "XPU out of memory",
        "Error out of memory at line", "No available memory for the cache blocks",
        "larger than the available KV cache memory", "on startup is less than desired GPU memory",
        "RESOURCE_EXHAUSTED: Out of memory", "OOM when allocating tensor with shape",
        "CUDA driver error: out of memory", "out of memory. Tried to allocate ",
        "RESULT_ERROR_OUT_OF_DEVICE_MEMORY", "Available Free mem : 0 MB", "hipErrorOutOfMemory",
        confirmed=r"(?m)^(?!.*(?:(?:ray\.exceptions|java\.lang)\.OutOfMemoryError"
        r"|has no attribute))",
    )
}  # fmt: skip
NO_PEER_ACCESS: Family = {
    "no_peer_access": phrases(
        "peer access is not supported between", "cudaIpcOpenMemHandle", "cuIpcOpenMemHandle",
        "cuMemImportFromShareableHandle",
    )
}  # fmt: skip
TOOL_HANGS: Family = {
    "tool_hangs": phrases(
        "Command '['nvidia-smi'", "Command 'nvidia-smi", confirmed="timed out after"
    )
}
CUDNN_VERSIONS: Family = {"cudnn_versions": phrases("SUBLIBRARY_VERSION_MISMATCH")}
NO_SHARING: Family = {"no_sharing": phrases("pidfd_getfd:", "pidfd_open:")}
OLD_GPU: Family = {
    "old_gpu": phrases(
        "only supports Ampere GPUs or newer", "only supports Turing GPUs or newer",
        "only supports AMD MI", "doesn't support bf16/gpu", "requires .target sm_",
        "not supported in this architecture", "requires device with capability",
        "equires compute capability", "is only supported on devices with compute capability",
        "sm_90a or higher", "Device compute capability",
        "only supported on CUDA devices with compute capability",
        confirmed=r"(?m)Error: |^(?:\[rank\d+\]: ?)?ptxas .*error",
    )
}  # fmt: skip
NO_GPU: Family = {
    "no_gpu": phrases(
        "No CUDA GPUs are available", "this rank sees no GPU", "not compiled with CUDA enabled",
        "Found no NVIDIA driver", "no CUDA-capable device", " were asked for",
        "has fewer GPUs than", "torch.cuda.is_available() is False",
        "CUDA driver initialization failed", "couldn't communicate with the NVIDIA driver",
        "CUDA unknown error - this may be due to", "No HIP GPUs are available", "no GPUs found!",
        "NVML Shared Library Not Found",
        "accelerator device when none is available", "doesn't have NCCL built in",
        confirmed=r"GPU|CUDA|NVIDIA|cuda|NCCL|accelerator|NVML",
    ),
    "nvml_refused": phrases("Failed to initialize NVML: Insufficient Permissions"),
}  # fmt: skip
CUDA_MISMATCH: Family = {
    "driver": phrases(
        "driver on your system is too old", "CUDA driver version is insufficient",
        "no kernel image is available", "invalid device function", "unsupported toolchain",
        "forward compatibility was attempted", "device kernel image is invalid",
        "Driver/library version mismatch", "unsupported display driver",
        "not compatible with the current PyTorch installation",
        "invalid value for --gpu-architecture", "is not defined for option 'gpu-name'",
    )
}  # fmt: skip
OUTSIDE: Family = {"outside": phrases("IndexError: index out of range in self")}
CUDA_ERROR: Family = {
    "gpu_fault": phrases(
        "CUDA error: ",
        "CUDA driver error: ",
        "CUBLAS_STATUS_EXECUTION",
        "CUBLAS_STATUS_INTERNAL",
        "Triton Error [CUDA]",
        "Memory access fault by GPU",
    ),
    "device_assertion": phrases("Assertion `", confirmed=r"\bblock: \[.*Assertion `|\.cuh?:\d+"),
}
