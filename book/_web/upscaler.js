// The reader's own picture, enlarged on the page: bicubically, and by one of the book's networks. No server, no library.
//
// The page holds an empty <div class="dfkd-upscaler">; upscaler_data.js, written when the book is built, holds the
// weights and a photograph to begin with. All arithmetic is in `program`, which runs in a worker of its own.
(() => {
  "use strict";
  const REGION = 128; // side of the region that is enlarged, in pixels of the picture
  const PREVIEW = 480; // width of the picture's preview, in pixels of the page

  // ---- the arithmetic: what pixels/resize.py, pixels/colour.py, networks/vdsr.py and networks/photographs.py do -----

  function program(post) {
    // Base64 of little-endian float16 numbers.
    function decodeWeights(text) {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const halves = new DataView(bytes.buffer);
      return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
        const bits = halves.getUint16(2 * i, true);
        const exponent = (bits >> 10) & 31;
        const fraction = (bits & 1023) / 1024;
        const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
        return bits >> 15 ? -size : size;
      });
    }

    function cubic(t) {
      t = Math.abs(t);
      if (t <= 1) return 1.5 * t ** 3 - 2.5 * t ** 2 + 1;
      return t < 2 ? -0.5 * t ** 3 + 2.5 * t ** 2 - 4 * t + 2 : 0;
    }

    // Which input pixels make output pixel i, and with which weights; beyond the border the picture is mirrored.
    function taps(length, scale) {
      const shrink = Math.min(scale, 1);
      const reach = Math.ceil(2 / shrink) + 1;
      return Array.from({ length: Math.ceil(+(length * scale).toFixed(6)) }, (_, i) => {
        const centre = (i + 0.5) / scale - 0.5;
        const places = [];
        const weights = [];
        for (let tap = Math.floor(centre) - reach; tap <= Math.floor(centre) + reach; tap++) {
          const folded = ((tap % (2 * length)) + 2 * length) % (2 * length);
          places.push(folded < length ? folded : 2 * length - 1 - folded);
          weights.push(cubic(shrink * (centre - tap)));
        }
        const sum = weights.reduce((a, b) => a + b);
        return { places, weights: weights.map((weight) => weight / sum) };
      });
    }

    // A plane is {height, width, pixels}; its pixels are a Float32Array, row by row.
    function resize(plane, scale) {
      const [down, across] = [taps(plane.height, scale), taps(plane.width, scale)];
      const { width, pixels } = plane;
      const [newHeight, newWidth] = [down.length, across.length];
      const rows = new Float32Array(newHeight * width);
      down.forEach(({ places, weights }, y) => {
        for (let x = 0; x < width; x++) {
          let sum = 0;
          for (let k = 0; k < places.length; k++) sum += weights[k] * pixels[places[k] * width + x];
          rows[y * width + x] = sum;
        }
      });
      const result = new Float32Array(newHeight * newWidth);
      across.forEach(({ places, weights }, x) => {
        for (let y = 0; y < newHeight; y++) {
          let sum = 0;
          for (let k = 0; k < places.length; k++) sum += weights[k] * rows[y * width + places[k]];
          result[y * newWidth + x] = sum;
        }
      });
      return { height: newHeight, width: newWidth, pixels: result };
    }

    const map = (plane, f) => ({ ...plane, pixels: plane.pixels.map(f) });
    const clamp = (value) => Math.min(1, Math.max(0, value));

    // Feature maps lie in one array, channel after channel, each with a border of zeros one pixel wide.
    function convolve(input, inputs, output, outputs, weights, height, width, relu, done) {
      const stride = width + 2;
      const size = (height + 2) * stride;
      const row = new Float32Array(width);
      for (let o = 0; o < outputs; o++) {
        for (let y = 0; y < height; y++) {
          row.fill(0);
          for (let i = 0; i < inputs; i++) {
            const k = 9 * (o * inputs + i);
            const [a, b, c] = [weights[k], weights[k + 1], weights[k + 2]];
            const [d, e, f] = [weights[k + 3], weights[k + 4], weights[k + 5]];
            const [g, h, j] = [weights[k + 6], weights[k + 7], weights[k + 8]];
            let top = i * size + y * stride;
            let middle = top + stride;
            let bottom = middle + stride;
            for (let x = 0; x < width; x++, top++, middle++, bottom++) {
              row[x] +=
                a * input[top] + b * input[top + 1] + c * input[top + 2] +
                d * input[middle] + e * input[middle + 1] + f * input[middle + 2] +
                g * input[bottom] + h * input[bottom + 1] + j * input[bottom + 2];
            }
          }
          const start = o * size + (y + 1) * stride + 1;
          for (let x = 0; x < width; x++) output[start + x] = relu && row[x] < 0 ? 0 : row[x];
        }
        done(9 * inputs);
      }
    }

    // VDSR: head, hidden layers and tail, a ReLU after all but the last; the result is added to what went in.
    function correct(plane, network) {
      const { height, width } = plane;
      const stride = width + 2;
      const channels = [1, ...Array(network.blocks + 1).fill(network.width), 1];
      const weights = decodeWeights(network.weights);
      let [now, next] = [0, 1].map(() => new Float32Array(network.width * (height + 2) * stride));
      for (let y = 0; y < height; y++) {
        now.set(plane.pixels.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1);
      }
      let finished = 0;
      let offset = 0;
      for (let layer = 1; layer < channels.length; layer++) {
        const [inputs, outputs] = [channels[layer - 1], channels[layer]];
        const own = weights.subarray(offset, (offset += 9 * inputs * outputs));
        convolve(now, inputs, next, outputs, own, height, width, layer < channels.length - 1, (work) => {
          post({ progress: (finished += work) / weights.length });
        });
        [now, next] = [next, now];
      }
      const result = plane.pixels.slice();
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) result[y * width + x] += now[(y + 1) * stride + x + 1];
      }
      return { height, width, pixels: result };
    }

    // Colour as BT.601 in studio range, divided by 255: Y in [16, 235], Cb and Cr in [16, 240].
    function toPlanes({ data, height, width }) {
      const rows = [[65.481, 128.553, 24.966, 16], [-37.797, -74.203, 112, 128], [112, -93.786, -18.214, 128]];
      return rows.map(([red, green, blue, offset]) => {
        const pixels = new Float32Array(height * width);
        for (let i = 0; i < pixels.length; i++) {
          pixels[i] = ((red * data[4 * i] + green * data[4 * i + 1] + blue * data[4 * i + 2]) / 255 + offset) / 255;
        }
        return { height, width, pixels };
      });
    }

    function toPicture([y, cb, cr]) {
      const data = new Uint8ClampedArray(4 * y.pixels.length); // rounds and clamps
      for (let i = 0; i < y.pixels.length; i++) {
        const luma = (255 * y.pixels[i] - 16) / 219;
        const blue = (255 * cb.pixels[i] - 128) / 224;
        const red = (255 * cr.pixels[i] - 128) / 224;
        data[4 * i] = 255 * (luma + 1.402 * red);
        data[4 * i + 1] = 255 * (luma - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587);
        data[4 * i + 2] = 255 * (luma + 1.772 * blue);
        data[4 * i + 3] = 255;
      }
      return { height: y.height, width: y.width, data };
    }

    function psnr(sr, hr, shave) {
      let [sum, count] = [0, 0];
      for (let y = shave; y < hr.height - shave; y++) {
        for (let x = shave; x < hr.width - shave; x++, count++) {
          const i = y * hr.width + x;
          sum += (clamp(sr.pixels[i]) - hr.pixels[i]) ** 2;
        }
      }
      return -10 * Math.log10(sum / count);
    }

    return ({ picture, scale, shrink, network }) => {
      const whole = toPlanes(picture);
      const [luma, ...chroma] = shrink ? whole.map((plane) => resize(plane, 1 / scale)) : whole;
      const bicubic = resize(luma, scale);
      const colours = chroma.map((plane) => resize(plane, scale));
      const learnt = correct(map(bicubic, clamp), network);
      post({
        bicubic: toPicture([bicubic, ...colours]),
        network: toPicture([learnt, ...colours]),
        psnr: shrink && { bicubic: psnr(bicubic, whole[0], scale), network: psnr(learnt, whole[0], scale) },
      });
    };
  }

  function startWorker() {
    const source = `const work = (${program})((answer) => postMessage(answer)); onmessage = (e) => work(e.data);`;
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    return worker;
  }

  // ---- the page ------------------------------------------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children);
    return element;
  }

  const labelled = (text, input) => make("label", {}, make("span", {}, text), input);
  const range = (max) => make("input", { type: "range", min: 0, max, step: 1, value: 0, autocomplete: "off" });

  function setUp(root, data) {
    const file = make("input", { type: "file", accept: "image/*" });
    const preview = make("canvas", { class: "dfkd-preview", role: "img" });
    const [left, top] = [range(0), range(0)];
    const scale = make("select", {}, ...[2, 3, 4].map((s) => make("option", { value: s }, `${s} times`)));
    const shrink = make("input", { type: "checkbox", autocomplete: "off" });
    const start = make("button", { type: "button" }, "Enlarge");
    const cancel = make("button", { type: "button", disabled: "" }, "Cancel");
    const progress = make("progress", { max: 1, value: 0, "aria-label": "How much of the network has run" });
    const status = make("p", { class: "dfkd-status", role: "status", "aria-live": "polite" });
    const results = make("div", { class: "dfkd-results" });
    let image = null;
    let region = { width: 0, height: 0 };
    let worker = null;

    root.replaceChildren(
      make("p", {}, "Your picture stays with you: this page reads it, and nothing leaves the browser."),
      labelled("Choose a picture of your own", file),
      preview,
      labelled("Region, from the left", left),
      labelled("Region, from the top", top),
      labelled("Factor", scale),
      make("label", { class: "dfkd-check" }, shrink, " Shrink the region first, so that there is an original to compare with"),
      make("div", { class: "dfkd-buttons" }, start, cancel, progress),
      status,
      results,
    );

    function say(text) {
      status.textContent = text;
    }

    function busy(is) {
      start.disabled = is;
      cancel.disabled = !is;
    }

    function stop() {
      worker?.terminate();
      worker = null;
      progress.value = 0;
      busy(false);
    }

    function show(address, name, at) {
      const next = new Image();
      next.onload = () => {
        if (Math.min(next.naturalWidth, next.naturalHeight) < 16) {
          say(`${name} is only ${next.naturalWidth} by ${next.naturalHeight} pixels; choose a larger one.`);
          return;
        }
        stop();
        image = next;
        region = { width: Math.min(REGION, image.naturalWidth), height: Math.min(REGION, image.naturalHeight) };
        left.max = image.naturalWidth - region.width;
        top.max = image.naturalHeight - region.height;
        [left.value, top.value] = at ?? [left.max / 2, top.max / 2];
        results.replaceChildren();
        draw();
        say(`${name}, ${image.naturalWidth} by ${image.naturalHeight} pixels. Move the frame and press Enlarge.`);
      };
      next.onerror = () => say(`${name} is no picture this browser can read.`);
      next.src = address;
    }

    function draw() {
      const zoom = Math.min(1, PREVIEW / image.naturalWidth);
      preview.width = Math.max(1, Math.round(zoom * image.naturalWidth));
      preview.height = Math.max(1, Math.round(zoom * image.naturalHeight));
      const pen = preview.getContext("2d");
      pen.fillStyle = "white"; // under what is transparent
      pen.fillRect(0, 0, preview.width, preview.height);
      pen.drawImage(image, 0, 0, preview.width, preview.height);
      const frame = [left.value, top.value, region.width, region.height].map((length) => zoom * length);
      for (const [colour, thickness] of [["black", 4], ["white", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = thickness;
        pen.strokeRect(...frame);
      }
      for (const [input, whole] of [[left, image.naturalWidth], [top, image.naturalHeight]]) {
        input.setAttribute("aria-valuetext", `${input.value} of ${whole} pixels`);
      }
      preview.setAttribute(
        "aria-label",
        `The picture; a frame marks ${region.width} by ${region.height} pixels, ${left.value} from the left, ${top.value} from the top`,
      );
    }

    function cut(multiple) {
      const [width, height] = [region.width, region.height].map((side) => side - (side % multiple));
      const canvas = make("canvas", { width, height });
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.fillStyle = "white";
      pen.fillRect(0, 0, width, height);
      pen.drawImage(image, left.value, top.value, width, height, 0, 0, width, height);
      return pen.getImageData(0, 0, width, height);
    }

    function figure(name, picture, decibels) {
      const canvas = make("canvas", { width: picture.width, height: picture.height, role: "img", "aria-label": `The region, ${name}` });
      canvas.style.width = `${picture.width * Math.max(1, Math.floor(256 / picture.width))}px`;
      canvas.getContext("2d").putImageData(new ImageData(picture.data, picture.width, picture.height), 0, 0);
      const caption = decibels === undefined ? name : `${name}, ${decibels.toFixed(2)} dB`;
      return make("figure", { "data-name": name }, canvas, make("figcaption", {}, caption));
    }

    function enlarge() {
      const job = { scale: Number(scale.value), shrink: shrink.checked, network: data.network };
      job.picture = cut(job.shrink ? job.scale : 1);
      results.replaceChildren();
      try {
        worker = startWorker();
      } catch {
        say("This browser starts no worker on this page; open the book from a server.");
        return;
      }
      busy(true);
      say("Working.");
      const began = performance.now();
      worker.onerror = () => {
        stop();
        say("Something went wrong; try a smaller factor.");
      };
      worker.onmessage = ({ data: answer }) => {
        if (answer.progress !== undefined) {
          progress.value = answer.progress;
          return;
        }
        const seconds = (performance.now() - began) / 1000;
        stop();
        results.append(
          figure("bicubic", answer.bicubic, answer.psnr?.bicubic),
          figure(data.network.name, answer.network, answer.psnr?.network),
          ...(job.shrink ? [figure("original", job.picture)] : []),
        );
        const gain = answer.psnr ? ` The network is ${(answer.psnr.network - answer.psnr.bicubic).toFixed(2)} dB above bicubic.` : "";
        say(`Done in ${seconds.toFixed(1)} seconds.${gain}`);
      };
      worker.postMessage(job);
    }

    file.addEventListener("change", () => {
      if (file.files.length) show(URL.createObjectURL(file.files[0]), file.files[0].name);
    });
    [left, top].forEach((input) => input.addEventListener("input", draw));
    preview.addEventListener("click", (event) => {
      const box = preview.getBoundingClientRect();
      left.value = ((event.clientX - box.left) / box.width) * image.naturalWidth - region.width / 2;
      top.value = ((event.clientY - box.top) / box.height) * image.naturalHeight - region.height / 2;
      draw();
    });
    start.addEventListener("click", enlarge);
    cancel.addEventListener("click", () => {
      stop();
      say("Cancelled.");
      start.focus();
    });
    show(data.photograph.address, data.photograph.name, data.photograph.at);
  }

  window.dfkdPage = { make, labelled }; // what photograph.js uses as well

  addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".dfkd-upscaler").forEach((root) => setUp(root, window.dfkdUpscaler));
  });
})();
