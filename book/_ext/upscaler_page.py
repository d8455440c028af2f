"""Gives the page that asks for it what it takes to enlarge a reader's picture: weights, a photograph, the script.

A page asks with an element of class ``dfkd-upscaler``. The data go into a script and not into a file that it would
fetch, because browsers let no page fetch anything when it is read from disk. Where the book is served, a page can fetch
the best student and a runtime as well, and takes whole photographs.
"""

import base64
import hashlib
import inspect
import io
import json
import sys
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image

CLASS = "dfkd-upscaler"
NETWORK = "vdsr-small"
WHOLE, SCALES = "vdsr-half-best", (2, 3, 4)  # the network for whole photographs, a file a scale
RUNTIME = "offline/onnxruntime-web/dist/"  # where offline_assets.py puts it
CHROMA = 2  # pixels that bicubic enlargement of colour sees beyond its own
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
    served = (Path(app.srcdir) / "node_modules" / "onnxruntime-web").is_dir()
    found = data() | {"whole": whole(folder) if served else None}
    (folder / "upscaler_data.js").write_text(f"window.dfkdUpscaler = {json.dumps(found)};\n")
    config.html_static_path.append(str(folder))


def add_files(app, pagename, templatename, context, doctree):
    """Load them on the pages that ask for it."""
    if doctree and any(CLASS in node.astext() for node in doctree.findall(nodes.raw)):
        app.add_css_file("upscaler.css")
        app.add_js_file("upscaler_data.js", loading_method="defer")
        app.add_js_file("upscaler.js", loading_method="defer")
        app.add_js_file("photograph.js", loading_method="defer")


def data() -> dict:
    """What upscaler.js reads."""
    from skimage import data as photographs

    from dfkd.networks.zoo import load_model

    model = load_model(NETWORK)
    return {
        "network": {"name": f"network ({NETWORK})", **model.spec(), "weights": encode_weights(model)},
        "photograph": {"name": NAME, "address": encode_picture(getattr(photographs, PHOTOGRAPH)()), "at": CORNER},
    }


def whole(folder: Path) -> dict:
    """What photograph.js reads: networks on colour as ONNX files, written unless an earlier build has them."""
    from dfkd.networks import onnx, photographs
    from dfkd.networks.weights import fingerprint
    from dfkd.networks.zoo import load_model

    model, networks = load_model(WHOLE), []
    # A change of the weights, or of the code that exports them, is another file: a page must not show an earlier one's.
    code = "".join(inspect.getsource(module) for module in (onnx, photographs, sys.modules[type(model).__module__]))
    mark = fingerprint(model.state_dict())[:8] + hashlib.sha256(code.encode()).hexdigest()[:4]
    for old in set(folder.glob("networks/*")) - set(folder.glob(f"networks/*-{mark}.onnx")):
        old.unlink()
    for scale in SCALES:
        file = f"networks/{WHOLE}-x{scale}-{mark}.onnx"
        if not (folder / file).exists():
            onnx.export_onnx(photographs.Colour(model), folder / file, scale, channels=3)
        networks.append({"scale": scale, "file": file, "margin": max(model.reach(scale), CHROMA)})
    return {"name": WHOLE, "runtime": RUNTIME, "networks": networks}


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
