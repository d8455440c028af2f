"""The directive `command-help`: what ``COMMAND --help`` says of each command of a Typer application, as tables."""

import importlib
import re

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class CommandHelp(SphinxDirective):
    """A paragraph and a table for each command; the argument is ``module:application``."""

    required_arguments = 1

    def run(self):
        """The help, parsed as if it had been written on the page."""
        module, _, application = self.arguments[0].partition(":")
        commands = typer.main.get_command(getattr(importlib.import_module(module), application)).commands
        program = module.partition(".")[0]
        text = "\n\n".join(described(f"{program} {name}", command) for name, command in commands.items())
        page = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), "command-help"), 0, page)
        return page.children


def described(name: str, command) -> str:
    """Markdown: the command, what it does, a row for each argument and option."""
    rows = [f"| `{called(parameter)}` | {said(parameter)} |" for parameter in command.params]
    head = ["", "| option | what it is |", "|---|---|"] if rows else []
    return "\n".join([f"**`{name}`** {command.help}", *head, *rows])


def called(parameter) -> str:
    """Its names on the command line; an argument's in capitals."""
    if parameter.param_type_name == "argument":
        return parameter.name.upper()
    return " ".join(parameter.opts)


def said(parameter) -> str:
    """Its help, and the default: the words that stand for it, or else a plain value."""
    text, default = (getattr(parameter, "help", None) or "").replace("|", "\\|"), parameter.default
    words = getattr(parameter, "show_default", None)
    text = re.sub(r"(?<!\w)--[\w-]+", r"`\g<0>`", text)  # or two hyphens become a dash
    if isinstance(words, str):
        return f"{text} Default: {words}."
    if isinstance(default, list | tuple):
        default = ", ".join(map(str, default))
    if default is None or default is False or default == "" or callable(default):
        return text
    return f"{text} Default: `{default}`."


def setup(app):
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
