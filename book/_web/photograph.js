// A reader's whole photograph, enlarged on the page by the best student: progress, before and after, download.
//
// Only where the book is served over http: from disk a browser lets no page fetch the runtime, and the small upscaler
// below (upscaler.js), which brings its own arithmetic, is what there is.
(() => {
  "use strict";
  const { make, labelled } = window.dfkdPage;
  const HERE = new URL(".", document.currentScript.src).href; // the book's _static
  const SIDE = 16384; // the longest side of a picture that browsers can hold
  const AREA = 80e6; // and as many pixels as fit into the memory of a tab

  function setUp(root, { runtime, networks, name }) {
    const file = make("input", { type: "file", accept: "image/*" });
    const scale = make("select", {}, ...networks.map((n) => make("option", { value: n.scale }, `${n.scale} times`)));
    const start = make("button", { type: "button", disabled: "" }, "Enlarge the photograph");
    const cancel = make("button", { type: "button", disabled: "" }, "Cancel");
    const progress = make("progress", { max: 1, value: 0, "aria-label": "How much of the photograph is done" });
    const status = make("p", { class: "dfkd-status", role: "status", "aria-live": "polite" });
    const shown = make("div", { class: "dfkd-shown" });
    const drop = make("div", { class: "dfkd-drop" }, labelled("Choose a photograph, or drop one here", file));
    let [picture, title, worker] = [null, "", null];

    root.replaceChildren(
      make("p", {}, `A whole photograph, enlarged by ${name}. It stays with you: nothing leaves the browser.`),
      drop,
      labelled("Factor", scale),
      make("div", { class: "dfkd-buttons" }, start, cancel, progress),
      status,
      shown,
    );
    status.textContent = "No photograph yet.";

    function say(text) {
      status.textContent = text;
    }

    function stop() {
      worker?.terminate();
      worker = null;
      progress.value = 0;
      start.disabled = !picture;
      cancel.disabled = true;
    }

    async function take(chosen) {
      stop();
      let bitmap;
      try {
        bitmap = await createImageBitmap(chosen);
      } catch {
        say(`${chosen.name} is no picture this browser can read.`);
        return;
      }
      const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.fillStyle = "white"; // under what is transparent
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(bitmap, 0, 0);
      picture = canvas;
      title = chosen.name;
      shown.replaceChildren();
      start.disabled = false;
      say(`${title}, ${canvas.width} by ${canvas.height} pixels. Press Enlarge.`);
    }

    function tooLarge(factor) {
      const [width, height] = [factor * picture.width, factor * picture.height];
      return Math.max(width, height) > SIDE || width * height > AREA ? `${width} by ${height}` : "";
    }

    function enlarge() {
      const network = networks.find((n) => n.scale === Number(scale.value));
      const size = tooLarge(network.scale);
      if (size) {
        say(`${size} pixels are more than a browser can hold; choose a smaller factor, or use dfkd upscale.`);
        return;
      }
      stop();
      worker = new Worker(`${HERE}photograph_worker.js`);
      [start.disabled, cancel.disabled] = [true, false];
      shown.replaceChildren();
      say("Loading the network.");
      const began = performance.now();
      const seconds = () => (performance.now() - began) / 1000;
      worker.onerror = (event) => {
        event.preventDefault();
        stop();
        say("The network did not load; is the book complete?");
      };
      worker.onmessage = ({ data: answer }) => {
        if (answer.error) {
          stop();
          say(`It did not work: ${answer.error}`);
        } else if (answer.progress !== undefined) {
          progress.value = answer.progress;
          const left = (seconds() * (1 - answer.progress)) / answer.progress;
          say(`Working: ${Math.round(100 * answer.progress)} %, about ${Math.ceil(left)} seconds left.`);
        } else {
          const took = seconds();
          stop();
          show(answer.result, network.scale);
          say(`Done in ${took.toFixed(1)} seconds: ${answer.result.width} by ${answer.result.height} pixels.`);
        }
      };
      const pixels = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
      worker.postMessage({
        picture: { width: pixels.width, height: pixels.height, data: pixels.data },
        scale: network.scale,
        margin: network.margin,
        runtime: HERE + runtime,
        network: HERE + network.file,
      });
    }

    // Before and after under a border that a range input moves; the browser's own enlargement is what is compared with.
    function show(result, factor) {
      const size = { width: result.width, height: result.height };
      const before = make("canvas", { ...size, role: "img", "aria-label": "Enlarged by the browser" });
      const pen = before.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(picture, 0, 0, size.width, size.height);
      const after = make("canvas", { ...size, role: "img", class: "dfkd-after", "aria-label": `Enlarged by ${name}` });
      after.getContext("2d").putImageData(new ImageData(result.data, size.width, size.height), 0, 0);
      const line = make("div", { class: "dfkd-line" });
      const border = make("input", { type: "range", min: 0, max: 100, value: 50, autocomplete: "off" });
      const move = () => {
        after.style.clipPath = `inset(0 0 0 ${border.value}%)`;
        line.style.marginLeft = `calc(${border.value}% - 1px)`;
        border.setAttribute("aria-valuetext", `${border.value} % from the left`);
      };
      border.addEventListener("input", move);
      move();
      const stack = make("div", { class: "dfkd-stack" }, before, after, line);
      const exact = make("input", { type: "checkbox", autocomplete: "off" });
      exact.addEventListener("change", () => stack.classList.toggle("dfkd-exact", exact.checked));
      const save = make("button", { type: "button" }, "Download as PNG");
      save.addEventListener("click", () => after.toBlob((blob) => download(blob, factor)));
      shown.replaceChildren(
        stack,
        labelled(`Left of the border: the browser's enlargement; right: ${name}`, border),
        make("label", { class: "dfkd-check" }, exact, " Pixel for pixel"),
        make("div", { class: "dfkd-buttons" }, save),
      );
    }

    function download(blob, factor) {
      const link = make("a", { href: URL.createObjectURL(blob), download: `${title.replace(/\.\w+$/, "")}-x${factor}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    }

    file.addEventListener("change", () => file.files.length && take(file.files[0]));
    for (const kind of ["dragover", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
      });
    }
    start.addEventListener("click", enlarge);
    cancel.addEventListener("click", () => {
      stop();
      say("Cancelled.");
      start.focus();
    });
  }

  addEventListener("DOMContentLoaded", () => {
    const whole = window.dfkdUpscaler.whole;
    if (!whole || !location.protocol.startsWith("http")) return;
    document.querySelectorAll(".dfkd-upscaler").forEach((region) => {
      const root = make("div", { class: "dfkd-upscaler dfkd-whole" });
      region.before(root);
      setUp(root, whole);
    });
  });
})();
