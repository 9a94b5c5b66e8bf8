"""A model written as GGUF, for llama.cpp: its parameters, its tokenizer, its tensors."""
