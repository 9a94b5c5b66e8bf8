"""Logs that other tools wrote: `nvidia-smi dmon`, `nvidia-smi --query-gpu`, `vmstat`."""
