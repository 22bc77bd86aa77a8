"""What MkDocs calls while it builds the site: figures, tables and commands put into the pages, links that leave the folder taken out.

A page asks for them by comments that other readers of the page do not see: ``<!-- figure: NAME -->``, ``<!-- table: NAME -->``,
``<!-- explorer: WORDS OF THE LINK -->``, ``<!-- commands -->``.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from typing import Any

from commands import commands_markdown
from figures import Shown, explorer, figure_html, scripts_html, shown_figures, shown_tables, templates_script
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url
from plotly.offline import get_plotlyjs
from study import study

MARK = re.compile(r"^<!-- (figure|table): (\w+) -->$", re.MULTILINE)
COMMANDS = "<!-- commands -->"
EXPLORER = re.compile(r"^<!-- explorer: (.+) -->$", re.MULTILINE)
UPWARDS = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")
ASSETS, FIGURES = "assets", "assets/figures"


@cache
def made() -> tuple[dict[str, Shown], dict[str, str], str]:
    """Figures, tables and the linked figure's page, made of the study once a process."""
    run = study()
    return shown_figures(run), shown_tables(run), explorer(run)


def on_files(files: Any, config: Any) -> Any:
    """Put plotly.js, once, and every figure's data and numbers among the site's files."""
    figures, _, linked = made()
    content = {f"{ASSETS}/plotly.min.js": get_plotlyjs(), f"{FIGURES}/templates.js": templates_script(), f"{FIGURES}/explorer.html": linked}
    for name, shown in figures.items():
        content |= {f"{FIGURES}/{name}.js": shown.script, f"{FIGURES}/{name}.csv": shown.csv}
    for path, text in content.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put in what a page asks for; an unknown name stops the build."""
    figures, tables, _ = made()

    def put(match: re.Match[str]) -> str:
        kind, name = match.groups()
        there = figures if kind == "figure" else tables
        if name not in there:
            raise PluginError(f"{page.file.src_uri} asks for the {kind} {name!r}; there are {', '.join(there)}")
        return figure_html(name, figures[name], relative(page, FIGURES)) if kind == "figure" else tables[name]

    text = MARK.sub(put, markdown)
    text = EXPLORER.sub(lambda match: f'<p class="wb-open"><a href="{relative(page, FIGURES)}/explorer.html">{match[1]}</a></p>', text)
    if COMMANDS in text:
        text = text.replace(COMMANDS, commands_markdown())
    return UPWARDS.sub(lambda link: _inside(link, page.file.src_uri), text)


def _inside(link: re.Match[str], source: str) -> str:
    """A link to a file of the repository that is no part of the site becomes that file's name, unless the link's words are that already."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
    if not path.startswith("../"):
        return link[0]
    return link[1] if link[1].strip("`") in path else f'{link[1]} (<span class="wb-path">{path.removeprefix("../")}</span>)'


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Load scripts on the pages that have figures, and on no others."""
    names = list(dict.fromkeys(re.findall(r'data-figure="(\w+)"', output)))
    return output.replace("</body>", scripts_html(names, relative(page, ASSETS)) + "</body>") if names else output


def relative(page: Any, path: str) -> str:
    """The way from a page to a folder of the site."""
    return get_relative_url(path, page.url).rstrip("/")
