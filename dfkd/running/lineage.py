"""What a student that a run goes on from had learnt from, as far as a record says so."""

from __future__ import annotations

from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.networks.zoo import names, path_meant
from dfkd.running import records
from dfkd.running.provenance import unexplained

THEN = " then "  # between the methods of runs that went on from each other


def methods_behind(start: str, sha256: str) -> str | None:
    """The methods that made a student, the first one first, such as 'cmi+' or 'real then cmi+'.

    Args:
        start: packaged name, run folder, or file.
        sha256: fingerprint of its weights, which its record has to have as well.

    Returns:
        'real' stands for images, wherever they came from; None where no record tells.
    """
    path = path_meant(start, names())
    try:
        record = records.load_record(start) if path is None else records.read_object(_folder(path) / "record.json")
        if record["weights_sha256"] != sha256:
            return None
        if record["kind"] != "distill":
            return "real"
        networks = [record["teacher"], *([record["start"]] if record.get("start") else [])]
        saw_images = record["config"]["method"] != "real" and unexplained(record["files_read"], *networks)
        method = "real" if saw_images else record["config"]["method"]
        earlier = record.get("start_methods") if record.get("start") else ""
        return None if earlier is None else THEN.join(filter(None, (earlier, method)))
    except (DfkdError, LookupError, TypeError, AttributeError):  # there is none, or it is no record of a run
        return None


def _folder(path: Path) -> Path:
    """Of a run, whether it is named itself or by its network."""
    return path if path.is_dir() else path.parent


def tell(start: str, methods: str | None) -> tuple[str, bool]:
    """In words, what follows for a run that went on from a student; and whether it is free of images.

    Args:
        start: the student's name.
        methods: as `methods_behind` gave them.
    """
    if methods is None:
        return f"no record says what {start} had learnt from: this run is no more data-free than that", False
    if "real" in methods.split(THEN):
        return f"{start} had learnt from images ({methods}): this student is not data-free", False
    return f"{start} came of {methods}, without an image, as its record says", True
