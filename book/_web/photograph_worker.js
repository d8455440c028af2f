// A whole photograph through a network, tile by tile, in a thread of its own. The runtime and the network are files that
// the book itself serves; the picture comes from the page and goes back to it.
"use strict";
const TILE = 128; // side of what a tile adds to the result, in pixels of the picture

// A part of the picture as the network wants it: [1, 3, height, width] in [0, 1], colour after colour.
function cut({ data, width }, left, top, right, bottom) {
  const [across, down] = [right - left, bottom - top];
  const values = new Float32Array(3 * across * down);
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const from = 4 * ((top + y) * width + left + x);
      for (let c = 0; c < 3; c++) values[(c * down + y) * across + x] = data[from + c] / 255;
    }
  }
  return new ort.Tensor("float32", values, [1, 3, down, across]);
}

// The tile's own pixels, without the margin that it saw, into the large picture; Uint8ClampedArray rounds.
function lay({ data, dims }, result, left, top, offsetX, offsetY, across, down) {
  const [, , height, width] = dims;
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const to = 4 * ((top + y) * result.width + left + x);
      for (let c = 0; c < 3; c++) {
        result.data[to + c] = 255 * data[(c * height + offsetY + y) * width + offsetX + x];
      }
      result.data[to + 3] = 255;
    }
  }
}

async function enlarge({ picture, scale, margin, runtime, network }) {
  importScripts(`${runtime}ort.wasm.min.js`);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1; // more would need headers that a static page cannot send
  const session = await ort.InferenceSession.create(network);
  const { width, height } = picture;
  const result = { width: scale * width, height: scale * height };
  result.data = new Uint8ClampedArray(4 * result.width * result.height);
  const [columns, rows] = [width, height].map((side) => Math.ceil(side / TILE));
  for (let tile = 0; tile < columns * rows; tile++) {
    const [left, top] = [TILE * (tile % columns), TILE * Math.floor(tile / columns)];
    const [right, bottom] = [Math.min(left + TILE, width), Math.min(top + TILE, height)];
    const [seenLeft, seenTop] = [Math.max(0, left - margin), Math.max(0, top - margin)];
    const [seenRight, seenBottom] = [Math.min(right + margin, width), Math.min(bottom + margin, height)];
    const { sr } = await session.run({ lr: cut(picture, seenLeft, seenTop, seenRight, seenBottom) });
    const [offsetX, offsetY] = [scale * (left - seenLeft), scale * (top - seenTop)];
    lay(sr, result, scale * left, scale * top, offsetX, offsetY, scale * (right - left), scale * (bottom - top));
    postMessage({ progress: (tile + 1) / (columns * rows) });
  }
  postMessage({ result }, [result.data.buffer]);
}

onmessage = ({ data }) => {
  enlarge(data).catch((error) => postMessage({ error: String(error.message ?? error) }));
};
