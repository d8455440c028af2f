"""The errors a user can cause, by name. Every message says what was found and what to do about it."""

from typing import ClassVar


class DfkdError(Exception):
    """Base of the errors a user can cause and mend; the command line prints them without a traceback.

    A message is one line of printable letters, whatever names and contents of foreign files it quotes.

    Attributes of the class:
        exit_code: of a command that ends with it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class ImageError(DfkdError, ValueError):
    """A picture that cannot be read, or a tensor that is not a batch of images."""


class DiskError(ImageError):
    """A folder or a disk that takes no picture, whatever is in it."""


class DataError(DfkdError):
    """A file that is neither at hand nor downloadable, or whose SHA-256 is wrong."""


class UnknownName(DfkdError, KeyError):
    """A name that is not known, of a model, a data set, a method or a layer."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0])


class CheckpointError(DfkdError):
    """A file of weights that is damaged, does not fit, or holds code."""


class ExportError(DfkdError):
    """A network that cannot be written for another runtime, or such a file that does not do what it should."""


class TrainingError(DfkdError):
    """A run that cannot start, cannot go on, or cannot be resumed."""


class Unconfirmed(TrainingError):
    """All went well, and the answer to what was asked is no: a record that does not repeat, a network that is unfit."""

    exit_code = 1


def printable(text: str) -> str:
    """One line that no terminal takes for a command: whatever does not print is written as Python writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def pick(kind: str, name: str, known) -> str:
    """`name` if it is among `known`, else an `UnknownName` that lists what there is."""
    if not any(name == one for one in known):  # not `in`: what a file gives for a name may not even be hashable
        raise UnknownName(f"unknown {kind} {name!r:.100}; choose one of: {', '.join(map(str, known))}")
    return name
