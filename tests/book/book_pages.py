"""The book's sources as the checks see them: pages of the table of contents, their prose and their code cells."""

import ast
import re
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
SITE = ROOT / "_build" / "html"

FENCE = re.compile(r"\s*(`{3,}|~{3,}|:{3,})(.*)")


def toc_files() -> list[str]:
    """What _toc.yml lists, root first, as written there."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def path_of(name: str) -> Path | None:
    """The source of a page named in _toc.yml, or None if there is none."""
    candidates = [ROOT / f"{name}{suffix}" for suffix in ("", ".ipynb", ".md")]
    return next((path for path in candidates if path.is_file()), None)


def pages() -> list[Path]:
    """Sources of the book's pages."""
    return [path for path in map(path_of, toc_files()) if path]


def notebooks() -> list[Path]:
    """The chapters."""
    return sorted(BOOK.glob("*.ipynb"))


def cells(path: Path, kind: str) -> list:
    """A notebook's cells of one kind, 'code' or 'markdown'."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def prose(path: Path) -> str:
    """All Markdown of a page, without its code blocks."""
    text = path.read_text() if path.suffix == ".md" else "\n\n".join(c.source for c in cells(path, "markdown"))
    return without_code(text)


def without_code(text: str) -> str:
    """Markdown without its code blocks; directives, which are fenced alike, stay."""
    kept, opened = [], []  # opened: (fence, whether it holds code), outermost first
    for line in text.splitlines(keepends=True):
        fence, rest = FENCE.match(line).groups() if FENCE.match(line) else ("", "")
        in_code = bool(opened) and opened[-1][1]
        if fence and opened and fence.startswith(opened[-1][0]) and not rest.strip():
            opened.pop()
        elif fence and not in_code:
            in_code = not rest.strip().startswith("{")
            opened.append((fence, in_code))
        if not in_code:
            kept.append(line)
    return "".join(kept)


def tags(cell) -> list[str]:
    """A cell's tags."""
    return cell.metadata.get("tags", [])


def images(cell) -> list[str]:
    """Media types of the pictures among a cell's stored outputs."""
    return [kind for output in cell.outputs for kind in output.get("data", {}) if kind.startswith("image/")]


def imported(path: Path) -> set[str]:
    """Top-level modules that a chapter's code imports."""
    names = set()
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", cell.source, flags=re.M))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    return names
