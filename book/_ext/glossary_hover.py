"""Links to the glossary say what the term means where the reader is: on hover, on focus, at a touch.

A page marks a term as ``{term}`student``` or ``{term}`students <student>```. The meaning becomes the link's title,
which any browser shows to a mouse; `glossary.js` shows it to a keyboard and a finger as well.
"""

from docutils import nodes
from sphinx.addnodes import glossary
from sphinx.transforms.post_transforms import SphinxPostTransform


class MeaningsOfTerms(SphinxPostTransform):
    """Gives links to terms their meanings as titles."""

    default_priority = 20  # after Sphinx has found where references lead to
    formats = ("html",)

    def run(self, **kwargs):
        """Go through a page's links."""
        links = [link for link in self.document.findall(nodes.reference) if is_term(link)]
        found = meanings(self.env) if links else {}
        for link in links:
            place = (link.get("refuri") or "").partition("#")[2] or link.get("refid")
            link["reftitle"] = found[place]
            link["classes"].append("dfkd-term")


def is_term(link: nodes.reference) -> bool:
    """Whether the role `term` made a link."""
    return any("std-term" in child.get("classes", []) for child in link.findall(nodes.inline))


def meanings(env) -> dict[str, str]:
    """What stands in the book's glossaries: a term's place on its page, and what it means, in plain words."""
    pages = {page for page, _ in env.get_domain("std")._terms.values()}
    found = {}
    for page in pages:
        for block in env.get_doctree(page).findall(glossary):
            found |= explained(block)
    return found


def explained(block: glossary) -> dict[str, str]:
    """The terms of one glossary."""
    found = {}
    for item in block.findall(nodes.definition_list_item):
        (meaning,) = item.findall(nodes.definition)
        for term in item.findall(nodes.term):
            found |= dict.fromkeys(term["ids"], " ".join(meaning.astext().split()))
    return found


def setup(app):
    """Register the transform."""
    app.add_post_transform(MeaningsOfTerms)
    app.add_js_file("glossary.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
