"""Command-line options made from settings classes: a field, its default and its description are written once, there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import typer

from dfkd.method.settings import describe

LISTS = {tuple[kind, ...]: list[kind] for kind in (int, float, str)}  # an option is repeated for several values


def with_options(*settings: type, of: str = "", leave_out: Iterable[str] = ()) -> Callable[[Callable], Callable]:
    """Give a command one option for each field of some settings classes; what is not given reaches it not at all.

    The command takes them as ``**given``, by the names of the fields. A field that several classes share is one option.

    Args:
        settings: dataclasses whose docstrings describe their fields.
        of: name of a class attribute; the help of an option ends with its values in those classes that have both it and
            the option's field, and with their default where it is another one.
        leave_out: fields that get no option.
    """

    def decorate(command: Callable) -> Callable:
        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        options = _options(settings, of, set(leave_out) | set(own.parameters))
        names = {option.name for option in options}

        def with_given(**values: Any) -> Any:
            given = {name: value for name, value in values.items() if name in names and value not in (None, [])}
            return command(**{name: value for name, value in values.items() if name not in names}, **given)

        with_given.__name__, with_given.__doc__, with_given.__module__ = (
            command.__name__, command.__doc__, command.__module__
        )  # fmt: skip
        with_given.__signature__ = own.replace(parameters=[*kept, *options])
        with_given.__annotations__ = {p.name: p.annotation for p in [*kept, *options]}
        return with_given

    return decorate


def _options(settings: Iterable[type], of: str, leave_out: set[str]) -> list[inspect.Parameter]:
    known: dict[str, inspect.Parameter] = {}
    for kind in settings:
        hints, words = get_type_hints(kind), describe(kind)
        for field in fields(kind):
            if field.name in leave_out or field.name in known:
                continue
            owners = [
                vars(k)[of] + ("" if (own := _default_of(k, field.name)) == field.default else f" ({_shown(own)})")
                for k in settings if isinstance(vars(k).get(of), str) and field.name in describe(k)
            ]  # fmt: skip
            known[field.name] = _option(field, hints[field.name], words[field.name], owners)
    return list(known.values())


def _option(field: Any, hint: Any, words: str, owners: list[str]) -> inspect.Parameter:
    repeated = hint in LISTS
    flag = "--" + (field.name.removesuffix("s") if repeated else field.name).replace("_", "-")
    flags = [f"{flag}/--no-{flag[2:]}"] if hint is bool else [flag]
    text = words[0].upper() + words[1:].rstrip(".") + ("; repeat for several." if repeated else ".")
    if owners:
        text += f" For {', '.join(owners)}."
    default = _shown(field.default) or False  # where there is none, the words say what is done
    plain = LISTS[hint] if repeated else next(kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType)
    annotation = Annotated[plain | None, typer.Option(*flags, help=text, show_default=default)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _default_of(settings: type, name: str) -> Any:
    return next(field.default for field in fields(settings) if field.name == name)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "" if default is None else str(default)
