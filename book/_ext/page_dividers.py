"""The directive `divider`: two stored pictures with a border to move, on a page that runs no code.

It is `dfkd.book.widgets.before_after` without a cell: plain HTML that works from disk, and two pictures without
scripts.
"""

from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from dfkd.book.widgets import WidgetError, before_after
from dfkd.pixels.files import read_image

MAX_BYTES = 120_000  # of the two pictures in the page


class PageDivider(SphinxDirective):
    """Two pictures of one size, that on the left of the border first, and their labels in the same order."""

    required_arguments = 2
    option_spec: ClassVar = {
        "alt": directives.unchanged_required,
        "labels": directives.unchanged_required,  # with a bar between them
        "title": directives.unchanged,
    }

    def run(self):
        """The widget's HTML."""
        paths = [Path(self.env.relfn2path(name)[1]) for name in self.arguments]
        for path in paths:
            self.env.note_dependency(str(path))
        labels = tuple(label.strip() for label in self.options.get("labels", "").split("|"))
        alt, title = self.options.get("alt", ""), self.options.get("title", "")
        try:
            widget = before_after(*map(read_image, paths), alt=alt, labels=labels, title=title, max_bytes=MAX_BYTES)
        except WidgetError as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", widget._repr_html_(), format="html")]


def setup(app):
    """Register the directive."""
    app.add_directive("divider", PageDivider)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
