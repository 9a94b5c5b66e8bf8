"""Logs that other tools wrote: `nvidia-smi dmon`, `vmstat`."""
