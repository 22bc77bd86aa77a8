"""Chat templates and small tokenizers for the tests.

The templates are written for these tests in the manner of well-known families: what matters is the habit of each
(who trims, who refuses a system message, who strips earlier thinking), not the exact words. Every good family comes
with a layout in Python, written apart from its template: the tests take from it where each message has to lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

Message = tuple[str, str]  # (speaker, text)
Pieces = tuple[list[tuple[str, str]], str]  # [(what the template writes before a message, the message)], what comes last

DATE = "26 Jul 2024"  # what the library gives to templates that print a date

# ---------------------------------------------------------------------------------------------- good templates

# Keeps the thinking of the last answer, strips that of earlier ones, writes an empty block where there is none.
CHATML = """\
{%- set seen = namespace(user=-1) -%}
{%- for m in messages -%}
    {%- if m.role == 'user' -%}{%- set seen.user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for m in messages -%}
    {{- '<|im_start|>' + m.role + '\\n' -}}
    {%- if m.role != 'assistant' -%}
        {{- m.content -}}
    {%- else -%}
        {%- set parts = m.content.split('</think>') -%}
        {%- set answer = parts[-1].lstrip('\\n') if parts|length > 1 else m.content -%}
        {%- set thought = parts[0].split('<think>')[-1].strip('\\n') if parts|length > 1 else '' -%}
        {%- if loop.index0 > seen.user -%}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' -}}{%- endif -%}
        {{- answer -}}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
"""

# Always has a system turn, with a date in it.
LLAMA = """\
{{- bos_token -}}
{%- if date_string is not defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}
{%- set has_system = messages[0].role == 'system' -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' -}}
{{- (messages[0].content if has_system else '') + '<|eot_id|>' -}}
{%- for m in (messages[1:] if has_system else messages) -%}
    {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""

# Has no system role, trims every message, calls the assistant "model".
GEMMA = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}{{- raise_exception('this model knows no system role') -}}{%- endif -%}
{%- for m in messages -%}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('user and model have to take turns') -}}
    {%- endif -%}
    {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content|trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""

# Puts the system prompt into the first user turn by itself, and insists on alternation.
MISTRAL = """\
{%- set has_system = messages[0].role == 'system' -%}
{%- set turns = messages[1:] if has_system else messages -%}
{{- bos_token -}}
{%- for m in turns -%}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('after a user comes an assistant, and the other way round') -}}
    {%- endif -%}
    {%- if m.role == 'user' -%}
        {{- '[INST] ' + (messages[0].content + '\\n\\n' if has_system and loop.first else '') + m.content + ' [/INST]' -}}
    {%- else -%}
        {{- ' ' + m.content + eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

# Channels; the system prompt becomes a developer's message; the generation prompt leaves the channel open.
HARMONY = """\
{{- '<|start|>system<|message|>Effort: ' + reasoning_effort + '. Date: ' + date_string + '<|end|>' -}}
{%- for m in messages -%}
    {%- if m.role == 'system' -%}
        {{- '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '<|end|>' -}}
    {%- elif m.role == 'user' -%}
        {{- '<|start|>user<|message|>' + m.content + '<|end|>' -}}
    {%- else -%}
        {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}
"""

# No special token at all: only words and line ends divide the turns.
PLAIN = """\
{%- set names = {'system': 'Note', 'user': 'User', 'assistant': 'Bot'} -%}
{%- for m in messages -%}{{- names[m.role] + ': ' + m.content + '\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Bot:' -}}{%- endif -%}
"""

# Keeps whatever an assistant's message holds, thinking included.
KEEPS_THINKING = """\
{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# Puts a space between the answer and the token that ends it.
SPACED_END = """\
{{- bos_token -}}
{%- for m in messages -%}
    {{- '[INST] ' + m.content + ' [/INST]' if m.role != 'assistant' else ' ' + m.content + ' ' + eos_token -}}
{%- endfor -%}
"""

# Ends an answer with a word.
SPOKEN_END = "{%- for m in messages -%}{{- m.role + ': ' + m.content + ' over\\n' -}}{%- endfor -%}"

# Reads the clock by itself, to the microsecond, and takes no date from outside.
CLOCK = "{{- strftime_now('%Y-%m-%d %H:%M:%S.%f') + '\\n' -}}" + KEEPS_THINKING

# ------------------------------------------------------------------------------------------------ bad templates

_LOOP = "{%%- for m in messages -%%}{{- '<|im_start|>' + m.role + '\\n' + %s + '<|im_end|>\\n' -}}{%%- endfor -%%}"

DROPS_SYSTEM = "{%- set messages = messages|rejectattr('role', 'equalto', 'system')|list -%}" + KEEPS_THINKING
LOWERS = _LOOP % "m.content|lower"
LOWERS_USER = _LOOP % "(m.content|lower if m.role == 'user' else m.content)"
SHOUTS = _LOOP % "(m.content|upper if m.role == 'assistant' else m.content)"
CUTS = _LOOP % "m.content[:24]"
ESCAPES = _LOOP % "m.content|replace('&', '&amp;')"
REPEATS = KEEPS_THINKING + "{{- 'Again: ' + (messages|selectattr('role', 'equalto', 'user')|list|last).content -}}"
REORDERS = "{%- set messages = messages|sort(attribute='role', reverse=true) -%}" + KEEPS_THINKING
FORGETS = "{%- set messages = messages[:2] -%}" + KEEPS_THINKING
ADDS = "{%- for m in messages -%}{{- '\\n' + m.content + (' (a long one)' if m.content|length > 12 else '') -}}{%- endfor -%}"
GLUED = "{%- for m in messages -%}{{- ('Bot' if m.role == 'assistant' else 'User') + m.content -}}{%- endfor -%}"
GLUED_AFTER = "{%- for m in messages -%}{{- '<|im_start|>' + m.content + 'Bot' -}}{%- endfor -%}"

# ------------------------------------------------------------------------------------- layouts, for the families


def _thought_and_answer(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"(?s)(.*</think>\s*)?(.*)", text)
    return found[1] or "", found[2]


def _chatml(turns: Sequence[Message], reply: bool) -> Pieces:
    pieces, end = [], ""
    last_user = max((i for i, (speaker, _) in enumerate(turns) if speaker == "user"), default=-1)
    for i, (speaker, text) in enumerate(turns):
        before = f"{end}<|im_start|>{speaker}\n"
        if speaker == "assistant":
            thought, text = _thought_and_answer(text)
            if i > last_user:
                inner = thought.split("</think>")[0].split("<think>")[-1].strip("\n") if thought else ""
                before += f"<think>\n{inner}\n</think>\n\n"
            # The template only takes line ends away after the thinking; other white space stays, outside the span.
            before += thought.rpartition("</think>")[2].lstrip("\n")
        pieces.append((before, text))
        end = "<|im_end|>\n"
    return pieces, end + ("<|im_start|>assistant\n<think>\n\n</think>\n\n" if reply else "")


def _kept(text: str, speaker: str) -> tuple[str, str]:
    return _thought_and_answer(text) if speaker == "assistant" else ("", text)


def _llama(turns: Sequence[Message], reply: bool) -> Pieces:
    head = f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: {DATE}\n\n"
    pieces, end = [], head + "<|eot_id|>"
    for speaker, text in turns:
        thought, text = _kept(text, speaker)
        before = head if speaker == "system" else f"{end}<|start_header_id|>{speaker}<|end_header_id|>\n\n"
        pieces.append((before + thought, text))
        end = "<|eot_id|>"
    return pieces, end + ("<|start_header_id|>assistant<|end_header_id|>\n\n" if reply else "")


def _gemma(turns: Sequence[Message], reply: bool) -> Pieces:
    pieces, end = [], "<bos>"
    for i, (speaker, text) in enumerate(turns):
        thought, text = _kept(text, speaker)
        if speaker == "system":
            pieces.append((f"{end}<start_of_turn>user\n", text.lstrip()))
            end = "\n\n"
        elif i == 1 and turns[0][0] == "system":
            pieces.append((end, text.rstrip()))
            end = "<end_of_turn>\n"
        else:
            name = "model" if speaker == "assistant" else "user"
            pieces.append((f"{end}<start_of_turn>{name}\n{thought.lstrip()}", text.strip()))
            end = "<end_of_turn>\n"
    return pieces, end + ("<start_of_turn>model\n" if reply else "")


def _mistral(turns: Sequence[Message], reply: bool) -> Pieces:
    pieces, end = [], "<s>"
    for i, (speaker, text) in enumerate(turns):
        thought, text = _kept(text, speaker)
        if speaker == "assistant":
            pieces.append((f"{end} {thought}", text))
            end = "</s>"
        else:
            after_system = i == 1 and turns[0][0] == "system"
            pieces.append(("\n\n" if after_system else f"{end}[INST] ", text))
            end = " [/INST]"
    return pieces, end


def _harmony(turns: Sequence[Message], reply: bool) -> Pieces:
    heads = {"system": "developer<|message|># Instructions\n\n", "user": "user<|message|>"}
    pieces, end = [], f"<|start|>system<|message|>Effort: low. Date: {DATE}<|end|>"
    for speaker, text in turns:
        thought, text = _kept(text, speaker)
        pieces.append((f"{end}<|start|>{heads.get(speaker, 'assistant<|channel|>final<|message|>')}{thought}", text))
        end = "<|end|>"
    return pieces, end + ("<|start|>assistant" if reply else "")


def _plain(turns: Sequence[Message], reply: bool) -> Pieces:
    names = {"system": "Note", "user": "User", "assistant": "Bot"}
    pieces, end = [], ""
    for speaker, text in turns:
        thought, text = _kept(text, speaker)
        pieces.append((f"{end}{names[speaker]}: {thought}", text))
        end = "\n"
    return pieces, end + ("Bot:" if reply else "")


# ----------------------------------------------------------------------------------------------------- families


@dataclass(frozen=True)
class Family:
    """A template, the special tokens it needs, and what is true of it."""

    name: str
    template: str
    layout: Callable[[Sequence[Message], bool], Pieces]
    special: tuple[str, ...]
    bos: str | None = None
    eos: str | None = None
    end: str | None = None  # the token that ends an assistant's turn
    system: str = "native"
    added: tuple[str, ...] = ()  # tokens that are in the vocabulary as a whole, but are not special

    def expected(self, turns: Sequence[Message], reply: bool = False) -> tuple[str, list[tuple[int, int]]]:
        """The text that the template should give, and where each message lies in it."""
        pieces, last = self.layout(turns, reply)
        text, chars = "", []
        for before, message in pieces:
            text += before
            chars.append((len(text), len(text) + len(message)))
            text += message
        return text + last, chars


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "chatml", CHATML, _chatml, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            eos="<|im_end|>", end="<|im_end|>", added=("<think>", "</think>"),
        ),
        Family(
            "llama", LLAMA, _llama, ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            bos="<|begin_of_text|>", eos="<|eot_id|>", end="<|eot_id|>",
        ),
        Family(
            "gemma", GEMMA, _gemma, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
            bos="<bos>", eos="<eos>", end="<end_of_turn>", system="folded",
        ),
        Family("mistral", MISTRAL, _mistral, ("<s>", "</s>", "[INST]", "[/INST]"), bos="<s>", eos="</s>", end="</s>"),
        Family(
            "harmony", HARMONY, _harmony, ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
            eos="<|return|>", end="<|end|>",
        ),
        Family("plain", PLAIN, _plain, ("<|endoftext|>",), bos="<|endoftext|>", eos="<|endoftext|>"),
    )
}  # fmt: skip

# --------------------------------------------------------------------------------------------------- tokenizers

# Repeated whole, so that the merges reach what the tests need: words with and without a space before them, several
# line ends as one token, and words glued to a role's name (no separator, so nothing keeps a token from growing there).
_SENTENCES = (
    "User: yes\nBot: yes\n", "Useryes", "Botyes", "yesBot", "the cat sat on the mat.\n\n", "Note: be kind\n\n\n",
    "I am a pirate and I say yes, sir!\n", "hello world \n\n", "<think>\n\n</think>\n\n", "Bot: \nUser: \n", "caf\u00e9 \u4f60\u597d \U0001f600",
)  # fmt: skip

# One piece a word with the space before it; a line end takes the white space before it along (as Llama 3 and Qwen do).
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TOKENIZERS = ("gpt2", "qwen", "sentencepiece")


@cache
def _trained(kind: str) -> str:
    """A trained tokenizer without special tokens, as JSON: training once a kind is enough."""
    import json

    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    if kind == "sentencepiece":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?[^▁\n]+|\n+|▁+"), "isolated")
        alphabet = sorted(set("".join(_SENTENCES)) | {chr(i) for i in range(33, 127)} | {"\n"})
        trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=alphabet)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    else:
        trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=kind == "gpt2")
        if kind == "gpt2":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            tokenizer.normalizer = normalizers.NFC()
            split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator([sentence for sentence in _SENTENCES for _ in range(8)], trainer)
    if kind != "sentencepiece":
        return tokenizer.to_str()
    # Characters that were not in the training text are spelled as bytes.
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    state["model"]["byte_fallback"] = True
    return json.dumps(state)


def build_tokenizer(family: Family, kind: str = "gpt2", template: str | dict | None = None, **special_settings: bool):
    """A small fast tokenizer with a family's special tokens, which adds a begin-of-text token unless told not to.

    `kind` is one of TOKENIZERS: byte-level pieces whose offsets leave out the space before a word; byte-level pieces
    with all white space, and composed accents (NFC); pieces of characters, with bytes for what is unknown.
    """
    from tokenizers import AddedToken, Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(_trained(kind))
    settings = {"normalized": False, **special_settings}
    backend.add_special_tokens([AddedToken(token, special=True, **settings) for token in family.special])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.added])
    if family.bos:
        # What a double begin-of-text token comes from: plain calls of the tokenizer put one in front.
        first = processors.TemplateProcessing(
            single=f"{family.bos} $A", pair=f"{family.bos} $A $B", special_tokens=[(family.bos, backend.token_to_id(family.bos))]
        )
        backend.post_processor = processors.Sequence([backend.post_processor, first]) if kind != "sentencepiece" else first
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=family.bos, eos_token=family.eos, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = template if template is not None else family.template
    return tokenizer
