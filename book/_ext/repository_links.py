"""Buttons and links that lead to the repository the book is built from, so that a fork's pages lead to the fork.

On GitHub's runners the environment says which repository and branch that is; elsewhere the git remote does. Where
neither knows, there are no buttons, and no page ends in a link to a new issue.

Colab shows MyST's directives raw, so its button leads to the plain copies that the publishing workflow pushes to a
branch of the same repository (`book/_scripts/write_colab_notebooks.py`).
"""

import os
import re
import subprocess
from html import escape, unescape
from pathlib import Path
from urllib.parse import urlencode

COPIES_BRANCH = "colab"
BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", add_links)
    app.connect("html-page-context", point_colab_at_copies, priority=502)  # the theme makes the buttons at 501
    app.connect("html-page-context", invite_corrections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_links(app, config):
    """Fill in the theme's options, or take the launch buttons out."""
    root = Path(app.srcdir)
    url = url_from_environment(os.environ) or web_address(git(root, "remote", "get-url", "origin"))
    options = config.html_theme_options
    options.pop("repository_url", None)
    if not url:
        options["launch_buttons"] = {}
        return
    options["repository_url"] = url
    options["repository_branch"] = os.environ.get("GITHUB_REF_NAME") or git(root, "branch", "--show-current") or "main"
    options.update(dict.fromkeys(BUTTONS, True))
    if not url.startswith("https://github.com/"):  # Colab opens no other host
        options.get("launch_buttons", {}).pop("colab_url", None)


def point_colab_at_copies(app, pagename, templatename, context, doctree):
    """Put the copies' branch in place of the book's own into the addresses of Colab's buttons."""
    branch = app.config.html_theme_options.get("repository_branch")
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button["text"] == "Colab":
                button["url"] = button["url"].replace(f"/blob/{branch}/", f"/blob/{COPIES_BRANCH}/", 1)


def invite_corrections(app, pagename, templatename, context, doctree):
    """End a page with a link to a new issue that bears its name."""
    url = app.config.html_theme_options.get("repository_url")
    if url and context.get("body"):
        address = new_issue(url, unescape(re.sub(r"<[^>]+>", "", context["title"])))
        context["body"] += f'<p class="dfkd-wrong"><a href="{escape(address)}">Something wrong on this page?</a></p>\n'


def new_issue(repository: str, page: str) -> str:
    """Where a repository's host takes a new issue about a page.

    >>> new_issue("https://github.com/someone/book", "1. Why & how")
    'https://github.com/someone/book/issues/new?title=Page+%E2%80%9C1.+Why+%26+how%E2%80%9D'
    """
    at_gitlab = repository.startswith("https://gitlab.com/")
    place, title = ("/-/issues/new", "issue[title]") if at_gitlab else ("/issues/new", "title")
    return f"{repository}{place}?{urlencode({title: f'Page “{page}”'})}"


def url_from_environment(environment) -> str:
    """Address of the repository a GitHub runner works for, or nothing."""
    repository = environment.get("GITHUB_REPOSITORY", "")
    server = environment.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{repository}" if repository else ""


def web_address(remote: str) -> str:
    """A remote's page on the web, without user or password; nothing for a folder or a host the theme cannot link to.

    >>> web_address("git@github.com:someone/book.git")
    'https://github.com/someone/book'
    >>> web_address("https://user:secret@gitlab.com/someone/book")
    'https://gitlab.com/someone/book'
    >>> web_address("/srv/book.git")
    ''
    """
    match = re.fullmatch(
        r"(?:https?://|ssh://|git://)?(?:[^/@]*@)?(github\.com|gitlab\.com|bitbucket\.org)(?::\d+/|[:/])(.+?)(?:\.git)?/?",
        remote,
    )
    return f"https://{match[1]}/{match[2]}" if match else ""


def git(root: Path, *arguments: str) -> str:
    """What git prints, or nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
