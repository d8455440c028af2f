"""The book is printed: a small one by a Chromium, the real one put together."""

import shutil

import pytest
from bs4 import BeautifulSoup
from test_print import PAGE, SECOND, dangling, print_book


def test_a_small_book_is_printed_with_a_page_of_paper_for_each_of_its_pages(chromium, tmp_path):
    folder = tmp_path / "book"
    folder.mkdir()
    (tmp_path / "_static").mkdir()
    shutil.copy(print_book.ROOT / "book" / "_web" / "print.css", tmp_path / "_static")
    for name in ("index", "second"):
        (folder / f"{name}.html").write_text(PAGE.format(title=name, body=SECOND))
    page = folder / "whole_book.html"
    page.write_text(print_book.whole_book(folder, ["index", "second"]))
    print_book.print_page(page, tmp_path / "book.pdf", chromium)
    assert (tmp_path / "book.pdf").read_bytes().startswith(b"%PDF")
    assert print_book.pages_of(tmp_path / "book.pdf") == 3  # two pages and their solutions


def test_the_real_book_can_be_put_together(site):
    whole = BeautifulSoup(print_book.whole_book(site / "book", print_book.contents()), "html.parser")
    assert dangling(whole) == []
    names = [tag["id"] for tag in whole.find_all(id=True)]
    assert len(set(names)) == len(names)
    assert len(whole.select("#solutions h2")) == 11
    assert not whole.select(".bd-article script")


@pytest.mark.parametrize("asked", ["", "nowhere"])
def test_without_a_book_the_script_says_what_to_do(chromium, tmp_path, monkeypatch, asked):
    monkeypatch.setattr("sys.argv", ["print_book.py", str(tmp_path / asked)])
    with pytest.raises(SystemExit, match="run `make book` first"):
        print_book.main()
