"""The chapters' copies for Colab: plain Markdown, the published numbers, a first cell that installs the package."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from book_pages import BOOK, ROOT, SITE, cells, imported, notebooks, prose, without_code
from test_book import cited

REPOSITORY = "https://github.com/someone/book"
RUN_HERE = ["01_super_resolution", "07_progressive"]
CHAPTERS = [pytest.param(path, id=path.stem) for path in notebooks()]

spec = importlib.util.spec_from_file_location("write_colab_notebooks", BOOK / "_scripts" / "write_colab_notebooks.py")
colab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colab)


def leftovers(text: str) -> list[str]:
    """MyST that plain Markdown would show raw."""
    patterns = [
        r"^[ >]*[`:~]{3,}\{.*",  # a directive
        r"\{[\w:-]+\}`[^`]*`?",  # a role
        r"^[ >]*\$\$[ \t]*\([\w:-]+\).*",  # an equation's label
        r"^\([\w:-]+\)=.*",  # a target
        r"^[ >]*:[\w-]+:.*",  # an option
        r"^%.*",  # a comment
        r"^\+\+\+.*",  # a break
        r"\{\{.*?\}\}",  # a substitution
        r"\]\((?!https://|data:)[^)]*\)",  # a link that leads nowhere from a copy
        re.escape(colab.CUT),
    ]
    return [found[0] for pattern in patterns for found in re.finditer(pattern, without_maths(text), re.M)]


def without_maths(text: str) -> str:
    return re.sub(r"\$\$.*?\$\$(?! *\()|(?<!\$)\$(?!\$)[^$]+\$", "", text, flags=re.S)


@pytest.fixture(scope="module")
def targets():
    return colab.Targets()


@pytest.fixture
def convert(targets):
    addresses = colab.Addresses(REPOSITORY, "main", "https://someone.github.io/book")
    return colab.Converter("01_super_resolution", targets, addresses).convert


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> dict:
    written = colab.write_copies(REPOSITORY, tmp_path_factory.mktemp("copies"))
    return {path.stem: nbformat.read(path, as_version=4) for path in written}


# ---- what becomes of MyST --------------------------------------------------------------------------------------------


def test_the_check_sees_what_it_is_for():
    myst = [
        "```{note}\nx\n```", "> :::{tip}\n> x\n> :::", "{eq}`eq-psnr`", "$$\nx\n$$ (eq-x)", "(here)=\n# Here",
        ":class: x", "% said aside", "+++", "{{ name }}", "[a](02_distillation)", "![b](images/b.png)",
    ]  # fmt: skip
    assert [text for text in myst if not leftovers(text)] == []
    plain = "$$\nx_{n} \\tag{3}\n$$\n\nOf $a_{i}`$ see [b](https://b) and Eq. (3).\n\n```python\nx\n```\n"
    assert leftovers(plain) == []


def test_equations_keep_their_numbers(convert):
    number = colab.Targets().equations["eq-psnr"][0]
    assert convert("$$\nx\n$$ (eq-psnr)") == f"$$\nx \\tag{{{number[1:-1]}}}\n$$"
    assert convert("See Eq. {eq}`eq-psnr`.") == f"See Eq. {number}."
    assert convert("$$\na \\\\\nb\n$$") == "$$\n\\begin{aligned}\na \\\\\nb\n\\end{aligned}\n$$"


def test_what_is_elsewhere_becomes_a_link(convert, targets):
    there = "https://colab.research.google.com/github/someone/book/blob/colab/book/02_distillation.ipynb"
    label = next(label for label, (_, page) in targets.equations.items() if page == "02_distillation")
    number = targets.equations[label][0]
    assert convert(f"{{eq}}`{label}`") == f"[{number}]({there})"
    assert convert("[two](02_distillation) {doc}`2 <02_distillation>`") == f"[two]({there}) [2]({there})"
    assert convert("[words](glossary)") == "[words](https://someone.github.io/book/book/glossary.html)"
    assert convert("{doc}`glossary`") == "[Glossary](https://someone.github.io/book/book/glossary.html)"
    assert convert("[here](https://here)") == "[here](https://here)"
    picture = f"{REPOSITORY}/raw/main/book/images/before_after.jpg"
    assert convert("![a](images/before_after.jpg)") == f"![a]({picture})"
    assert convert('<img alt="a" src="images/before_after.jpg">') == f'<img alt="a" src="{picture}">'
    assert convert("```{figure} images/before_after.jpg\n:alt: a\n\nSee *b*.\n```") == f"![a]({picture})\n\n*See *b*.*"


def test_citations_name_authors_and_year(convert):
    assert convert("{cite:p}`keys1981cubic, kim2016vdsr`") == "(Keys, 1981; Kim et al., 2016)"
    assert convert("as {cite:t}`businger1965qr` do") == "as Businger and Golub (1965) do"
    assert convert("a line\n> {cite:p}`keys1981cubic,\n> kim2016vdsr`.").count("(Keys, 1981; Kim et al., 2016)") == 1


def test_terms_of_the_glossary_become_plain_words(convert):
    assert convert("A {term}`teacher` and *{term}`students <student>`*.") == "A teacher and *students*."
    assert convert("> of {term}`model\n> inversion`'s kind") == "> of model inversion\n's kind"


def test_boxes_become_quotations(convert):
    assert convert("```{note}\nLook {eq}`eq-psnr`.\n```").startswith("> **Note**\n>\n> Look (")
    assert convert(":::{admonition} Mind *it*\n:class: tip\n\n- a\n- b\n:::") == "> **Mind *it***\n>\n> - a\n> - b"
    proof = convert("```{admonition} Proof\n:class: dropdown\nx\n```")
    assert proof == "<details>\n<summary>Proof</summary>\n\nx\n\n</details>"
    assert convert("- item\n\n  ```{tip}\n  x\n  ```") == "- item\n\n  > **Tip**\n  >\n  > x"
    assert convert("````{note}\n```{tip}\nx\n```\n````") == "> **Note**\n>\n> > **Tip**\n> >\n> > x"


def test_code_stays_as_it_is(convert):
    code = "Type `{eq}` or\n\n```md\n{eq}`x`\n$$x$$ (y)\n```\n\nor\n\n    {eq}`x`"
    assert convert(code) == code


def test_roles_in_a_row_of_a_table(convert):
    row = "| a | b |\n|---|---|\n| {cite:t}`keys1981cubic` | {cite:t}`keys1981cubic` |"
    assert convert(row).splitlines()[2] == "| Keys (1981) | Keys (1981) |"


@pytest.mark.parametrize("text", ["```{nb-exec-table}\n```", "{download}`x`", "{{ x }}", "Word\n: what it means"])
def test_what_has_no_plain_form_is_an_error(convert, text):
    with pytest.raises(colab.NoPlainForm, match="01_super_resolution"):
        convert(text)


# ---- every chapter ---------------------------------------------------------------------------------------------------


def test_every_chapter_has_a_copy(copies):
    assert set(copies) >= {path.stem for path in notebooks()} != set()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_myst_is_left(copies, chapter):
    text = "\n\n".join(cell.source for cell in copies[chapter.stem].cells if cell.cell_type == "markdown")
    assert leftovers(without_code(text)) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_copy_has_the_chapters_code_and_outputs(copies, chapter):
    first, *code = [cell for cell in copies[chapter.stem].cells if cell.cell_type == "code"]
    assert f"dfkd @ git+{REPOSITORY}@main" in first.source
    assert copies[chapter.stem].cells[0] is first
    original = cells(chapter, "code")
    assert [re.sub(r"^# @title.*\n", "", cell.source) for cell in code] == [cell.source for cell in original]
    assert [cell.outputs for cell in code] == [cell.outputs for cell in original]
    nbformat.validate(copies[chapter.stem])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solutions_are_closed(copies, chapter):
    headings = [cell for cell in copies[chapter.stem].cells if cell.source.startswith(colab.FOLDED)]
    assert len(headings) == prose(chapter).count("{solution-start}")
    assert [cell.source for cell in headings if "\n" in cell.source] == []  # text in this cell would not be hidden
    assert copies[chapter.stem].metadata.colab.collapsed_sections == [cell.metadata.id for cell in headings]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_heading_ends_each_solution(chapter):
    """In Colab a closed section goes on to the next heading, and would hide whatever else follows."""
    everything = nbformat.read(chapter, as_version=4).cells
    text = "\n\n".join(cell.source if cell.cell_type == "markdown" else "code" for cell in everything)
    following = re.findall(r"\{solution-end\}\n[`:]{3,}\s*(.*)", text)
    assert [line for line in following if not re.match(r"#|[`:]{3,}\{exercise|$", line)] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_works_cited_are_listed(copies, chapter):
    listed = copies[chapter.stem].cells[-1].source
    assert listed.startswith("## Works cited")
    assert listed.count("\n- ") == len(cited(prose(chapter)))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_first_cell_brings_every_import(copies, chapter):
    brought = set(re.search('in "(.*?)".split', copies[chapter.stem].cells[0].source)[1].split()) | {"dfkd", "IPython"}
    module_of = {
        "scikit-image": "skimage", "scikit-learn": "sklearn", "pillow": "PIL", "lightning-fabric": "lightning_fabric",
    }  # fmt: skip
    assert imported(chapter) - set(sys.stdlib_module_names) <= {module_of.get(name, name) for name in brought}


def test_first_cell_brings_more_where_it_is_wanted():
    addresses = colab.Addresses(REPOSITORY, "main", "")
    cells = [nbformat.v4.new_code_cell("import torch\nfrom lightning_fabric import Fabric")]
    install = colab.install_cell(nbformat.v4.new_notebook(cells=cells), addresses).source
    assert install.count("lightning-fabric") == 2 and "onnx" not in install
    assert "__" not in install.replace("__version__", "")


@pytest.mark.pages
@pytest.mark.skipif(not (SITE / "objects.inv").exists(), reason="the book is not built; `make book` does it")
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_numbers_are_those_of_the_built_page(chapter, targets):
    page = SITE / "book" / f"{chapter.stem}.html"
    if not page.exists():
        pytest.skip("the page is not built")
    built = re.findall(r'id="equation-([\w-]+)".*?class="eqno">(\(\d+\))', page.read_text(), re.S)
    assert dict(built) == {label: n for label, (n, where) in targets.equations.items() if where == chapter.stem}


# ---- publishing ------------------------------------------------------------------------------------------------------


def test_buttons_and_workflow_name_the_same_branch_and_folder():
    links = (BOOK / "_ext" / "repository_links.py").read_text()
    assert f'COPIES_BRANCH = "{colab.COPIES_BRANCH}"' in links
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    assert workflow["permissions"] == {}
    permissions = {name: job.get("permissions", {}) for name, job in workflow["jobs"].items()}
    writers = [name for name, allowed in permissions.items() if allowed.get("contents") == "write"]
    assert writers == [colab.COPIES_BRANCH]
    commands = {name: " ".join(s.get("run", "") for s in job["steps"]) for name, job in workflow["jobs"].items()}
    assert "write_colab_notebooks.py" in commands["build"] and "_build/colab/book" in commands["build"]
    assert commands["colab"].rstrip().endswith(f".git\" {colab.COPIES_BRANCH}")


# ---- a copy runs where only torch and friends are installed ----------------------------------------------------------


@pytest.fixture
def clean(tmp_path_factory) -> Path:
    """Python of a new environment that sees what is installed here except `dfkd`; it can write only to itself."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # .pth files of a folder that a .pth file names are not read, so an editable install stays behind.
    (own / "here.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return Path(sysconfig.get_path("scripts", "venv", {"base": str(folder), "platbase": str(folder)})) / "python"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of what pip needs to build the package."""
    copy = tmp_path_factory.mktemp("repository")
    for path in [*ROOT.glob("LICENSE*"), ROOT / "README.md", ROOT / "pyproject.toml"]:
        shutil.copy(path, copy)
    shutil.copytree(ROOT / "dfkd", copy / "dfkd", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def up_to_its_experiment(notebook):
    """The copy without what trains for a minute and what builds on it; `make chapters` runs that."""
    trains = (i for i, cell in enumerate(notebook.cells) if "scoreboard.finish(" in cell.source)
    notebook.cells = notebook.cells[: next(trains, None)]
    return notebook


RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, kernel_name="python3", timeout=None, startup_timeout=240).execute()
nbformat.write(notebook, sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_HERE)
def test_copy_runs_in_a_clean_environment_and_leaves_torch_alone(name, clean, repository, tmp_path):
    written = {path.stem: path for path in colab.write_copies(str(repository), tmp_path)}
    notebook = up_to_its_experiment(nbformat.read(written[name], as_version=4))
    assert sum(cell.cell_type == "code" for cell in notebook.cells) > 10
    ask = "import json, torch, dfkd\nprint(json.dumps([torch.__version__, torch.__file__, dfkd.__file__]))"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    nbformat.write(notebook, written[name])

    # Without a network, and so with what is installed here to build the package (pip reads this 0 as "no isolation").
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DFKD_DATA_DIR")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "JUPYTER_PATH": "", "IPYTHONDIR": str(tmp_path)}
    there = dict(cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert subprocess.run([clean, "-c", "import torch"], **there).returncode == 0
    assert "No module named 'dfkd'" in subprocess.run([clean, "-c", "import dfkd"], **there).stderr

    done = subprocess.run([clean, "-c", RUN, written[name]], **there)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = nbformat.read(written[name], as_version=4).cells[-1].outputs[-1].text
    version, torch_file, dfkd_file = json.loads(printed)
    assert (version, torch_file) == (torch.__version__, torch.__file__)
    assert Path(dfkd_file).is_relative_to(clean.parents[1])
