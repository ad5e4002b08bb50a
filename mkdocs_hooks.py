"""What the site has beside its pages: `llms.txt` and the pages as text, for programs that read instead of people."""

import re
from pathlib import Path
from typing import Any

TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def on_post_build(config: Any) -> None:
    """Write an index of the pages with their first words, all of them as one text, and each as it was written."""
    source, site = Path(config["docs_dir"]), Path(config["site_dir"])
    pages = [source / name for name in _names(config["nav"])]
    index = [f"# {config['site_name']}", "", f"> {config['site_description']}", ""]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(source).as_posix()
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        index.append(f"- [{_title(text, name)}]({name}): {_first_words(text)}")
    (site / "llms.txt").write_text("\n".join([*index, ""]), encoding="utf-8")
    (site / "llms-full.txt").write_text(
        "\n\n".join(page.read_text(encoding="utf-8") for page in pages), encoding="utf-8"
    )


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
