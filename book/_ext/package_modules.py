"""The directive `package-modules`: an API reference of the modules there are, not of those somebody wrote down."""

import importlib
import pkgutil
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class PackageModules(SphinxDirective):
    """One section with autodoc's account for each public module of a package, in the order given.

    The content names modules that come first, one a line, relative to the package; the rest follow alphabetically.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        """Sections, parsed as if they had been written on the page."""
        package = self.arguments[0]
        found = public_modules(package)
        first = [f"{package}.{line.strip()}" for line in self.content if line.strip()]
        unknown = [name for name in first if name not in found]
        if unknown:
            raise self.error(f"{package} has no module {', '.join(unknown)}")
        sections = [self.section(name) for name in [*first, *(name for name in found if name not in first)]]
        return sections

    def section(self, module: str) -> nodes.section:
        """A heading that can be linked to, then what the docstrings say."""
        section = nodes.section(ids=[nodes.make_id(f"module {module}")], names=[module])
        section += nodes.title("", "", nodes.literal("", module))
        source = ["```{eval-rst}", f".. automodule:: {module}", "   :members:", "   :show-inheritance:"]
        source += [f"   :exclude-members: {', '.join(elsewhere(module))}", "```"]
        self.state.nested_parse(StringList(source, "package-modules"), 0, section)
        return section


def elsewhere(module: str) -> list[str]:
    """Names that a module passes on from a public one, on whose section they have their account."""
    thing = importlib.import_module(module)
    others = set(public_modules(module.partition(".")[0])) - {module}
    passed = {name: getattr(getattr(thing, name), "__module__", module) for name in getattr(thing, "__all__", [])}
    return [name for name, home in passed.items() if home in others]


def plain_signature(app, what, name, thing, options, signature, returned):
    """What a reader can use: commands are called from a shell, and their options have tables of their own."""
    if name.startswith("dfkd.cli."):
        return "", None
    plain = [text and re.sub(r"<function (\w+)[^>]*>", r"\1", text.replace("~", "")) for text in (signature, returned)]
    return plain[0] and plain[0].replace("<factory>", "..."), plain[1]


def public_modules(package: str) -> list[str]:
    """Full names of a package's modules, at any depth, whose names have no leading underscore."""
    root = importlib.import_module(package)
    names = []
    for info in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            names.append(info.name)
    return sorted(names)


def setup(app):
    """Register the directive, and what tidies autodoc's signatures."""
    app.add_directive("package-modules", PackageModules)
    app.connect("autodoc-process-signature", plain_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
