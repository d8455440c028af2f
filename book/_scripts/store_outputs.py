"""Execute chapters and store their outputs as the repository keeps them: small, and the same from run to run.

    python book/_scripts/store_outputs.py book/01_super_resolution.ipynb ...

Figures are stored with a palette of 256 colours (the book itself draws them anew), printed lines as one output a cell,
and nothing that differs between two runs of the same code or two machines, such as when each cell ran, and in which
folder.
"""

import base64
import io
import re
import sys

import nbformat
from nbclient import NotebookClient
from PIL import Image

KEPT_METADATA = ("kernelspec", "language_info", "mystnb")
STARTUP_SECONDS = 240
FOLDERS = re.compile(r"/[^\s\x1b]*/(?=site-packages/|dfkd/)")


def with_palette(png: str) -> str:
    """A base64 PNG with at most 256 colours, or the same one where that would not be smaller."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return min(base64.b64encode(file.getvalue()).decode(), png, key=len)


def tidy(cell):
    """Make a code cell's outputs small and repeatable, in place."""
    cell.metadata.pop("execution", None)
    outputs = []
    for output in cell.outputs:
        before = outputs[-1] if outputs else None
        if before and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text  # a kernel sends what is printed in as many pieces as it likes
            continue
        if output.output_type == "error":  # whose traceback names folders of this machine
            output.traceback = [FOLDERS.sub("", line) for line in output.traceback]
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
        outputs.append(output)
    cell.outputs = outputs


def main(paths):
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, kernel_name="python3", startup_timeout=STARTUP_SECONDS, record_timing=False).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                tidy(cell)
        notebook.metadata = {name: notebook.metadata[name] for name in KEPT_METADATA if name in notebook.metadata}
        nbformat.write(notebook, path)
        print(f"{path}: {len(nbformat.writes(notebook)) / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
