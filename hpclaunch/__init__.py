"""hpclaunch: fine-tune large language models on a Slurm cluster with one command."""
