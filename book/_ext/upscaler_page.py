"""Gives the page that asks for it what it takes to enlarge a reader's picture: weights, a photograph, the script.

A page asks with an element of class ``dfkd-upscaler``. The data go into a script and not into a file that it would
fetch, because browsers let no page fetch anything when it is read from disk.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image

CLASS = "dfkd-upscaler"
NETWORK = "vdsr-small"
PHOTOGRAPH, NAME, CORNER = "astronaut", "A photograph of an astronaut", [107, 322]  # the frame's left and top


def setup(app):
    """Connect to Sphinx; before `without_thebe`, which makes a new list of a page's scripts."""
    app.connect("config-inited", write_data)
    app.connect("html-page-context", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_data(app, config):
    """Write the data as a script where the build finds it."""
    folder = Path(app.outdir).parent / ".upscaler"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "upscaler_data.js").write_text(f"window.dfkdUpscaler = {json.dumps(data())};\n")
    config.html_static_path.append(str(folder))


def add_files(app, pagename, templatename, context, doctree):
    """Load them on the pages that ask for it."""
    if doctree and any(CLASS in node.astext() for node in doctree.findall(nodes.raw)):
        app.add_css_file("upscaler.css")
        app.add_js_file("upscaler_data.js", loading_method="defer")
        app.add_js_file("upscaler.js", loading_method="defer")


def data() -> dict:
    """What upscaler.js reads."""
    from skimage import data as photographs

    from dfkd.networks.zoo import load_model

    model = load_model(NETWORK)
    return {
        "network": {"name": f"network ({NETWORK})", **model.spec(), "weights": encode_weights(model)},
        "photograph": {"name": NAME, "address": encode_picture(getattr(photographs, PHOTOGRAPH)()), "at": CORNER},
    }


def encode_weights(model) -> str:
    """Base64 of all weights as float16, layer by layer: half the size, and no eye sees the difference."""
    layers = (model.head, *model.body, model.tail)
    halves = np.concatenate([layer.weight.detach().numpy().ravel() for layer in layers]).astype("<f2")
    return base64.b64encode(halves.tobytes()).decode()


def encode_picture(pixels) -> str:
    """The picture as a ``data:`` address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
