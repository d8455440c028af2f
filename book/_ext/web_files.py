"""Adds the book's own style sheet and scripts. (A `_static` at the root would put every script there on every page.)"""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "_web"


def setup(app):
    """Register the folder and what every page loads from it."""
    app.connect("config-inited", lambda app, config: config.html_static_path.append(str(FOLDER)))
    app.add_css_file("book.css")
    app.add_js_file("mathjax_hub.js", priority=100)  # before MathJax and before the widgets that call it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
