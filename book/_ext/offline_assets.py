"""Lets the built book serve its own MathJax and widget scripts, so that a page asks no other host for anything.

The files come from node_modules (`npm ci`). Without that folder Sphinx and myst-nb keep their defaults, which are CDNs.
"""

import shutil
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

FOLDER = "offline"  # under the site's _static
RUNTIME = "onnxruntime-web/dist"  # what enlarges a reader's photograph
WIDGETS = "@jupyter-widgets/html-manager/dist"

# What is copied: the files of a folder of node_modules that match a pattern. MathJax fetches most of its parts (a TeX
# macro package, a reader's accessibility tools) only when a page wants them.
FILES = [
    ("requirejs", "require.js"),
    ("mathjax/es5", "tex-mml-chtml.js"),
    ("mathjax/es5/input/tex", "**/*.js"),
    ("mathjax/es5/output/chtml", "**/*"),
    ("mathjax/es5/a11y", "**/*"),
    ("mathjax/es5/sre", "**/*"),
    ("mathjax/es5/ui", "**/*"),
    (WIDGETS, "*-amd.js"),
    (WIDGETS, "*.woff2"),
    (RUNTIME, "ort.wasm.min.js"),
    (RUNTIME, "ort-wasm-simd-threaded.[wm]*"),
]


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", use_local_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def use_local_copies(app, config):
    """Copy the files to a build folder and replace each CDN address by the copy's."""
    modules = Path(app.srcdir) / "node_modules"
    if not all((modules / folder).is_dir() for folder, _ in FILES):
        logger.info("npm packages not installed: pages load MathJax and the widget scripts from CDNs")
        return
    static = Path(app.outdir).parent / ".offline"
    copy_files(modules, static / FOLDER)
    config.html_static_path.append(str(static))
    config.mathjax_path = f"{FOLDER}/mathjax/es5/tex-mml-chtml.js"
    config.nb_ipywidgets_js = {
        f"{FOLDER}/requirejs/require.js": {},
        "widget_modules.js": {},
        f"{FOLDER}/{WIDGETS}/embed-amd.js": {},
    }


def copy_files(modules: Path, target: Path):
    """Copy what FILES names, unless an earlier build already has the same file."""
    for folder, pattern in FILES:
        for source in sorted((modules / folder).glob(pattern)):
            copy = target / source.relative_to(modules)
            if source.is_file() and not (copy.exists() and copy.stat().st_size == source.stat().st_size):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
