"""Keeps executed chapters only as long as the package they ran stays the same.

The cache of myst-nb looks at a notebook's own cells. An edit in `dfkd/` would leave it serving what the old code
computed, so the folder it lives in carries a hash of everything else a result depends on.
"""

import hashlib
import os
from pathlib import Path

PACKAGE = "dfkd"


def setup(app):
    """Connect to Sphinx; early, because myst-nb reads the setting when the builder starts."""
    app.connect("config-inited", choose_cache_folder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def choose_cache_folder(app, config):
    """Point myst-nb at the cache that belongs to the package as it is now."""
    config.nb_execution_cache_path = str(cache_folder(Path(app.srcdir), Path(app.outdir).parent))


def cache_folder(root: Path, build: Path) -> Path:
    """Where executed chapters are kept, for the package as it is now."""
    return build / ".jupyter_cache" / fingerprint(root)


def fingerprint(root: Path) -> str:
    """Hash of the package's files, the pinned versions, and whether benchmark images are at hand to be drawn."""
    files = (path for path in (root / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256(str(bool(os.environ.get("DFKD_DATA_DIR"))).encode())
    for path in [*sorted(files), root / "constraints.txt"]:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
