"""What NCCL, gloo and torchrun print of ranks that do not reach each other."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

PORT_TAKEN: Family = {
    "port_taken": phrases("ddress already in use", "EADDRINUSE", "no free port on")
}
NO_INTERFACE: Family = {
    "no_interface": phrases(
        "no socket interface found", "No interface found", "Unable to find interface for",
        "ifname not found", "Unable to find address for", "o socket interfaces found",
        "nvalid network interface",
    )
}  # fmt: skip
NO_ADDRESS: Family = {"no_address": phrases("EADDRNOTAVAIL")}
TOPOLOGY: Family = {
    "topology": phrases(
        " of node ", "XML topology file",
        confirmed=r"Attribute \S+ of node \S+ not found|Could not open XML topology",
    )
}  # fmt: skip
NO_BACKEND: Family = {
    "no_backend": phrases(
        "No backend type associated with device type", "requires backend supporting cpu tensors"
    )
}
NCCL_VERSIONS: Family = {
    "nccl_versions": phrases(
        "Mismatched NCCL version",
        "ismatched NCCL versions",
        "Invalid config ",
        confirmed=r"ismatched NCCL|Invalid config \w+ attribute value",
    )
}
INFINIBAND: Family = {
    "infiniband": phrases(
        "NET/IB : Got completion", "NET/IB: Got completion", "ibv_modify_qp failed",
        "Got async event", "ibv_poll_cq failed",
        "ibv_post_send failed", "ibv_open_device failed", "ibv_query_gid", "NET/OFI Request",
        "NET/OFI ", "NET/UCX", "IBV_WC_", "ibv_query_port failed",
        confirmed=r"with (?:status=|error )(?!0\b)|failed with error"
        r"|: *(?:port error|device fatal)|IBV_WC_|ibv_\w+ failed"
        r"|NET/(?:OFI|UCX).*(?:fail|rror|Unable)",
    )
}  # fmt: skip
NO_PLUGIN: Family = {
    "no_plugin": phrases(
        "Failed to initialize any NET plugin", "Error: network ",
        "aws-ofi-nccl initialization failed",
        confirmed=r"any NET plugin|Error: network .* not found|aws-ofi-nccl",
    ),
    "no_provider": phrases(
        "output empty list", "Failed to initialize rdma protocol",
        "No eligible providers were found",
        "Only EFA provider is supported", "Unable to find a protocol that worked",
    ),
}  # fmt: skip
STUCK_CALL: Family = {
    "stuck_call": phrases(
        "watchdog got stuck", "Heartbeat monitor timed out", "due to ProcessGroupNCCL watchdog hang"
    )
}
TIMEOUT: Family = {
    "watchdog": phrases("Watchdog caught collective operation timeout", anywhere=True),
    "gloo_timeout": phrases(
        "Timed out waiting ", confirmed=r"Timed out waiting \d+ms for", anywhere=True
    ),
    "barrier": phrases("failed to pass monitoredBarrier", anywhere=True),
}
NOT_MET: Family = {
    "store_timeout": phrases(
        "wait timeout after ", "client socket has timed out", "seconds waiting for clients",
        "in store based barrier", "RendezvousTimeoutError", "RendezvousConnectionError",
        "RendezvousClosedError", "connection to the C10d store has failed",
        "cannot be retrieved (gai",
        anywhere=True,
    ),
    "network": phrases(
        "Connection refused", "No route to host", "Network is unreachable", "ncclSystemError",
        "connectFullMesh failed", "Software caused connection abort", "socketStartConnect",
        "socketPollConnect", "Socket Timeout",
        anywhere=True,
    ),
}  # fmt: skip
PEER: Family = {
    "peer_lost": phrases(
        "onnection closed by", "onnection reset by", "onnection was closed", "onnection was reset",
        "Remote peer closed", "remote process exited", "ncclRemoteError", "Broken pipe",
        "Socket closed", "failed to recv, got 0 bytes", "NCCL communicator was aborted",
        "NCCL Error 6", "recvValue failed", "sendBytes failed", "recvBytes failed",
        "possible application crash on rank",
        anywhere=True,
    )
}  # fmt: skip
