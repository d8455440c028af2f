"""Puts a diagram into the page itself, where it follows the theme's switch and its parts can lead to other pages.

A page shows one as any picture, ``![what it shows](images/loop.svg)``, so that Jupyter and Colab need to know nothing
of this. In HTML a file of `book/images` that ends in ``.svg`` is written out in place of the ``<img>``, its alt text as
the group's label, and links in it to a source file, ``href="../07_progressive.ipynb"``, become links to that page.
"""

import posixpath
import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

FOLDER = "book/images/"
LINK = re.compile(r'(?<=<a href=")([^"#:]+)(?=["#])')


class InlineDiagrams(SphinxPostTransform):
    """Replaces pictures of diagrams by the diagrams."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs):
        """Go through a page's pictures."""
        for image in list(self.document.findall(nodes.image)):
            name = image["uri"]
            if name.startswith(FOLDER) and name.endswith(".svg"):
                alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
                text = (Path(self.env.srcdir) / name).read_text(encoding="utf-8")
                html = inline(text, image.get("alt", ""), lambda href, name=name: self.address(name, href))
                (image.parent if alone else image).replace_self(nodes.raw("", html, format="html"))

    def address(self, diagram: str, href: str) -> str:
        """Where a link in a diagram leads to from this page."""
        source = posixpath.normpath(posixpath.join(posixpath.dirname(diagram), href))
        page = self.env.path2doc(str(Path(self.env.srcdir) / source))
        if page not in self.env.found_docs:
            logger.warning("%s links to %s, which is no page of the book", diagram, href)
            return href
        return self.app.builder.get_relative_uri(self.env.docname, page)


def inline(svg: str, alt: str, address) -> str:
    """A diagram as part of a page.

    >>> inline('<svg class="diagram"><a href="../a.md">A</a></svg>', "Two boxes", lambda href: "a.html")
    '<svg role="group" aria-label="Two boxes" class="diagram"><a href="a.html">A</a></svg>'
    """
    svg = re.sub(r"<\?xml.*?\?>|<!--.*?-->|\n\s*<title>.*?</title>", "", svg, flags=re.DOTALL).strip()
    svg = LINK.sub(lambda match: escape(address(match[1])), svg)
    return svg.replace("<svg ", f'<svg role="group" aria-label="{escape(alt)}" ', 1)


def setup(app):
    """Register the transform."""
    app.add_post_transform(InlineDiagrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
