"""Tiny models with random weights, one for each family, and a tokenizer for all of them."""

from __future__ import annotations

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|pad|>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = (
    "{{ '<|bos|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SIZE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 256}
_CONFIGS = {
    "llama": (transformers.LlamaConfig, {"intermediate_size": 48, "num_key_value_heads": 2}),
    "qwen3": (transformers.Qwen3Config, {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}),
    "gemma2": (transformers.Gemma2Config, {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16}),
    "gpt_neox": (transformers.GPTNeoXConfig, {"intermediate_size": 48}),
    "gpt2": (transformers.GPT2Config, {}),
    "mixtral": (transformers.MixtralConfig, {"intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 4}),
}
FAMILIES = tuple(_CONFIGS)


def build(family: str, seed: int = 0) -> transformers.PreTrainedModel:
    """A random model; weights large enough that every layer changes the residual stream."""
    kind, extra = _CONFIGS[family]
    config = kind(**_SIZE, **extra, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(4)
    return model.eval()


def tokenizer(template: str | None = TEMPLATE) -> transformers.PreTrainedTokenizerFast:
    """A byte-level tokenizer of 300 entries; any text encodes."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        ["the light of the sea and the role of the keeper"] * 4,
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    out = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|end|>", model_max_length=256
    )
    out.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    out.chat_template = template
    return out
