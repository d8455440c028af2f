"""Write what pip reports of two dry runs as two lock files: torch, from one named index, and everything else.

    python .github/write_locks.py TORCH.json OTHERS.json

`make lock` makes the reports and calls this.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ABOUT = "# By `make lock`, for Linux on x86-64 and Python 3.11; `make LOCKED=1` installs these files and no others.\n"


def lines(report: dict) -> list[str]:
    """One requirement with its file's hash a distribution, sorted as constraints.txt is.

    Raises:
        SystemExit: pip says no SHA-256 of a file.
    """
    found = []
    for item in report["install"]:
        pin = f"{item['metadata']['name']}=={item['metadata']['version']}"
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            sys.exit(f"pip reports no SHA-256 of {pin}.")
        found.append(f"{pin} --hash=sha256:{digest}\n")
    return sorted(found, key=str.upper)  # as `LC_ALL=C sort -f` does


def write(torch: dict, others: dict, folder: Path = ROOT) -> None:
    """Write the two files into a folder.

    Raises:
        SystemExit: this torch is not the one for the processor, which the workflows are to get.
    """
    (line,) = lines(torch)
    if "+cpu" not in line:
        sys.exit(f"pip found {line.split()[0]}, not the build for the processor: make TORCH_INDEX={TORCH_INDEX} lock")
    (folder / "requirements-torch-lock.txt").write_text(f"{ABOUT}--index-url {TORCH_INDEX}\n{line}")
    (folder / "requirements-lock.txt").write_text(ABOUT + "".join(lines(others)))


if __name__ == "__main__":
    write(*(json.loads(Path(name).read_text()) for name in sys.argv[1:3]))
