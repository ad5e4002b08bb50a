"""What the site has beside its pages: `llms.txt` and the pages as text, for programs that read instead of people."""

import inspect
import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

OF_DOCSTRINGS = re.compile(r"^::: (\S+)$(?:\n +.*$)*", re.MULTILINE)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def on_post_build(config: Any) -> None:
    """Write an index of the pages with their first words, all of them as one text, and each as it was written."""
    source, site = Path(config["docs_dir"]), Path(config["site_dir"])
    pages = [source / name for name in _names(config["nav"])]
    whole: list[str] = []
    index = [f"# {config['site_name']}", "", f"> {config['site_description']}", ""]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        text = OF_DOCSTRINGS.sub(lambda match: _documented(match[1]), text)
        whole.append(text)
        name = page.relative_to(source).as_posix()
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        index.append(f"- [{_title(text, name)}]({name}): {_first_words(text)}")
    (site / "llms.txt").write_text("\n".join([*index, ""]), encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(whole), encoding="utf-8")


def _documented(path: str) -> str:
    """Return what the docstrings say of a name, or of the public names of a module."""
    named = resolve_name(path)
    if inspect.ismodule(named):
        public = [name for name in getattr(named, "__all__", ()) or vars(named) if not name.startswith("_")]
        own = [name for name in public if getattr(getattr(named, name), "__module__", "") == path]
        return "\n\n".join([f"## {path}\n\n{inspect.getdoc(named)}", *(_documented(f"{path}:{name}") for name in own)])
    try:
        takes = str(inspect.signature(named))
    except (TypeError, ValueError):
        takes = ""
    return f"### {path.replace(':', '.')}{takes}\n\n{inspect.getdoc(named)}"


def _names(nav: Any) -> list[str]:
    """Return the pages of the navigation, in its order."""
    if isinstance(nav, str):
        return [nav]
    return [name for part in (nav.values() if isinstance(nav, dict) else nav) for name in _names(part)]


def _title(text: str, name: str) -> str:
    found = TITLE.search(text)
    return found[1] if found else name


def _first_words(text: str) -> str:
    """Return the first sentence of the first paragraph that is prose."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    prose = next((part for part in paragraphs if part and part[0] not in "#|<[!->:"), "")
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", prose.partition(". ")[0]).rstrip(".") + "."
