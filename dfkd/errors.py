"""The errors a user can cause, by name. Every message says what was found and what to do about it."""


class DfkdError(Exception):
    """Base of the errors a user can cause and mend; the command line prints them without a traceback."""


class ImageError(DfkdError, ValueError):
    """A picture that cannot be read, or a tensor that is not a batch of images."""


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


def pick(kind: str, name: str, known) -> str:
    """`name` if it is among `known`, else an `UnknownName` that lists what there is."""
    if name not in known:
        raise UnknownName(f"unknown {kind} {name!r}; choose one of: {', '.join(map(str, known))}")
    return name
