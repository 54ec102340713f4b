"""Links of the pages: between pages they lead there, to other files they are names of files.

A hook of MkDocs. A link to a file that is not there ends the build.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.exceptions import PluginError
from pages import ELSEWHERE, REPOSITORY

# links, and code, in which nothing is one
LINK = re.compile(
    r"^ *```.*?^ *```|(?<!!)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s#]+)(#[^)]*)?\)|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
SOURCES = {page: source for source, page in ELSEWHERE.items()}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the links of a page."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def target(link: str) -> str | None:
        """Name the page or picture of a link, seen from here; None: it has none."""
        file = posixpath.normpath(posixpath.join(folder, link))
        on_site = ELSEWHERE.get(file) or file.removeprefix("docs/")
        if files.get_file_from_path(on_site) is not None:
            return posixpath.relpath(on_site, posixpath.dirname(here) or ".")
        if not (REPOSITORY / file).exists():
            raise PluginError(f"{here} links to {file}, which is not there")
        return None

    def link(found: re.Match[str]) -> str:
        text, where, anchor = found[1], found[2], found[3] or ""
        if where is None or re.match(r"[a-z]+:", where):
            return found[0]
        place = target(where)
        return f"{text} (`{where.lstrip('./')}`)" if place is None else f"[{text}]({place}{anchor})"

    def image(found: re.Match[str]) -> str:
        return f"![{found[1]}]({target(found[2])})"

    return IMAGE.sub(image, LINK.sub(link, markdown))
