"""Training's own kernels: fused LoRA layers, and a loss that computes its logits once."""
