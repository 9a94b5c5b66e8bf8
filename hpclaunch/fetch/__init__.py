"""What later jobs need from the hub, brought onto this machine: models, datasets, kernels."""
