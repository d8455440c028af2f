"""What is wrong with a file: bytes that fell over, numbers that are absurd, values of another kind."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from typing import Any

NUMBERS = (0, 1, -1, 127, 255, 32768, 65535, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1)
ODD = (
    None, True, False, 0, -1, 1, 3, 7, 0.5, -0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**30,
    "", "x", "a\nb", "\x1b[2J", "../../escape", "/etc/passwd", "\0", "ü" * 300, [], [[]], [1, "a"], [2] * 9, {},
    {"a": {}}, "nan", "cmi", "noise", "meta",
)  # fmt: skip


def bytes_of(content: bytes, rng: random.Random, others: list[bytes] = ()) -> bytes:
    """The same with one to four mistakes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        some = rng.randint(1, 16)
        match rng.randrange(7):
            case 0 if data:
                data[at - 1] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + some] = rng.randbytes(some)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + some]
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 200)]
            case 5:
                size, order = rng.choice("bhiq"), rng.choice("<>")
                value = rng.choice(NUMBERS) & (1 << 8 * struct.calcsize(size)) - 1
                data[at : at + struct.calcsize(size)] = struct.pack(order + size.upper(), value)
            case 6 if others:
                other = rng.choice(others)
                data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def json_of(content: Any, rng: random.Random) -> Any:
    """A copy in which one to three values are others, gone, or under another name."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.randint(1, 3)):
        here: Any = {"": content}
        place: Any = ""
        while isinstance(here[place], dict | list) and here[place] and rng.random() < 0.8:
            here = here[place]
            place = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        what = rng.randrange(4)
        if what == 0 and place != "":
            del here[place]
        elif what == 1 and isinstance(here, dict) and place != "":
            here[str(rng.choice(ODD))] = here.pop(place)
        elif place != "" or rng.random() < 0.1:
            here[place] = rng.choice(ODD)
            content = here[""] if place == "" else content
        if not isinstance(content, dict | list):
            break
    return content


def text_of(content: Any, rng: random.Random) -> bytes:
    """JSON with wrong values, seldom with wrong letters too."""
    text = json.dumps(json_of(content, rng)).encode()
    return bytes_of(text, rng) if rng.random() < 0.2 else text


def safetensors_of(content: bytes, rng: random.Random) -> bytes:
    """Its header with wrong values and the right length, or any mistake."""
    if rng.random() < 0.3:
        return bytes_of(content, rng)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    name = rng.choice(list(header))
    if name == "__metadata__":
        description = json.loads(header[name]["dfkd"])
        header[name]["dfkd"] = text_of(description, rng).decode("latin-1")
    elif rng.random() < 0.5:  # as many bytes in another shape
        size = header[name]["shape"]
        flat = 1
        for side in size:
            flat *= side
        shapes = [flat], [flat, 1], [1] * 30 + size, [10**9, 0], [flat, 1, 1, 1], size[::-1]
        header[name]["shape"] = rng.choice(shapes)
    else:
        header = json_of(header, rng)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + length :]


def zip_of(content: bytes, rng: random.Random) -> bytes:
    """A file of torch.save whose pickle is wrong, its sums right; or packed; or with any mistake."""
    if rng.random() < 0.3:
        return bytes_of(content, rng)
    out = io.BytesIO()
    packed = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", packed) as new:
        for entry in old.infolist():
            part = old.read(entry)
            if entry.filename.endswith("data.pkl") or rng.random() < 0.1:
                part = bytes_of(part, rng)
            new.writestr(entry.filename, part)
    return out.getvalue()
