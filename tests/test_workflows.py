"""What runs on other machines: pinned, with no more permissions than a job needs, on the versions promised."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import book_pages
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = book_pages.ROOT
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Whoever may write says what for. Everything else reads, or is not allowed even that.
WRITES = {
    ("book", "publish"): {"pages", "id-token"},
    ("book", "colab"): {"contents"},
    ("release", "pypi"): {"id-token"},
    ("release", "github"): {"contents"},
}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def script(name: str):
    """A module of .github, which no package holds."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".github" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jobs() -> dict[tuple[str, str], dict]:
    return {(path.stem, name): job for path in WORKFLOWS for name, job in workflow(path.stem)["jobs"].items()}


def steps() -> list[tuple[str, str, dict]]:
    return [(where, name, step) for (where, name), job in jobs().items() for step in job["steps"]]


# ---- actions and permissions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_digest_with_its_version_beside_it(path):
    lines = [line for line in path.read_text().splitlines() if re.search(r"\buses:", line)]
    pinned = re.compile(r"^ *(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    assert lines and [line for line in lines if not pinned.match(line)] == []


def test_an_action_is_everywhere_the_same():
    found = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([^@\s]+)@(.+)", path.read_text()):
            found.setdefault(action, set()).add(pin)
    assert {action: pins for action, pins in found.items() if len(pins) > 1} == {}


def test_no_job_has_permissions_it_does_not_need():
    for path in WORKFLOWS:
        assert workflow(path.stem)["permissions"] == {}, path.name
    assert set(WRITES) <= set(jobs())
    for (where, name), job in jobs().items():
        granted = job["permissions"]  # a job that says none would get none
        assert {what for what, how in granted.items() if how == "write"} == WRITES.get((where, name), set()), name
        assert set(granted.values()) <= {"read", "write"}
        reads = {what for what, how in granted.items() if how == "read"}
        assert reads <= ({"contents", "pages"} if (where, name) == ("book", "build") else {"contents"})


def test_who_may_write_to_the_repository_runs_none_of_its_code():
    for where, name in WRITES:
        used = [step.get("uses", "").partition("@")[0] for step in jobs()[where, name]["steps"]]
        assert "actions/checkout" not in used, name


def test_no_checkout_leaves_its_token_behind():
    checkouts = [step for *_, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_job_ends():
    assert [where for where, job in jobs().items() if not job.get("timeout-minutes")] == []


def test_what_is_published_uses_no_caches():
    for where, name, step in steps():
        if where in ("book", "release") and "actions/setup-" in step.get("uses", ""):
            assert "cache" not in step["with"], name
            assert "setup-python" in step["uses"] or step["with"]["package-manager-cache"] is False


def test_dependabot_watches_everything_and_waits():
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip", "npm"}
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def beside_python(name: str, *arguments) -> subprocess.CompletedProcess:
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed (it is in the extra `dev`)")
    return subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_audit_finds_nothing():
    done = beside_python("zizmor", "--offline", "--no-progress", ".github")
    assert done.returncode == 0, done.stdout + done.stderr


def test_words_are_spelt():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout: no list of the project's files")
    names = [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]
    done = beside_python("codespell", *names)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- versions --------------------------------------------------------------------------------------------------------


def test_versions_of_python_agree():
    wanted = project()["project"]
    (lowest,) = re.fullmatch(r">=(3\.\d+)", wanted["requires-python"]).groups()
    named = [c.rpartition(" ")[2] for c in wanted["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == [f"3.{minor}" for minor in range(int(lowest[2:]), int(named[-1][2:]) + 1)]
    for where, name in (("weekly", "package"), ("release", "try")):
        assert jobs()[where, name]["strategy"]["matrix"]["python"] == named, where
    assert f"runs on {named[0]} to {named[-1]}" in " ".join((ROOT / "README.md").read_text().split())
    assert project()["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert re.search(r"sys\.version_info < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text())[2] == lowest[2:]


def test_one_python_is_that_of_the_locked_versions():
    said = re.search(r"Python (3\.\d+)", (ROOT / "constraints.txt").read_text())[1]
    fixed = {
        step["with"]["python-version"] for *_, step in steps() if "setup-python" in step.get("uses", "")
    } - {"${{ matrix.python }}"}
    assert fixed == {said}
    assert f"Python {said}" in (ROOT / "requirements-lock.txt").read_text().splitlines()[0]


def test_groups_are_the_extras():
    extras, groups = project()["project"]["optional-dependencies"], project()["dependency-groups"]
    assert groups["test"] == extras["test"]
    assert groups["dev"] == [{"include-group": "test"}, *extras["dev"]]


def test_lowest_versions_are_those_of_pyproject():
    (command,) = (s["run"] for s in jobs()["weekly", "lowest"]["steps"] if s.get("run", "").startswith("sed"))
    sed = command.partition("|")[0]
    done = subprocess.run(["bash", "-c", sed], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {Requirement(line).name: str(Requirement(line).specifier) for line in done.stdout.splitlines()}
    declared = [Requirement(text) for text in project()["project"]["dependencies"]]
    lowest = {r.name: str(r.specifier).replace(">=", "==") for r in declared}
    assert len(lowest) > 5 and {name: found.get(name) for name in lowest} == lowest


# ---- hashes ----------------------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith(("#", "--index-url"))]
    matches = [re.fullmatch(r"([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return {canonicalize_name(match[1]): match[2] for match in matches}


def test_lock_files_have_a_hash_for_every_pinned_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    both = locked("requirements-lock.txt") | locked("requirements-torch-lock.txt")
    assert {name: Version(v).public for name, v in both.items()} == {canonicalize_name(n): v for n, v in pinned.items()}
    assert set(locked("requirements-torch-lock.txt")) == {"torch"}


def test_torch_has_one_index_and_nothing_else_names_any():
    lines = (ROOT / "requirements-torch-lock.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("--")] == [f"--index-url {CPU_INDEX}"]
    assert "--" not in re.sub(" --hash=", "", (ROOT / "requirements-lock.txt").read_text())
    # Beside an extra index, the highest version number wins, whoever published it.
    for path in [*WORKFLOWS, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "README.md", ROOT / "environment.yml"]:
        assert not re.search(r"extra[-_]index[-_]url", path.read_text(), re.IGNORECASE), path.name
    assert workflow("weekly")["env"]["TORCH_INDEX"] == CPU_INDEX == script("write_locks").TORCH_INDEX


def test_what_is_published_is_built_from_locked_files():
    assert workflow("test")["env"]["LOCKED"] == workflow("book")["env"]["LOCKED"] == 1
    assert jobs()["release", "build"]["env"]["LOCKED"] == 1
    makefile = (ROOT / "Makefile").read_text()
    assert "--no-deps --only-binary :all: --require-hashes" in makefile
    assert len(re.findall(r"\$\(FROM_LOCK\) requirements-(?:torch-)?lock\.txt", makefile)) == 2


def test_lock_files_are_written_from_what_pip_reports(tmp_path):
    def entry(name: str, version: str, digest: str | None) -> dict:
        archive = {"archive_info": {"hashes": {"sha256": digest} if digest else {}}}
        return {"metadata": {"name": name, "version": version}, "download_info": archive}

    write = script("write_locks").write
    torch = {"install": [entry("torch", "2.0+cpu", "a" * 64)]}
    others = {"install": [entry("B", "1", "b" * 64), entry("a", "2", "c" * 64)]}
    write(torch, others, tmp_path)
    assert (tmp_path / "requirements-torch-lock.txt").read_text().splitlines()[1:] == [
        f"--index-url {CPU_INDEX}", "torch==2.0+cpu --hash=sha256:" + "a" * 64,
    ]  # fmt: skip
    names = [line.partition("==")[0] for line in (tmp_path / "requirements-lock.txt").read_text().splitlines()[1:]]
    assert names == ["a", "B"]
    with pytest.raises(SystemExit, match="not the build for the processor"):
        write({"install": [entry("torch", "2.0", "a" * 64)]}, others, tmp_path)
    with pytest.raises(SystemExit, match="no SHA-256 of b==1"):
        write(torch, {"install": [entry("b", "1", None)]}, tmp_path)


# ---- releases --------------------------------------------------------------------------------------------------------


def test_changelog_begins_with_what_is_unreleased_and_names_the_present_version():
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    dated = dict(headings[1:])
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", dated[project()["project"]["version"]])
    released = [Version(name) for name in dated]
    assert released == sorted(released, reverse=True)


def test_a_release_knows_where_it_comes_from(tmp_path):
    """On a package index a relative link leads nowhere, and no address is written down here."""
    for name in ("README.md", "pyproject.toml", "CHANGELOG.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    version = project()["project"]["version"]
    at = {"GITHUB_SERVER_URL": "https://host.example", "GITHUB_REPOSITORY": "some/fork"}
    prepare = script("prepare_release").prepare
    with pytest.raises(SystemExit, match=r"The tag is v9\.9"):
        prepare(tmp_path, at | {"GITHUB_REF_NAME": "v9.9"}, tmp_path / "notes.md")
    prepare(tmp_path, at | {"GITHUB_REF_NAME": f"v{version}"}, tmp_path / "notes.md")

    before, after = ((root / "README.md").read_text() for root in (ROOT, tmp_path))
    raw, blob = (f"https://host.example/some/fork/{kind}/v{version}/" for kind in ("raw", "blob"))
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", after)
    links = [link for link in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", after) if "host.example" in link]
    assert pictures and all((ROOT / link.removeprefix(raw)).is_file() for link in pictures)
    assert len(links) >= 3 and all((ROOT / link.removeprefix(blob)).is_file() for link in links)
    assert not re.search(r"\]\((?!https://)", after)
    assert re.findall(r"```.*?```", before, re.DOTALL) == re.findall(r"```.*?```", after, re.DOTALL)

    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Source"] == "https://host.example/some/fork"
    assert all(url.startswith(urls["Source"]) for url in urls.values())
    assert "urls" not in project()["project"]
    notes = (tmp_path / "notes.md").read_text()
    assert "Unreleased" not in notes and "##" not in notes.replace("###", "") and len(notes) > 100


def test_release_notes_want_a_section_that_says_something():
    notes = script("prepare_release").notes
    text = "## [Unreleased]\n\nlater\n\n## [1.1.0] - 2026-01-02\n\n### Added\n\n- this\n\n## [1.0.0] - 2026-01-01\n\n"
    assert notes(text, "1.1.0") == "### Added\n\n- this\n"
    for version in ("1.0.0", "1x1.0"):
        with pytest.raises(SystemExit, match="no section"):
            notes(text, version)


def test_a_release_goes_out_only_when_the_wheel_has_been_tried():
    assert [jobs()["release", name]["needs"] for name in ("try", "pypi", "github")] == ["build", "try", "pypi"]
    assert jobs()["release", "pypi"]["environment"] == "pypi"
    used = [step.get("uses", "").partition("@")[0] for step in jobs()["release", "try"]["steps"]]
    assert "actions/checkout" not in used  # else the package could be imported from the checkout


def test_the_readmes_lines_are_found_in_what_a_wheel_says_of_itself():
    (command,) = (s["run"] for s in jobs()["release", "try"]["steps"] if s.get("name") == "the README's lines")
    code = re.search(r"python -c '\n(.*?)\n'", command, re.DOTALL)[1]
    pattern = re.search(r're\.search\("(.*?)", readme', code)[1]
    lines = re.search(pattern.replace("\\n", "\n"), (ROOT / "README.md").read_text(), re.DOTALL)[1]
    compile(lines, "README.md", "exec")
    assert "import dfkd" in lines


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """What `make dist` builds, from a copy: setuptools leaves folders behind where it works."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "dfkd", copy / "dfkd", ignore=shutil.ignore_patterns("__pycache__"))
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r'^dist: .*\n(?:\t.*\n)*?\t\$\(BIN\)/python -c "(.*)"', makefile, re.MULTILINE)[1]
    subprocess.run([sys.executable, "-c", recipe], cwd=copy, check=True, capture_output=True)
    return copy / "dist"


def test_make_dist_builds_typed_packages(dist):
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert "dfkd/py.typed" in zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"dfkd/py.typed", "pyproject.toml", "README.md", "LICENSE"} <= names


def test_no_wheel_names_a_project_page_of_its_own(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert "Project-URL" not in metadata and "Requires-Python: >=3.11" in metadata
