"""Write a copy of each chapter that Colab can run and shows well: without MyST, and with a cell that installs `dfkd`.

    python book/_scripts/write_colab_notebooks.py https://github.com/OWNER/NAME OUT_FOLDER [--branch main] [--book URL]

Colab knows plain Markdown alone, so directives become quotations, headings and folded sections, references become
numbers and links, citations become names with a list at the end. Numbers are those of the published pages. What has
no plain form here is an error that names it. Stored outputs are kept: a copy can be read before it has run, and what
a run prints can be compared with it.

The publishing workflow pushes the copies to a branch of their own, where the pages' Colab buttons look for them.
"""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path

import nbformat
import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import parse_file
from pybtex.plugin import find_plugin

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
COPIES_BRANCH = "colab"  # where the workflow puts the copies; repository_links.py points the buttons there

INSTALL = """\
# @title Install the book's package
# Libraries that are here already keep their versions: moving one under a running kernel breaks it.
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

kept = []
for name in "torch numpy scipy pillow scikit-image __LIBRARIES__".split():
    with suppress(PackageNotFoundError):
        kept.append(f"{name}=={version(name)}\\n")
Path("kept.txt").write_text("".join(kept))
%pip install --quiet --constraint kept.txt "dfkd @ __WHERE__" __LIBRARIES__

import dfkd

print("dfkd", dfkd.__version__)
"""

# What a chapter wants beyond what comes with `dfkd`; the last ones only where its code has the word.
LIBRARIES = ["ipywidgets", "matplotlib", "scikit-learn"]
MORE = {"onnx": ["onnx", "onnxruntime", "onnxscript"], "lightning": ["lightning-fabric"]}

BOXES = ("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso")
TITLED_BOXES = ("admonition", "dropdown", "topic", "sidebar")
FOLDED = "#### Solution of "  # heading of a section that Colab shows closed
CUT = "<!-- new cell -->"


# ---- what the pages hold ---------------------------------------------------------------------------------------------


@cache
def parser():
    """The parser the book is built with."""
    extensions = yaml.safe_load((ROOT / "_config.yml").read_text())["parse"]["myst_enable_extensions"]
    return create_md_parser(MdParserConfig(enable_extensions=set(extensions), dmath_double_inline=True), RendererHTML)


def page_sources() -> dict[str, Path]:
    """Name to source of every page, in the order of the contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    files = (ROOT / f"{name}{suffix}" for name in names for suffix in (".ipynb", ".md"))
    return {file.stem: file for file in files if file.exists()}


def page_text(path: Path) -> str:
    """All Markdown of a page."""
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def directive_parts(token) -> tuple[str, str, dict[str, str], str]:
    """Name, argument, options and body of a fence that is a directive."""
    name, argument = re.fullmatch(r"\{([\w:-]+)\}\s*(.*)", token.info.strip()).groups()
    lines, options = token.content.splitlines(), {}
    while lines and (match := re.fullmatch(r":([\w-]+):\s*(.*)", lines[0])):
        options[match[1]] = match[2]
        lines.pop(0)
    return name, argument, options, "\n".join(lines).strip("\n")


def is_directive(token) -> bool:
    return token.type in ("fence", "colon_fence") and token.info.strip().startswith("{")


class Targets:
    """What a reference can lead to: label to (text that names it, page). Numbers run through the whole book."""

    def __init__(self):
        self.equations, self.others, self.titles = {}, {}, {}
        self.counts = {"exercise": 0}
        for page, path in page_sources().items():
            self.read(page, parser().parse(page_text(path)))

    def read(self, page: str, tokens) -> None:
        waiting = []  # labels that name the next heading
        for place, token in enumerate(tokens):
            if token.type == "math_block_label":
                self.add_equation(token.info, page)
            elif token.type == "myst_target":
                waiting.append(token.content)
            elif token.type == "heading_open":
                title = tokens[place + 1].content
                self.titles.setdefault(page, title)
                self.others |= dict.fromkeys(waiting, (title, page))
                waiting = []
            elif is_directive(token):
                self.add_directive(token, page)

    def add_equation(self, label: str, page: str) -> None:
        self.equations[label] = (f"({len(self.equations) + 1})", page)

    def add_directive(self, token, page: str) -> None:
        name, argument, options, body = directive_parts(token)
        label = options.get("label") or options.get("name")
        if name == "math" and label:
            self.add_equation(label, page)
        elif name == "exercise" or name.startswith("prf:"):
            kind = name.removeprefix("prf:")
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.others[label or f"{kind} {self.counts[kind]}"] = (f"{kind.capitalize()} {self.counts[kind]}", page)
        elif label:
            self.others[label] = (argument or label, page)
        if name not in ("code", "code-block", "code-cell", "math", "eval-rst"):
            self.read(page, [t for t in parser().parse(body) if t.type != "heading_open"])


# ---- citations -------------------------------------------------------------------------------------------------------


@cache
def bibliography():
    return parse_file(BOOK / "references.bib").entries


def author_year(key: str) -> tuple[str, str]:
    """Who and when, as a text cites a work."""
    entry = bibliography()[key]
    last = [" ".join(map(str, p.rich_prelast_names + p.rich_last_names)) for p in entry.persons["author"]]
    who = last[0] if len(last) == 1 else " and ".join(last) if len(last) == 2 else f"{last[0]} et al."
    return who, entry.fields.get("year", "n.d.")


def reference_list(keys) -> str:
    """The cited works, one a line, by first author."""
    style = find_plugin("pybtex.style.formatting", "unsrt")()
    backend = find_plugin("pybtex.backends", "markdown")()
    entries = [bibliography()[key] for key in sorted(keys, key=lambda key: author_year(key)[0].casefold())]
    lines = [entry.text.render(backend).replace("\n", " ") for entry in style.format_entries(entries)]
    return "\n".join(["## Works cited", "", *(f"- {line}" for line in lines)])


# ---- one page --------------------------------------------------------------------------------------------------------


class NoPlainForm(Exception):
    """A page uses something that has no counterpart in plain Markdown here."""


class Converter:
    """Turns the Markdown of one page's cells into plain Markdown."""

    def __init__(self, page: str, targets: Targets, addresses: Addresses):
        self.page, self.targets, self.addresses = page, targets, addresses
        self.cited = set()

    def convert(self, text: str) -> str:
        """Plain Markdown for MyST; CUT where another cell should begin."""
        lines = text.splitlines()
        blocks, cursors = [], {}
        for token in parser().parse(text):
            if token.type == "inline":
                self.change_inline(lines, token, cursors)
            elif token.type == "html_block":
                first, last = token.map
                lines[first:last] = [self.html(line) for line in lines[first:last]]
            elif token.type.startswith(("dl_", "footnote", "front_matter", "substitution")):
                raise NoPlainForm(f"{self.page}: {token.type} near {text[:60]!r}")
            elif (plain := self.block(token)) is not None:
                blocks.append((token, plain))
        for token, plain in reversed(blocks):
            first, last = token.map
            lines[first:last] = indented(plain, lines[first])
        return "\n".join(lines).strip("\n")

    def block(self, token) -> str | None:
        """What replaces a block; None where it stays."""
        if token.type == "math_block_label":
            return self.equation(token.content, token.info)
        if token.type == "math_block":
            return self.equation(token.content)
        if token.type in ("myst_target", "myst_line_comment", "myst_block_break"):
            return ""
        if is_directive(token):
            return self.directive(*directive_parts(token))
        return None

    def equation(self, tex: str, label: str | None = None) -> str:
        tex = tex.strip()
        if r"\\" in tex and r"\begin" not in tex:  # Sphinx adds this by itself
            tex = f"\\begin{{aligned}}\n{tex}\n\\end{{aligned}}"
        number = f" \\tag{{{self.targets.equations[label][0].strip('()')}}}" if label else ""
        return f"$$\n{tex}{number}\n$$"

    # -- directives

    def directive(self, name: str, argument: str, options: dict[str, str], body: str) -> str:
        if name in BOXES or name in TITLED_BOXES:
            title = argument if name in TITLED_BOXES else name.capitalize()
            closed = name == "dropdown" or "dropdown" in options.get("class", "")
            content = self.convert(body if name in TITLED_BOXES else f"{argument}\n{body}".strip())
            return folded(title, content) if closed else quoted(self.convert(title), content)
        if name == "exercise":
            number, _ = self.targets.others[options["label"]]
            return f"{CUT}### {number}: {argument}\n\n{self.convert(body)}"
        if name == "solution":
            return folded(f"Solution of {self.name_of(argument)}", self.convert(body))
        if name == "solution-start":
            return f"{CUT}{FOLDED}{self.name_of(argument)}{CUT}"
        if name == "solution-end":
            return CUT
        if name.startswith("prf:"):
            number, _ = self.targets.others[options["label"]]
            return quoted(f"{number} ({argument})" if argument else number, self.convert(body))
        if name in ("figure", "image"):
            picture = f"![{options['alt']}]({self.addresses.file(argument)})"
            return f"{picture}\n\n*{self.convert(body)}*" if body else picture
        if name == "math":
            return self.equation(body, options.get("label"))
        if name == "table":
            return f"**{self.convert(argument)}**\n\n{self.convert(body)}"
        if name in ("code", "code-block"):
            return f"```{argument}\n{body}\n```"
        if name == "margin":
            return quoted("Aside", self.convert(body))
        raise NoPlainForm(f"{self.page}: directive {{{name}}}")

    def name_of(self, label: str) -> str:
        """'exercise 7' for an exercise's label."""
        return self.targets.others[label][0].lower()

    # -- inside a paragraph

    def change_inline(self, lines: list[str], token, cursors: dict[int, int]) -> None:
        """Replace roles, links and pictures of a paragraph, heading or table cell in the lines it came from."""
        first, last = token.map
        text = "\n".join(lines[first:last])
        at = cursors.get(first, 0)  # cells of a table's row share a line
        for child in token.children:
            pattern, plain = self.inline(child)
            if pattern is None:
                continue
            match = re.compile(pattern).search(text, at)
            if match is None:
                raise NoPlainForm(f"{self.page}: {child.type} {child.content or child.attrs} in {token.content[:60]!r}")
            plain += "\n" * match[0].count("\n")  # as many lines as before
            text = text[: match.start()] + plain + text[match.end() :]
            at = match.start() + len(plain)
        lines[first:last] = text.split("\n")
        cursors[first] = at

    def inline(self, child) -> tuple[str | None, str]:
        """A pattern for what stands in the source, and what replaces it; None where it stays."""
        if child.type == "myst_role":
            name = child.meta["name"]
            words = r"[\s>]+".join(map(re.escape, child.content.strip("`").split()))
            return rf"\{{{name}\}}`+\s*{words}\s*`+", self.role(name, child.content.strip("`"))
        if child.type == "link_open" and not is_web(child.attrs["href"]):
            return rf"\]\(\s*{re.escape(child.attrs['href'])}", f"]({self.addresses.link(child.attrs['href'])}"
        if child.type == "image" and not is_web(child.attrs["src"]):
            return rf"\]\(\s*{re.escape(child.attrs['src'])}", f"]({self.addresses.file(child.attrs['src'])}"
        if child.type == "html_inline":
            return re.escape(child.content), self.html(child.content)
        if child.type.startswith(("substitution", "footnote")):
            raise NoPlainForm(f"{self.page}: {child.type} {child.content!r}")
        return None, ""

    def role(self, name: str, content: str) -> str:
        """Plain text, or a link where the target is on another page."""
        shown, target = re.fullmatch(r"(?:(.+?)\s*<)?([^<>]+?)>?", content.strip()).groups()
        if name in ("cite", "cite:p", "cite:t"):
            keys = [key.strip() for key in content.split(",")]
            self.cited |= set(keys)
            works = [author_year(key) for key in keys]
            if name == "cite:t":
                return ", ".join(f"{who} ({year})" for who, year in works)
            return "(" + "; ".join(f"{who}, {year}" for who, year in works) + ")"
        if name == "eq":
            return self.linked(*self.targets.equations[target])
        if name in ("ref", "numref", "prf:ref"):
            title, page = self.targets.others[target]
            return self.linked(shown or title, page)
        if name == "doc":
            page = Path(target).name
            return self.linked(shown or self.targets.titles[page], page)
        if name == "term":
            return shown or target
        if name == "math":
            return f"${content}$"
        if name.startswith("py:") or name in ("func", "class", "meth", "mod", "attr"):
            return f"`{(shown or target).lstrip('~.')}`"
        raise NoPlainForm(f"{self.page}: role {{{name}}}")

    def linked(self, text: str, page: str) -> str:
        return text if page == self.page else f"[{text}]({self.addresses.page(page)})"

    def html(self, text: str) -> str:
        """HTML whose pictures are asked for where they are."""
        return re.sub(r"""(?<=\bsrc=["'])(?!https?:|data:)[^"']+""", lambda match: self.addresses.file(match[0]), text)


def is_web(address: str) -> bool:
    return address.startswith(("http://", "https://", "mailto:", "data:"))


def quoted(title: str, content: str) -> str:
    """A box as a quotation under a bold title."""
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *content.split("\n")])


def folded(title: str, content: str) -> str:
    """A box that opens when its title is clicked."""
    return f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"


def indented(plain: str, line: str) -> list[str]:
    """Lines for what stood in a list or quotation, with the margin of the line where it began."""
    margin = re.match(r"[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?", line)[0]
    rest = re.sub(r"[^\s>]", " ", margin)
    return [f"{rest if i else margin}{text}".rstrip() for i, text in enumerate(plain.split("\n"))]


# ---- where links lead ------------------------------------------------------------------------------------------------


class Addresses:
    """Addresses in a repository, of its copies in Colab, and of the published book."""

    def __init__(self, repository: str, branch: str, book: str):
        self.repository, self.branch, self.book = repository.rstrip("/").removesuffix(".git"), branch, book.rstrip("/")

    @property
    def package(self) -> str:
        """What pip is given to install `dfkd` from."""
        if is_web(self.repository):
            return f"git+{self.repository}@{self.branch}"
        return Path(self.repository).resolve().as_uri()

    def file(self, name: str) -> str:
        """A picture beside the chapters."""
        kind = "raw" if is_web(self.repository) else ""
        return "/".join(filter(None, [self.repository, kind, kind and self.branch, "book", name.removeprefix("./")]))

    def page(self, page: str) -> str:
        """Another page: a chapter's copy in Colab; else the published page or, where none is, its source."""
        source = page_sources()[page]
        if source.suffix == ".ipynb":
            place = self.repository.removeprefix("https://github.com/")
            if place == self.repository:  # Colab opens no other host
                return source.name
            return f"https://colab.research.google.com/github/{place}/blob/{COPIES_BRANCH}/book/{source.name}"
        if self.book:
            return f"{self.book}/book/{page}.html"
        return f"{self.repository}/blob/{self.branch}/book/{source.name}"

    def link(self, href: str) -> str:
        """A link as a page has it: to a page, with or without its ending, or to a heading or file."""
        name, hash_, anchor = href.partition("#")
        page = Path(name).name.removesuffix(".ipynb").removesuffix(".md")
        if not name:
            return href
        if page in page_sources():
            return f"{self.page(page)}{hash_}{anchor}"
        return f"{self.repository}/blob/{self.branch}/book/{href}"


# ---- one chapter -----------------------------------------------------------------------------------------------------


def copy_for_colab(path: Path, targets: Targets, addresses: Addresses):
    """A chapter's copy, as a notebook."""
    notebook = nbformat.read(path, as_version=4)
    converter = Converter(path.stem, targets, addresses)
    cells = [install_cell(notebook, addresses)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells += markdown_cells(converter.convert(cell.source), cell.id)
        else:
            cells.append(code_cell(cell))
    if converter.cited:
        cells += markdown_cells(reference_list(converter.cited), "works-cited")
    for cell in cells:
        cell.metadata["id"] = cell.id  # Colab's own place for it, by which it knows what is folded
    closed = [cell.id for cell in cells if cell.source.startswith(FOLDED)]
    notebook.cells = cells
    notebook.metadata["colab"] = {"collapsed_sections": closed, "provenance": [], "toc_visible": True}
    return notebook


def install_cell(notebook, addresses: Addresses):
    """The first cell of a copy."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    libraries = LIBRARIES + [name for word, names in MORE.items() if word in code for name in names]
    source = INSTALL.replace("__WHERE__", addresses.package).replace("__LIBRARIES__", " ".join(libraries))
    return nbformat.v4.new_code_cell(source, id="install", metadata={"cellView": "form"})


def markdown_cells(text: str, name: str) -> list:
    """Cells for a converted text, which says where to cut it."""
    pieces = [piece.strip("\n") for piece in text.split(CUT) if piece.strip()]
    names = [f"{name}-{i}" if i else name for i in range(len(pieces))]
    return [nbformat.v4.new_markdown_cell(p, id=n) for p, n in zip(pieces, names, strict=True)]


def code_cell(cell):
    """A code cell, its tags said in ways that Colab knows."""
    tags = cell.metadata.get("tags", [])
    if "hide-input" in tags:
        cell.metadata["cellView"] = "form"
        cell.source = f"# @title The code behind this\n{cell.source}"
    if "raises-exception" in tags:
        cell.source = f"# @title Meant to fail: run the next cell afterwards\n{cell.source}"
    return cell


def write_copies(repository: str, out: Path, branch: str = "main", book: str = "") -> list[Path]:
    """Write every chapter's copy to a folder; the files written."""
    targets, addresses = Targets(), Addresses(repository, branch, book)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in page_sources().values():
        if path.suffix == ".ipynb":
            written.append(out / path.name)
            nbformat.write(copy_for_colab(path, targets, addresses), written[-1])
    return written


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("repository", help="address of the repository, or a folder")
    arguments.add_argument("out", type=Path, help="folder for the copies")
    arguments.add_argument("--branch", default="main", help="branch that dfkd is installed from")
    arguments.add_argument("--book", default="", help="address of the published book")
    for written in write_copies(**vars(arguments.parse_args())):
        print(written)
