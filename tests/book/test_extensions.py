"""The book's Sphinx extensions, without a build."""

import base64
import importlib.util
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from book_pages import BOOK, ROOT
from docutils import nodes
from sphinx.addnodes import glossary

from dfkd.cli import app
from dfkd.networks.zoo import load_model


def extension(name: str):
    spec = importlib.util.spec_from_file_location(name, BOOK / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- repository_links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:someone/book.git", "https://github.com/someone/book"),
        ("https://github.com/someone/book", "https://github.com/someone/book"),
        ("https://someone:secret@github.com/someone/book.git", "https://github.com/someone/book"),
        ("ssh://git@gitlab.com:22/group/sub/book.git", "https://gitlab.com/group/sub/book"),
        ("/srv/git/book.git", ""),
        ("../book", ""),
        ("https://git.example.org/someone/book", ""),
        ("", ""),
    ],
)
def test_address_of_a_remote(remote, address):
    assert extension("repository_links").web_address(remote) == address


def links(tmp_path, monkeypatch, **environment) -> dict:
    for name in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "GITHUB_REF_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = {"repository_url": "default", "launch_buttons": {"binderhub_url": "hub", "colab_url": "colab"}}
    config = SimpleNamespace(html_theme_options=options)
    extension("repository_links").add_links(SimpleNamespace(srcdir=tmp_path), config)
    return options


def test_buttons_lead_to_the_fork_that_builds_the_book(tmp_path, monkeypatch):
    options = links(tmp_path, monkeypatch, GITHUB_REPOSITORY="fork/book", GITHUB_REF_NAME="draft")
    assert options["repository_url"] == "https://github.com/fork/book"
    assert options["repository_branch"] == "draft"
    assert options["use_issues_button"] is True
    assert set(options["launch_buttons"]) == {"binderhub_url", "colab_url"}


def test_no_colab_button_for_a_host_that_colab_cannot_open(tmp_path, monkeypatch):
    options = links(tmp_path, monkeypatch, GITHUB_REPOSITORY="fork/book", GITHUB_SERVER_URL="https://example.org")
    assert set(options["launch_buttons"]) == {"binderhub_url"}


def test_colab_button_leads_to_the_copies():
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options={"repository_branch": "main"}))
    address = "https://example.org/github/fork/book/blob/{}/book/01.ipynb"
    buttons = [{"text": "Colab", "url": address.format("main")}, {"text": "Binder", "url": address.format("main")}]
    context = {"header_buttons": [{"type": "group", "buttons": buttons}, {"type": "link", "url": "x"}]}
    extension("repository_links").point_colab_at_copies(app, "book/01", "page.html", context, None)
    assert [button["url"] for button in buttons] == [address.format("colab"), address.format("main")]


def test_no_buttons_where_nobody_knows_the_repository(tmp_path, monkeypatch):
    options = links(tmp_path, monkeypatch)
    assert options == {"launch_buttons": {}}


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/fork/book", "https://github.com/fork/book/issues/new?title="),
        ("https://git.example.org/fork/book", "https://git.example.org/fork/book/issues/new?title="),
        ("https://gitlab.com/fork/book", "https://gitlab.com/fork/book/-/issues/new?issue%5Btitle%5D="),
    ],
)
def test_a_page_ends_in_a_link_to_a_new_issue_with_its_name(repository, address):
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options={"repository_url": repository}))
    context = {"title": "3. <em>Why</em> &amp; how", "body": "<section>The page.</section>\n"}
    extension("repository_links").invite_corrections(app, "book/03", "page.html", context, None)
    before, _, link = context["body"].partition('<p class="dfkd-wrong">')
    assert before == "<section>The page.</section>\n"
    (href,) = re.findall(r'<a href="([^"]+)">Something wrong on this page\?</a>', link)
    assert href == f"{address}Page+%E2%80%9C3.+Why+%26+how%E2%80%9D"


def test_no_link_to_a_new_issue_where_there_is_no_repository_or_no_page():
    known, unknown = ({"repository_url": "https://github.com/fork/book"}, {"launch_buttons": {}})
    for options, context in ((unknown, {"title": "3", "body": "text"}), (known, {"title": "Search"})):
        app = SimpleNamespace(config=SimpleNamespace(html_theme_options=options))
        before = dict(context)
        extension("repository_links").invite_corrections(app, "book/03", "page.html", context, None)
        assert context == before


# ---- execution_cache -------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "dfkd", tmp_path / "dfkd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    return tmp_path


def test_cache_is_kept_while_the_package_stays(copy):
    fingerprint = extension("execution_cache").fingerprint
    before = fingerprint(copy)
    (copy / "dfkd" / "__pycache__").mkdir()
    (copy / "dfkd" / "__pycache__" / "losses.pyc").write_bytes(b"compiled")
    assert fingerprint(copy) == before


@pytest.mark.parametrize("name", ["dfkd/losses.py", "dfkd/registry.txt", "constraints.txt"])
def test_cache_is_dropped_when_a_file_changes(copy, name):
    fingerprint = extension("execution_cache").fingerprint
    before = fingerprint(copy)
    with (copy / name).open("a") as file:
        file.write("# changed\n")
    assert fingerprint(copy) != before


def test_cache_depends_on_whether_benchmarks_are_at_hand(copy, monkeypatch):
    fingerprint = extension("execution_cache").fingerprint
    monkeypatch.setenv("DFKD_DATA_DIR", "somewhere")
    with_data = fingerprint(copy)
    monkeypatch.delenv("DFKD_DATA_DIR")
    assert fingerprint(copy) != with_data


# ---- without_thebe ---------------------------------------------------------------------------------------------------


def test_only_thebes_scripts_are_dropped():
    is_thebe = extension("without_thebe").is_thebe
    assert is_thebe("_static/sphinx-thebe.js")
    assert is_thebe(SimpleNamespace(filename=None, attributes={"body": 'const THEBE_JS_URL = "x"'}))
    assert not is_thebe(SimpleNamespace(filename="_static/doctools.js", attributes={}))
    assert not is_thebe("_static/book.css")


# ---- inline_diagrams -------------------------------------------------------------------------------------------------


def test_a_diagram_becomes_part_of_the_page():
    svg = """<?xml version="1.0"?>
<svg class="diagram">
  <title>Boxes</title>
  <!-- a note -->
  <a href="../07_progressive.ipynb#growing"><text>chapter 7</text></a>
  <path marker-end="url(#tip)"/>
</svg>"""
    html = extension("inline_diagrams").inline(svg, 'A "box"', lambda href: href.upper())
    assert html.startswith('<svg role="group" aria-label="A &quot;box&quot;" class="diagram">')
    assert '<a href="../07_PROGRESSIVE.IPYNB#growing">' in html
    assert "url(#tip)" in html
    assert not any(part in html for part in ("<?xml", "<title>", "note"))


# ---- glossary_hover --------------------------------------------------------------------------------------------------


def a_glossary() -> nodes.document:
    """One entry with two terms, its meaning in two lines and with a link."""
    text = nodes.paragraph("", "An image turned,\n", nodes.emphasis("", "flipped"), nodes.Text("\nor shifted."))
    terms = [nodes.term("", name, ids=[f"term-{name}"]) for name in ("view", "views")]
    item = nodes.definition_list_item("", *terms, nodes.definition("", text))
    return nodes.container("", glossary("", nodes.definition_list("", item)))


def a_link(kind: str, **place) -> nodes.reference:
    return nodes.reference("", "", nodes.inline("", "views", classes=["xref", "std", kind]), **place)


def test_links_to_terms_bear_their_meaning_and_others_do_not():
    far, near = a_link("std-term", refuri="glossary.html#term-view"), a_link("std-term", refid="term-views")
    other = a_link("std-ref", refuri="glossary.html#term-view")
    env = SimpleNamespace(
        get_domain=lambda name: SimpleNamespace(_terms={"view": ("book/glossary", "term-view")}),
        get_doctree=lambda page: {"book/glossary": a_glossary()}[page],
    )
    document = nodes.container("", far, near, other)
    page = SimpleNamespace(document=document, env=env)
    extension("glossary_hover").MeaningsOfTerms.run(page)
    assert far["reftitle"] == near["reftitle"] == "An image turned, flipped or shifted."
    assert far["classes"] == near["classes"] == ["dfkd-term"]
    assert "reftitle" not in other and other["classes"] == []


# ---- upscaler_page ---------------------------------------------------------------------------------------------------


def test_page_carries_the_packaged_weights_and_a_picture():
    data = extension("upscaler_page").data()
    network, model = data["network"], load_model("vdsr-small")
    halves = np.frombuffer(base64.b64decode(network["weights"]), dtype="<f2")
    layers = [model.head, *model.body, model.tail]
    weights = np.concatenate([layer.weight.numpy().ravel() for layer in layers])
    assert {"width": network["width"], "blocks": network["blocks"]} == model.spec()
    np.testing.assert_allclose(halves, weights, rtol=1e-3, atol=1e-6)
    assert data["photograph"]["address"].startswith("data:image/webp;base64,")


def test_only_the_page_that_asks_gets_the_upscaler():
    added = []
    app = SimpleNamespace(
        add_css_file=lambda name: added.append(name), add_js_file=lambda name, **options: added.append(name)
    )
    upscaler_page = extension("upscaler_page")
    for text in ("<p>Nothing of the kind.</p>", '<div class="dfkd-upscaler"></div>'):
        assert added == []
        doctree = nodes.container("", nodes.raw("", text, format="html"))
        upscaler_page.add_files(app, "a page", "page.html", {}, doctree)
    upscaler_page.add_files(app, "search", "search.html", {}, None)
    assert added == ["upscaler.css", "upscaler_data.js", "upscaler.js", "photograph.js"]


def test_data_are_written_where_the_build_looks(tmp_path, monkeypatch):
    upscaler_page = extension("upscaler_page")
    monkeypatch.setattr(upscaler_page, "data", lambda: {"network": {}})
    config = SimpleNamespace(html_static_path=[])
    monkeypatch.setattr(upscaler_page, "whole", lambda folder: {"name": "a network"})
    app = SimpleNamespace(outdir=tmp_path / "html", srcdir=tmp_path)
    for served, whole in ((False, "null"), (True, '{"name": "a network"}')):  # without npm's runtime, none
        if served:
            (tmp_path / "node_modules" / "onnxruntime-web").mkdir(parents=True)
        upscaler_page.write_data(app, config)
        text = (Path(config.html_static_path[-1]) / "upscaler_data.js").read_text()
        assert text == f'window.dfkdUpscaler = {{"network": {{}}, "whole": {whole}}};\n'


# ---- command_help and package_modules --------------------------------------------------------------------------------


def test_commands_are_described_as_their_help_does():
    command = typer.main.get_command(app).commands["distill"]
    rows = extension("command_help").described("dfkd distill", command).splitlines()
    assert rows[0] == f"**`dfkd distill`** {command.help}"
    assert "| `--out -o` | Run folder to make. Default: runs/distill. |" in rows
    assert any(row.startswith("| `--steps` | Updates of the student") and "Default: 6000." in row for row in rows)
    assert "| `--seed` | Of all random streams. Default: 0. |" in rows
    assert any(row.startswith("| `--width` |") and row.endswith("Default: half the teacher's. |") for row in rows)
    assert any(row.startswith("| `--w-contrast` |") and "For cmi, cmi+ (1.0). Default: 10.0." in row for row in rows)
    assert len(rows) == 4 + len(command.params)


def test_what_a_module_passes_on_is_described_where_it_lives():
    elsewhere = extension("package_modules").elsewhere
    passed_on = elsewhere("dfkd.method.sources")
    assert {"DeadLeavesSource", "Source"} <= set(passed_on) and "make_source" not in passed_on
    assert elsewhere("dfkd.method.losses") == []


def test_signatures_hold_what_a_reader_can_type():
    plain = extension("package_modules").plain_signature
    shown = plain(None, "function", "dfkd.x.f", None, None, "(a: ~torch.Tensor = <function g at 0x7f12>)", "~x.Frame")
    assert shown == ("(a: torch.Tensor = g)", "x.Frame")
    assert plain(None, "class", "dfkd.x.C", None, None, "(a: dict = <factory>)", None) == ("(a: dict = ...)", None)
    assert plain(None, "function", "dfkd.cli.distill", None, None, "(teacher: str)", "None") == ("", None)
