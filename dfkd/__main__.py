"""``python -m dfkd`` is the command ``dfkd``."""

from dfkd.cli import main

main()
