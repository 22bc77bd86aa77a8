"""Run with transformer-lens 3.x in front on sys.path: the same wrapper around a HookedTransformer and around Hugging Face.

Prints one JSON line; tests/test_legacy.py starts it in a process of its own and judges.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

import torch
import transformer_lens
from architectures import tokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig

from workbench.conversations import Conversation
from workbench.models.extraction import Reading, pooled, token_activations
from workbench.models.loading import load_model

torch.set_num_threads(1)
config = HookedTransformerConfig(
    n_layers=3, d_model=32, n_ctx=128, d_head=8, n_heads=4, d_vocab=300, act_fn="gelu", normalization_type="LN", seed=0
)
inner = HookedTransformer(config)
model = load_model(inner, tokenizer=tokenizer())
ids = torch.randint(10, 300, (1, 12), generator=torch.Generator().manual_seed(0))

cache = model.run_with_cache(ids)
_, theirs = inner.run_with_cache(ids)
same = max(float((cache[f"blocks.{n}.hook_resid_post"] - theirs[f"blocks.{n}.hook_resid_post"]).abs().max()) for n in range(3))
row = tuple(ids[0].tolist())
[(_, means)] = list(pooled(model, [Reading(row, 4, 12), Reading(row[:8], 2, 8)], model.layers))
expected = torch.stack([cache[f"blocks.{n}.hook_resid_post"][0, 4:12].mean(0) for n in range(3)])
before = model.logits(ids)
with model.hooks([(model.resid_post(1), lambda tensor, hook: tensor + 1.0 * torch.randn(32, generator=torch.Generator().manual_seed(1)))]):
    changed = float((model.logits(ids) - before).abs().max())
conversation = Conversation.of("the light of the sea")
first = model.chat(conversation, max_new_tokens=5, seeds=[3])
tokens = token_activations(model, conversation)
print(
    json.dumps(
        {
            "version": transformer_lens.__version__ if hasattr(transformer_lens, "__version__") else "3",
            "kind": type(inner).__name__,
            "layers": [model.n_layers, model.d_model, model.context],
            "cache": same,
            "pooled": float((means[0] - expected).abs().max()),
            "changed": changed,
            "undone": float((model.logits(ids) - before).abs().max()),
            "same_text": first == model.chat(conversation, max_new_tokens=5, seeds=[3]),
            "tokens": list(tokens.values.shape),
        }
    )
)
