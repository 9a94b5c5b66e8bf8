"""Launch, monitor and report fine-tuning of large language models on Slurm clusters."""

__version__ = "0.1.0"
