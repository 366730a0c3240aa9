"""What mkdocs does besides: folders in the navigation, links to files of the repository, nothing from elsewhere.

Pages are written for the repository, where they link to code and to other files beside docs/. On the site such links
lead to the repository; one to a file that is not there ends the build, as a link to a page that is not there does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from consumer import __version__

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(!?\[[^\]]*\]\()(\.\.?/[^)\s#]+)(#[^)\s]*)?\)")
_LOADED = re.compile(
    r"<(?:script|img|iframe|link(?![^>]*rel=\"?(?:canonical|prev|next)))[^>]*(?:src|href)=\"?(?:https?:)?//"
)


def on_config(config: Any) -> Any:
    """Put the pages of folders into the navigation."""
    config["nav"] = [_expanded(entry, Path(config["docs_dir"])) for entry in config["nav"]]
    return config


def _expanded(entry: Any, docs: Path) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {name: _pages(value, docs) for name, value in entry.items()}


def _pages(value: Any, docs: Path) -> Any:
    if isinstance(value, list):
        return [_expanded(each, docs) for each in value]
    if not value.endswith("/"):
        return value
    names = sorted(path.name for path in (docs / value).glob("*.md"))
    names.sort(key=lambda name: name != "README.md")
    return [value + name for name in names]


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - mkdocs names them
    """Lead links that leave docs/ to the repository."""
    folder = PurePosixPath("docs", page.file.src_uri).parent
    return _LINK.sub(lambda match: _led(match, folder, config["repo_url"]), markdown)


def _led(match: re.Match[str], folder: PurePosixPath, repository: str) -> str:
    target = (ROOT / folder / match[2]).resolve()
    if target.is_relative_to(ROOT / "docs"):
        return match[0]
    path = target.relative_to(ROOT).as_posix()
    if not target.exists():
        raise SystemExit(f"{folder}: a link to {path}, which is not there")
    kind = "tree" if target.is_dir() else "blob"
    return f"{match[1]}{repository}/{kind}/v{__version__}/{path}{match[3] or ''})"


def on_post_page(output: str, *, page: Any, config: Any) -> str:  # noqa: ARG001 - mkdocs names them
    """Refuse a page that would load something from elsewhere."""
    if found := _LOADED.search(output):
        raise SystemExit(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output
