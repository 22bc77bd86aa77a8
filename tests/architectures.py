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
"""Go through every contract suite."""
_GROUPED = {"intermediate_size": 48, "num_key_value_heads": 2}
_MORE = {
    "qwen2": (transformers.Qwen2Config, _GROUPED),
    "gemma3": (transformers.Gemma3TextConfig, {**_GROUPED, "head_dim": 8, "sliding_window": 16}),
    "mistral": (transformers.MistralConfig, {**_GROUPED, "head_dim": 8}),
    "phi3": (transformers.Phi3Config, _GROUPED),
    "olmo2": (transformers.Olmo2Config, _GROUPED),
    "smollm3": (transformers.SmolLM3Config, _GROUPED),
    "granite": (transformers.GraniteConfig, _GROUPED),
    "qwen3_moe": (
        transformers.Qwen3MoeConfig,
        {**_GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    ),
    "latent attention": (
        transformers.DeepseekV3Config,
        {"intermediate_size": 48, "moe_intermediate_size": 24, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2,
         "num_experts_per_tok": 2, "topk_group": 1, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
         "qk_nope_head_dim": 8, "first_k_dense_replace": 1},
    ),
    "convolution hybrid": (transformers.Lfm2Config, {**_GROUPED, "layer_types": ["conv", "full_attention", "conv"]}),
    "state-space hybrid": (
        transformers.FalconH1Config,
        {**_GROUPED, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
    ),
}  # fmt: skip
MORE = tuple(_MORE)
"""Go through the short suite of test_architectures.py."""


def build(family: str, seed: int = 0) -> transformers.PreTrainedModel:
    """A random model; weights large enough that every layer changes the residual stream."""
    kind, extra = (_CONFIGS | _MORE)[family]
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
