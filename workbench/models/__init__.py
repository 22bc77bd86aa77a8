"""The model boundary: the only modules that import transformer_lens and transformers."""
