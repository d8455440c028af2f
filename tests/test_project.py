"""The project's own files agree with one another, and what is published holds what it needs and no more."""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import book_pages
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dfkd
from dfkd.running.records import load_record

ROOT = book_pages.ROOT
README = (ROOT / "README.md").read_text()
CONDA_NAMES = {"pytorch-cpu": "torch"}
# Taken apart so that this file does not name them either.
REGISTRIES = [f"{name}.{end}" for name, end in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
HOMES = re.compile(r"(/home/\w+|/Users/\w+|/root|C:\\Users)[/\\]")


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@cache
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


def direct_requirements(*extras: str) -> list[Requirement]:
    listed = project()["dependencies"] + [r for e in extras for r in project()["optional-dependencies"][e]]
    return [Requirement(text) for text in listed]


@cache
def tracked() -> list[Path]:
    """Files that git knows or would add; the checks that need them say so where there is no git."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: no list of the project's files")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts():
    for path in tracked():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


# ---- versions --------------------------------------------------------------------------------------------------------


def test_constraints_pin_every_direct_requirement_inside_its_range():
    for requirement in direct_requirements("book", "test", "dev"):
        pinned = constraints().get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement.name} is not in constraints.txt"
        assert pinned in requirement.specifier, f"{requirement} does not admit the pinned {pinned}"


def test_environment_for_binder_has_the_versions_of_constraints():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(entry.split("=") for entry in listed if isinstance(entry, str) and "=" in entry)
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    found = {CONDA_NAMES.get(name, name): version for name, version in conda.items() if name != "python"}
    found |= dict(entry.split("==") for entry in pip if "==" in entry)

    found = {canonicalize_name(name): version for name, version in found.items()}
    wanted = {canonicalize_name(r.name) for r in direct_requirements("book", "test")}
    assert found == {name: constraints()[name] for name in wanted}
    assert "-e .[book,test]" in pip


def test_what_chapters_import_is_in_the_environment():
    """Binder installs what the package and the extra `book` name."""
    allowed = {canonicalize_name(r.name) for r in direct_requirements("book")} | {"ipython"}  # it is part of ipykernel
    distributions = importlib.metadata.packages_distributions()
    for chapter in book_pages.notebooks():
        modules = book_pages.imported(chapter) - set(sys.stdlib_module_names) - {"dfkd"}
        brought = {name: {canonicalize_name(d) for d in distributions.get(name, [name])} for name in modules}
        assert {name for name, by in brought.items() if not by & allowed} == set(), chapter.name


def test_binder_installs_the_package_after_it_has_a_torch_without_cuda():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [entry for entry in listed if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert any(entry.startswith("pytorch-cpu=") for entry in conda) and "pip" in conda
    assert not any(entry.startswith("torch") for entry in pip)  # the wheel for Linux brings CUDA
    assert pip[-1] == "-e .[book,test]"
    python = next(entry.removeprefix("python=") for entry in conda if entry.startswith("python="))
    assert f"Python {python}" in (ROOT / "constraints.txt").read_text().partition("==")[0]
    # Any of these would be built instead.
    assert [name for name in ("binder", ".binder", "Dockerfile") if (ROOT / name).exists()] == []


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert dfkd.__version__ == project()["version"] == citation["version"]


def test_npm_lock_pins_what_package_json_wants_and_names_no_host():
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [name for name, entry in lock.items() if "resolved" in entry] == []


# ---- what is in the repository and in the wheel ----------------------------------------------------------------------


def test_no_file_names_a_path_of_somebodys_machine():
    own = str(ROOT) + "/" if len(ROOT.parts) > 2 else None  # a checkout in /app would match half the world
    bad = [name for name, text in texts() if HOMES.search(text) or own and own in text]
    assert bad == []


def test_no_file_names_a_package_registry():
    assert {name: host for name, text in texts() for host in REGISTRIES if host in text} == {}


def test_files_are_small():
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in tracked()}
    limit = {name: 400_000 if name.endswith(".ipynb") else 3_000_000 for name in sizes}
    assert {name: size for name, size in sizes.items() if size > limit[name]} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: setuptools leaves a folder behind where it works."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", *project()["license-files"], project()["readme"]):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "dfkd", copy / "dfkd", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_every_file_of_the_package(wheel):
    packaged = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dfkd/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dfkd").rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == packaged
    assert any(name.endswith(".safetensors") for name in packaged)
    assert any(name.startswith("dfkd/records/") for name in packaged)


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size < 4_000_000


# ---- code ------------------------------------------------------------------------------------------------------------


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess:
    path = Path(sys.executable).with_name(name)
    return subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_dependencies_point_one_way():
    done = tool("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("ruff"), reason="ruff is not installed (it is in the extra `dev`)")
def test_code_and_notebooks_are_clean():
    done = tool("ruff", "check", "--output-format", "concise")
    assert done.returncode == 0, done.stdout


# ---- automation ------------------------------------------------------------------------------------------------------


def test_workflows_call_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
        called = {name for command in commands for name in re.findall(r"\bmake (\w+)", command)}
        assert called <= targets, f"{path.name} calls {called - targets}"
        assert called


def test_ci_script_can_run():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_readmes_figures_are_those_of_the_records():
    rows = re.findall(r"^\| `([\w-]+)`[^|]*\| [\d,]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", README, re.M)
    assert {"bicubic", "vdsr", "vdsr-half-best", "vdsr-half-cmi"} <= {name for name, *_ in rows}
    protocol = load_record("protocol-set5")["sets"]
    for name, *printed in rows:
        if name in ("bicubic", "vdsr"):
            network = {"vdsr": "teacher"}.get(name, name)
            measured = [s["psnr"] for s in protocol if (s["dataset"], s["network"]) == ("Set5", network)]
        else:
            measured = [s["psnr"] for s in load_record(name)["scores"] if s["dataset"] == "Set5"]
        assert [float(x) for x in printed] == [round(x, 2) for x in measured], name


def test_readme_quotes_the_paper_as_its_record_does():
    quoted = re.search(r"^\| the paper's student \| [\d,]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", README, re.M)
    printed = next(r for r in load_record("paper")["rows"] if (r["source"], r["network"]) == ("paper", "cmi"))
    assert [float(x) for x in quoted.groups()] == printed["psnr"][:3]


def test_readmes_pictures_are_there_and_described():
    for alt, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README):
        assert len(alt) > 20 and (ROOT / path).is_file()
