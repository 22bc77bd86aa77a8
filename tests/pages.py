"""The pages of the documentation as tests see them: blocks of code, commands, links, headings."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown.extensions.toc import slugify

HOUSE = Path(__file__).parent.parent
DOCS = HOUSE / "docs"
README = HOUSE / "README.md"
FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>.*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$(?:\n\n^```text\n(?P<output>.*?)^```$)?", re.M | re.S
)


def written() -> list[Path]:
    """Every page that somebody reads: the README and the site's, but not the log of experiments, whose commands are history."""
    return [README, *sorted(p for p in DOCS.rglob("*.md") if p.name != "LOG.md")]


def name_of(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, why it is not run (empty: it is), what is said to come out of it, and where it stands."""

    language: str
    code: str
    why: str
    output: str
    place: str


def blocks(path: Path, *languages: str) -> list[Block]:
    text, found = path.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        place = f"{name_of(path)}, line {text.count(chr(10), 0, match.start('code')) + 1}"
        found.append(Block(match["language"], match["code"], match["why"] or "", match["output"] or "", place))
    return [block for block in found if not languages or block.language in languages]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def inline_code(path: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(path))]


def shell_commands(code: str) -> list[list[str]]:
    """The single commands of a shell block, as words; comments are left out, lines that go on are joined."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((i for i, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
            found.append(words[:end])
            words = words[end + 1 :]
    return [words for words in found if words]


def links(path: Path) -> list[str]:
    """Where a page's links lead that do not leave the repository."""
    found = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(path)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    heads = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {slugify(re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", head), "-") for head in heads}
