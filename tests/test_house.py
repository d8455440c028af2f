"""The account of the house in CONTRIBUTING.md is what is there."""

import re
from pathlib import Path

import book_pages
import pytest

PACKAGE = book_pages.ROOT / "dfkd"
ROOMS = ("pixels", "networks", "method", "running", "book")


def account() -> dict[str, set[str]]:
    """Names in the drawing of the house, by room; '' for what lies at the root."""
    text = (book_pages.ROOT / "CONTRIBUTING.md").read_text()
    drawing = re.search(r"```\ndfkd/\n(.*?)```", text, re.DOTALL)[1]
    named: dict[str, set[str]] = {}
    room = ""
    for line in drawing.splitlines():
        names, _, said = line.strip().partition("  ")
        if line.startswith("  ") and not line.startswith("    "):
            room = names.rstrip("/") if names.rstrip("/") in ROOMS else ""
            names = "" if room else names
        elif line.startswith(" " * 8):  # what a line says, going on
            names, said = "", line
        if names.startswith("sources/") or "sources/" in names:
            said, names = f"{names} {said}", "sources"
        named.setdefault(room, set()).update(name.strip(" /") for name in names.split(",") if name.strip())
    return named


def there(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_is_in_the_account(room):
    folders = {path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").exists()}
    assert account()[room] == there(PACKAGE / room) | folders


def test_root_holds_what_the_account_says():
    assert account()[""] == there(PACKAGE) | {"weights", "records"}


def test_every_source_has_its_name_in_the_account():
    text = (book_pages.ROOT / "CONTRIBUTING.md").read_text()
    assert all(re.search(rf"\b{name}\b", text) for name in there(PACKAGE / "method" / "sources"))


def test_tests_have_a_folder_for_each_room():
    assert all(any((book_pages.ROOT / "tests" / room).glob("test_*.py")) for room in ROOMS)


def test_no_module_has_the_name_of_a_function_that_the_package_exports():
    import dfkd

    modules = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not modules & set(dfkd.__all__)
