"""Fill in what only a release knows: where its repository is, and what has changed.

    GITHUB_SERVER_URL=... GITHUB_REPOSITORY=OWNER/NAME GITHUB_REF_NAME=v1.2.3 python .github/prepare_release.py NOTES.md

No address is written down in the repository, so that a fork's releases lead to the fork. README.md's links and its
picture are relative, which a package index cannot resolve; here they become addresses under the release's tag, and
pyproject.toml gets its [project.urls]. NOTES.md receives the release's section of CHANGELOG.md.

Both files are changed where they lie: the release workflow runs this in a checkout that it then throws away.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def with_absolute_links(readme: str, page: str, tag: str) -> str:
    """Markdown whose relative links and pictures lead to the repository's page, at a tag."""

    def absolute(match: re.Match) -> str:
        kind = "raw" if match["picture"] else "blob"
        return f"{match['picture']}[{match['text']}]({page}/{kind}/{tag}/{match['path']})"

    return re.sub(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<path>[^)\s]+)\)", absolute, readme)


def with_urls(pyproject: str, page: str, tag: str) -> str:
    """pyproject.toml with a table of project URLs."""
    urls = {"Source": page, "Changelog": f"{page}/blob/{tag}/CHANGELOG.md", "Issues": f"{page}/issues"}
    return pyproject + "\n[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items())


def notes(changelog: str, version: str) -> str:
    """What CHANGELOG.md says of a version.

    Raises:
        SystemExit: it says nothing.
    """
    section = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not section or not section[1].strip():
        sys.exit(f"CHANGELOG.md has no section [{version}] that says anything.")
    return section[1].strip() + "\n"


def prepare(root: Path, environment: dict, notes_file: Path) -> None:
    """Change README.md and pyproject.toml, and write the notes.

    Raises:
        SystemExit: the tag is not that of the version in pyproject.toml.
    """
    page = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
    tag = environment["GITHUB_REF_NAME"]
    readme, pyproject = root / "README.md", root / "pyproject.toml"
    version = tomllib.loads(pyproject.read_text())["project"]["version"]
    if tag != f"v{version}":
        sys.exit(f"The tag is {tag}, but pyproject.toml says {version}.")
    notes_file.write_text(notes((root / "CHANGELOG.md").read_text(), version))
    readme.write_text(with_absolute_links(readme.read_text(), page, tag))
    pyproject.write_text(with_urls(pyproject.read_text(), page, tag))


if __name__ == "__main__":
    prepare(ROOT, dict(os.environ), Path(sys.argv[1]))
