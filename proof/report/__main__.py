"""Write the pages of figures: `python -m proof.report`."""

from proof.report import DOCS, pages

for path, text in pages().items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    print(f"Written to {path.relative_to(DOCS.parent)}.")
