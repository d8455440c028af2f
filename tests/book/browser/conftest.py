"""A Chromium, the built book on a local port, and pages that remember everything that went wrong on them.

Fixtures of our own instead of a plugin's: the tests of a chapter's notebooks run under the same pytest.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SITE = Path(__file__).parents[3] / "_build" / "html"
CANDIDATES = ("chromium", "chromium-browser", "google-chrome")
# Headless in a container, and silent: a browser's own housekeeping would look like a page asking other hosts.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTLE_MS = 300  # after the last request, for scripts that draw


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.pages)


class Opened:
    """A page in the browser, and what it complained about while it was open."""

    def __init__(self, page, home: str):
        self.page, self.home = page, home
        self.problems: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def goto(self, path: str):
        """Open a page of the book and wait until it has loaded what it asks for."""
        self.page.goto(f"{self.home}/{path}", wait_until="networkidle")
        self.page.wait_for_timeout(SETTLE_MS)
        return self.page

    def _console(self, message):
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _request(self, request):
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob", "about") and not request.url.startswith(self.home):
            self.elsewhere.append(request.url)

    def _failed(self, request):
        self.problems.append(f"failed: {request.url} {request.failure}")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"HTTP {response.status}: {response.url}")


@pytest.fixture(scope="session")
def site() -> Path:
    """The built book's folder."""
    if not (SITE / "index.html").exists():
        pytest.skip("the book is not built: run `make book` first")
    return SITE


@pytest.fixture
def offline(site):
    """Skips where the book was built without npm: its pages then ask CDNs, as they say when they are built."""
    if not (site / "_static" / "offline").is_dir():
        pytest.skip("the book was built without its npm packages: its pages load scripts from CDNs")


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CANDIDATES)), None)
    if not path:
        pytest.skip(f"no Chromium found: none of {', '.join(CANDIDATES)} is on the path, and CHROMIUM is not set")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(site):
    """Address at which the book is served, as Pages would."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Requests are the browser's business; the pages' complaints come back through `Opened`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def page_opener(chromium, site, request):
    """A function that opens a page: ``page_opener("book/index.html", width=380, dark=True, disk=True)``.

    It returns an `Opened`, whose `page` is playwright's. With `disk`, the page is read from file:// and no server runs.
    Pass ``javascript=False`` for what a viewer that strips scripts shows.
    """
    contexts = []

    def open_page(path="book/index.html", *, width=1280, height=900, dark=False, disk=False, javascript=True) -> Opened:
        home = site.as_uri() if disk else request.getfixturevalue("server")
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        opened = Opened(context.new_page(), home)
        opened.goto(path)
        return opened

    yield open_page
    for context in contexts:
        context.close()
