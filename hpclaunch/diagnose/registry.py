"""Every cause that `why` knows: one entry each, with its rule, the phrases it is known by, flags.

A new cause is an entry here and its phrases in `diagnose/phrases/`. Where one line shows it, the
entry stands in `one_line_causes` with headline and fix; else its rule in `diagnose/rules/` returns
them, with the lines that show it. The order
decides: the first rule that fits is the cause, the rules after it are shown as seen beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpclaunch.diagnose import one_line_causes as one_line
from hpclaunch.diagnose import one_line_training
from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.phrases import (
    Phrases,
    devices,
    files,
    hub,
    jobs,
    limits,
    network,
    software,
)

NO_FAILURE = (
    KnownCause("written", "no_failure.written"),
    KnownCause("queued", "no_failure.queued"),
    KnownCause("hang", "at_work.hang"),
    KnownCause("suspended", "at_work.suspended"),
    KnownCause("running", "at_work.running"),
    KnownCause("done", "no_failure.done"),
    KnownCause("stopped", "no_failure.stopped"),
)
"""States that are no failure: nothing more is looked for."""

CAUSES: tuple[KnownCause, ...] = (
    # Somebody's decision, and nodes: of these the ranks show only the consequences.
    KnownCause("cancelled", "slurm.cancelled", jobs.CANCELLED, decided=True),
    KnownCause("node-failure", "slurm.node_failure", jobs.NODE_FAILURE, decided=True,
               node_fault=True),
    KnownCause("preempted", "slurm.preempted", jobs.PREEMPTED, decided=True),
    KnownCause("time-limit", "slurm.time_limit", {**jobs.TIME_LIMIT, **jobs.WAITED}, decided=True),
    KnownCause("not-shared", "slurm.no_log"),
    # Without the server that writes completions, the ranks fail one after the other.
    KnownCause("server", "server.ended"),
    # A device gave out, or was given to the wrong rank: what else is seen may follow from it.
    KnownCause("gpu-error", "hardware.reported", devices.GPU_ERROR, node_fault=True),
    KnownCause("fabric-manager", "devices.fabric_manager", devices.FABRIC_MANAGER, node_fault=True),
    KnownCause("gpu-busy", "devices.busy", devices.GPU_BUSY, node_fault=True),
    KnownCause("gpu-ordinal", "devices.ordinal", devices.GPU_ORDINAL),
    KnownCause("duplicate-gpu", "devices.duplicate", devices.DUPLICATE_GPU),
    # Memory or another limit of the node gave out.
    KnownCause("gpu-memory", "gpu_memory.out_of_memory", devices.GPU_MEMORY),
    KnownCause("locked-memory", "limits.locked_memory", limits.LOCKED_MEMORY, node_fault=True),
    KnownCause("shared-memory", "limits.shared_memory", limits.SHARED_MEMORY),
    KnownCause("process-limit", "limits.processes", limits.PROCESS_LIMIT),
    one_line.OPEN_FILES,
    KnownCause("host-memory", "memory.host", limits.HOST_MEMORY),
    # What the user's reward function raised: a missing file there is no missing file of the run.
    KnownCause("reward-function", "program.reward_function"),
    KnownCause("no-command", "environment.no_command"),
    KnownCause("no-variable", "environment.no_variable"),
    KnownCause("no-output", "environment.no_output"),
    # What was not there, or was refused: disks come before what they break.
    KnownCause("not-shared", "storage.not_shared", jobs.NOT_SHARED),
    *one_line.OF_SRUN,
    KnownCause("not-launched", "slurm.not_launched", jobs.NOT_LAUNCHED, node_fault=True),
    one_line.NO_CONTROLLER,
    KnownCause("container", "containers.not_created", jobs.CONTAINER),
    KnownCause("no-module", "inputs.no_module", jobs.NO_MODULE),
    KnownCause("no-environment", "inputs.no_environment", jobs.NO_ENVIRONMENT),
    KnownCause("no-environment", "inputs.not_active", jobs.NOT_ACTIVE),
    KnownCause("quota", "storage.quota", files.QUOTA),
    *one_line.OF_FILES,
    KnownCause("disk-full", "storage.full", files.DISK_FULL),
    KnownCause("shared-cache", "storage.shared_cache"),
    KnownCause("file-system", "storage.broken", files.FILE_SYSTEM),
    KnownCause("no-permission", "storage.no_permission", files.NO_PERMISSION),
    KnownCause("torn-checkpoint", "checkpoints.torn", {**files.TORN_FILE, **files.JSON_ERROR}),
    KnownCause("torn-model", "checkpoints.torn_model"),
    KnownCause("wrong-checkpoint", "checkpoints.wrong", files.WRONG_CHECKPOINT),
    # Software that does not fit the node, the Python, or other software.
    KnownCause("glibc", "software.glibc", software.GLIBC),
    KnownCause("abi-mismatch", "software.abi", software.ABI),
    KnownCause("wrong-wheel", "software.wrong_wheel", software.WRONG_WHEEL),
    KnownCause("missing-library", "software.missing_library", software.MISSING_LIBRARY),
    KnownCause("package-index", "services.package_index", software.PACKAGE_INDEX),
    KnownCause("old-package", "software.old_package", software.OLD_PACKAGE),
    KnownCause("no-compiler", "compilers.no_compiler", {**software.NO_COMPILER, **software.BUILD}),
    KnownCause("locale", "program.ascii_text", software.ASCII),
    # Services: which one, and what went wrong with it.
    KnownCause("certificate", "services.certificate"),
    KnownCause("wandb-key", "services.wandb_key"),
    KnownCause("wandb-offline", "services.wandb_offline"),
    KnownCause("storage-access", "services.storage_access"),
    KnownCause("storage-offline", "services.storage_offline"),
    KnownCause("service-access", "services.other_access"),
    KnownCause("service-offline", "services.other_offline"),
    KnownCause("rate-limit", "hub.rate_limit"),
    KnownCause("hub-error", "hub.server_error"),
    KnownCause("download-cut", "hub.download_cut"),
    KnownCause("offline", "hub.offline", hub.OFFLINE),
    # The hub answers 401 for what does not exist, too: its own words come before the number.
    KnownCause("not-found", "hub.not_found", hub.NOT_FOUND),
    KnownCause("no-access", "hub.no_access", hub.NO_ACCESS),
    KnownCause("calibration", "inputs.calibration", files.CALIBRATION),
    *one_line.OF_DATA,
    KnownCause("bad-data", "inputs.bad_row", files.BAD_DATA),
    KnownCause("no-column", "inputs.no_column"),
    KnownCause("no-gpu", "devices.missing", devices.NO_GPU, node_fault=True),
    KnownCause("cuda-mismatch", "driver.mismatch", devices.CUDA_MISMATCH, node_fault=True),
    KnownCause("old-gpu", "devices.too_old", devices.OLD_GPU),
    *one_line.BETWEEN_GPUS,
    one_line.SHARING,
    *one_line.OF_DRIVER,
    KnownCause("port-taken", "meeting.port", network.PORT_TAKEN),
    KnownCause("no-interface", "nccl.no_interface", network.NO_INTERFACE, node_fault=True),
    KnownCause("no-network-plugin", "nccl.no_plugin", network.NO_PLUGIN, node_fault=True),
    KnownCause("nccl-versions", "nccl.versions", network.NCCL_VERSIONS),
    KnownCause("hidden-package", "versions.hidden", software.HIDDEN),
    KnownCause("circular-import", "versions.circular"),
    KnownCause("old-python", "versions.old_python", software.OLD_PYTHON),
    KnownCause("package-versions", "versions.arguments", software.ARGUMENTS),
    KnownCause("package-versions", "versions.protobuf", software.PROTOBUF),
    KnownCause("package-versions", "versions.weights_only", software.WEIGHTS_ONLY),
    KnownCause("package-versions", "versions.between_packages", software.BETWEEN),
    KnownCause("package-versions", "versions.other_arguments", software.OTHER_ARGUMENTS),
    KnownCause("package-versions", "packages.outdated", software.REQUIREMENT),
    KnownCause("package-versions", "software.versions", software.PACKAGE_VERSIONS),
    KnownCause("no-chat-template", "chat.no_template", software.CHAT),
    KnownCause("chat-template", "chat.refused"),
    *one_line_training.OF_TRAINING,
    KnownCause("dtypes", "training.dtypes", software.DTYPES),
    KnownCause("mixed-sharding", "training.mixed_sharding", software.MIXED_SHARDING),
    KnownCause("marked-twice", "training.marked_twice", software.MARKED_TWICE),
    KnownCause("not-picklable", "training.not_picklable", software.NOT_PICKLABLE),
    *one_line_training.OF_PACKAGES,
    KnownCause("python-library", "packages.of_python"),
    KnownCause("package-versions", "packages.gone_module"),
    KnownCause("no-package", "packages.missing", software.NO_PACKAGE),
    one_line_training.INDEX,
    KnownCause("cuda-error", "devices.fault", devices.CUDA_ERROR, general=True,
               node_fault=True),
    KnownCause("missing-file", "missing_files.missing_file", files.MISSING_FILE),
    # The first rank's own words, or its end without any.
    KnownCause("not-finite", "training.not_finite"),
    KnownCause("arguments", "program.arguments"),
    KnownCause("exception", "program.exception", general=True),
    KnownCause("killed", "program.killed", general=True, node_fault=True),
    # What the other ranks saw of it, where nothing tells what it was.
    KnownCause("infiniband", "nccl.infiniband", network.INFINIBAND, node_fault=True,
               collateral=True),
    KnownCause("collective-timeout", "network.timeout", network.TIMEOUT, general=True,
               node_fault=True, collateral=True),
    KnownCause("stuck-call", "nccl.stuck_call", network.STUCK_CALL, general=True, node_fault=True,
               collateral=True),
    KnownCause("not-met", "meeting.not_met", network.NOT_MET, general=True, node_fault=True,
               collateral=True),
    KnownCause("peer-lost", "network.peer", network.PEER, general=True, collateral=True),
    KnownCause("exception", "script.exception_in_log", general=True),
    KnownCause("killed", "script.task_killed", jobs.TASK_KILLED, general=True, node_fault=True),
    KnownCause("script", "script.message", jobs.SCRIPT, general=True),
    KnownCause("script", "script.boxed", general=True),
    KnownCause("killed", "no_failure.local_killed", general=True, node_fault=True),
    KnownCause("unknown", "no_failure.unknown_state"),
)  # fmt: skip
"""Causes of a failure, in this order: the root before what follows from it."""

UNKNOWN = KnownCause("unknown", "program.unknown")
"""Where no rule fits."""

PHRASES: Mapping[str, Phrases] = {
    **jobs.ROOT,
    **{name: phrases for cause in CAUSES for name, phrases in cause.phrases.items()},
}
"""All that a log is searched for, by name."""

ANYWHERE = frozenset(name for name, phrases in PHRASES.items() if phrases.anywhere)
"""Names of the phrases that may stand far above a log's end."""

COLLATERAL = tuple(name for cause in CAUSES if cause.collateral for name in cause.phrases)
"""Names of the phrases that a rank prints whose peer is dead or slow."""

NODE_FAULTS = frozenset(cause.kind for cause in CAUSES if cause.node_fault)
"""Kinds of causes that may lie with a node."""
