"""Where GPU values come from: NVIDIA's library, or the kernel's own files."""
