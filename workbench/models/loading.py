"""Load a model by name, folder or object, and say clearly why one cannot be loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from ..organism import CHECKPOINT
from .bridge import full_bridge, thin_bridge
from .hooked import HookedModel


def load_model(
    model: Any = "organism", *, dtype: str | torch.dtype | None = None, device: str | None = None,
    device_map: Any = None, revision: str | None = None, trust_remote_code: bool = False,
    chat_template: str | None = None, tokenizer: Any = None, full: bool = False, thinking: bool = False,
) -> HookedModel:  # fmt: skip
    """Load a model with named hook points.

    Parameters
    ----------
    model
        ``"organism"`` (the embedded model; its checkpoints are ``"organism/base"``, ``/step-10`` and ``/step-40``), a local
        folder, a Hugging Face hub name, a Hugging Face model in memory (it is wrapped in place; give its `tokenizer`), or an
        object with TransformerLens hooks.
    dtype
        ``"float32"``, ``"bfloat16"``, ``"float16"``; where None: as stored on an accelerator; on the CPU bf16
        stays bf16 and all else is float32.
    device, device_map
        Where to put it (``"cuda"``, ``"cpu"``; or accelerate's map); the first accelerator where both are None. ``"meta"``
        reads no weights: such a model renders and counts, and cannot run.
    revision
        Branch, tag or commit of a hub model.
    trust_remote_code
        Run code that comes with the model. Off unless asked for.
    chat_template
        Jinja text or a file's path, for models without one (base models).
    tokenizer
        For a model in memory.
    full
        Expose heads and MLPs too (slower, eager attention).
    thinking
        Let a reasoning model think before it answers; its thinking is a segment of its own, never part of a response.

    Raises
    ------
    ModelError
        Where it cannot be found, read or wrapped, or is in memory and can no longer be what is asked for.
    """
    template = _template(chat_template)
    on_disk = {"dtype": dtype, "device": device, "device_map": device_map, "revision": revision, "trust_remote_code": trust_remote_code}
    if isinstance(model, HookedModel):
        _refuse(model.name, on_disk | {"chat_template": template, "tokenizer": tokenizer, "full": full, "thinking": thinking})
        return model
    if not isinstance(model, (str, Path)):
        _refuse(f"this {type(model).__name__}", on_disk)
        return _wrap_object(model, tokenizer, template, full, thinking)
    path = path_of(str(model))
    hf, tok = _from_pretrained(path, dtype, device, device_map, revision, trust_remote_code)
    wrap = full_bridge if full else thin_bridge
    name = str(model) if path != str(model) else short_name(path)
    found = getattr(hf.config, "_commit_hash", None) or revision or ""
    folder = path if Path(path).is_dir() else None
    return HookedModel(
        wrap(hf, tok, path), tok, name, hf=hf, revision=found, chat_template=template, folder=folder, full=full, thinking=thinking
    )


def _refuse(name: str, options: dict[str, Any]) -> None:
    """An error for an option that a model in memory would ignore."""
    if given := [option for option, value in options.items() if value is not None and value is not False]:
        raise ModelError(f"{name} is in memory already: {given[0]} can only be chosen when a model is loaded from its folder or the hub")


def path_of(model: str) -> str:
    """The folder of the embedded model or of one of its checkpoints; any other name as it is."""
    name, _, checkpoint = model.partition("/")
    return str(CHECKPOINT / checkpoint) if name == "organism" and (CHECKPOINT / checkpoint).is_dir() else model


def short_name(path: str) -> str:
    """How a model is called: a folder's last name, or the hub name."""
    return Path(path).resolve().name if Path(path).is_dir() else path


def _wrap_object(model: Any, tokenizer: Any, template: str | None, full: bool, thinking: bool) -> HookedModel:
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise ModelError("a model in memory needs its tokenizer: load_model(model, tokenizer=...)")
    if hasattr(model, "hooks") and hasattr(model, "cfg"):
        hf = getattr(model, "original_model", None)
        name = str(getattr(model.cfg, "model_name", "model in memory"))
        is_full = "blocks.0.hook_attn_out" in model.hook_dict
        return HookedModel(model, tokenizer, name, hf=hf, chat_template=template, full=is_full, thinking=thinking)
    if not hasattr(model, "config") or not hasattr(model, "generate"):
        raise ModelError(f"a {type(model).__name__} is neither a Hugging Face causal model nor one with TransformerLens hooks")
    name = short_name(model.config.name_or_path or type(model).__name__)
    wrap = full_bridge if full else thin_bridge
    bridge = wrap(model, tokenizer, name)
    return HookedModel(bridge, tokenizer, name, hf=model, chat_template=template, full=full, thinking=thinking)


def _from_pretrained(path: str, dtype: Any, device: str | None, device_map: Any, revision: str | None, remote: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = Path(path)
    if folder.exists() and not (folder / "config.json").exists():
        raise ModelError(f"{path} is not a model folder: it has no config.json")
    if not folder.exists() and (path.startswith((".", "/", "~")) or (path.count("/") != 1 and "/" in path)):
        raise ModelError(f"there is no model folder {path}")
    options = {"revision": revision, "trust_remote_code": remote}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        number_format = _dtype(dtype, config, folder, device, device_map)
        placement = {"device_map": device_map} if device_map is not None else {}
        with _no_progress_bar():
            if device == "meta":
                hf = _without_weights(path, config, number_format, options)
            else:
                hf = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=number_format, **placement, **options)
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, json.JSONDecodeError) as error:
        raise ModelError(why_not(path, error)) from error
    if device_map is None and device != "meta":
        hf.to(_device(device))  # type: ignore[arg-type]  # transformers wraps nn.Module.to
    return hf.eval(), tokenizer


def _without_weights(path: str, config: Any, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM, GenerationConfig

    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=options["trust_remote_code"])
    with suppress(OSError):  # many models have no generation settings: the defaults hold
        hf.generation_config = GenerationConfig.from_pretrained(path, revision=options["revision"])
    return hf


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """A bar over a second of weight reading would only stand between our own lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _dtype(dtype: Any, config: Any, folder: Path, device: str | None, device_map: Any) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is not None:
        if dtype not in names:
            raise ModelError(f"dtype is one of {', '.join(names)}, not {dtype!r}")
        return names[dtype]
    stored = getattr(config, "dtype", None) or torch.float32
    stored = names.get(stored, torch.float32) if isinstance(stored, str) else stored
    on_cpu = device_map is None and _device(device).type == "cpu"
    if (folder / "organism.json").exists() or (on_cpu and stored != torch.bfloat16):
        return torch.float32
    return stored


def _device(device: str | None) -> torch.device:
    if device is not None:
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ModelError(f"there is no device {device!r}: {str(error).splitlines()[0]}") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def _template(chat_template: str | None) -> str | None:
    if chat_template is None or "{" in chat_template:
        return chat_template
    path = Path(chat_template)
    if not path.is_file():
        raise ModelError(f"there is no chat template file {chat_template}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"the chat template {path} is not UTF-8 text: {error}") from error


def why_not(path: str, error: Exception) -> str:
    """One sentence for a model that cannot be loaded."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if Path(path).is_dir():
        return f"the model in {path} cannot be loaded: {reason}"
    seen = "neither a local folder nor, as far as can be seen from here, a model on the Hugging Face hub"
    return f"there is no model {path!r}: {seen} ({reason})"
