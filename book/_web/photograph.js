// A reader's whole photograph, enlarged on the page by the best student: progress, before and after, download.
//
// Only where the book is served over http: from disk a browser lets no page fetch the runtime, and the small upscaler
// below (upscaler.js), which brings its own arithmetic, is what there is.
(() => {
  "use strict";
  const { make, labelled } = window.dfkdPage;
  const HERE = new URL(".", document.currentScript.src).href; // the book's _static
  const SIDE = 16384; // the longest side of a picture that any browser can hold
  const AREA = 80e6; // and as many pixels as fit into the memory of a tab; a phone's browser may hold far fewer

  // What draws on a canvas, or null. Beyond its limit a browser gives nothing that draws, or a canvas that stays blank
  // without a word, and only a pixel read back from the far corner tells.
  function penOf(canvas, options) {
    try {
      const pen = canvas.getContext("2d", options);
      const corner = [canvas.width - 1, canvas.height - 1, 1, 1];
      pen.fillRect(...corner);
      return pen.getImageData(...corner).data[3] === 255 ? pen : null;
    } catch {
      return null;
    }
  }

  // Some browsers allow all canvases together only so much memory, and free it late unless told.
  function release(canvas) {
    canvas.width = canvas.height = 0;
  }

  function pixelsOf(canvas) {
    try {
      return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    } catch {
      return null; // no memory for them
    }
  }

  // Before and after are two canvases, which have to fit at the same time.
  function canShow(size) {
    const trial = [make("canvas", size), make("canvas", size)];
    const works = trial.every((canvas) => penOf(canvas));
    trial.forEach(release);
    return works;
  }

  function setUp(root, { runtime, networks, name }) {
    const file = make("input", { type: "file", accept: "image/*" });
    const scale = make("select", {}, ...networks.map((n) => make("option", { value: n.scale }, `${n.scale} times`)));
    const start = make("button", { type: "button", disabled: "" }, "Enlarge the photograph");
    const cancel = make("button", { type: "button", disabled: "" }, "Cancel");
    const progress = make("progress", { max: 1, value: 0, "aria-label": "How much of the photograph is done" });
    const left = make("span", {}); // outside the status: a screen reader would read out every tile
    const status = make("p", { class: "dfkd-status", role: "status", "aria-live": "polite" });
    const shown = make("div", { class: "dfkd-shown" });
    const drop = make("div", { class: "dfkd-drop" }, labelled("Choose a photograph, or drop one here", file));
    let [picture, title, worker] = [null, "", null];
    let turns = 0; // how often a picture was chosen

    root.replaceChildren(
      make("p", {}, `A whole photograph, enlarged by ${name}. It stays with you: nothing leaves the browser.`),
      drop,
      labelled("Factor", scale),
      make("div", { class: "dfkd-buttons" }, start, cancel, progress, left),
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
      left.textContent = "";
      start.disabled = !picture;
      cancel.disabled = true;
    }

    function clear() {
      shown.querySelectorAll("canvas").forEach(release);
      shown.replaceChildren();
    }

    function sayTooLarge({ width, height }, remedy) {
      const size = `${width} by ${height} pixels`;
      say(`${size} are more than this browser can hold. ${remedy}, or use dfkd upscale on a computer.`);
    }

    async function take(chosen) {
      const turn = ++turns;
      stop();
      start.disabled = true; // until it is decoded: what would be enlarged is still the picture before
      let bitmap;
      try {
        bitmap = await createImageBitmap(chosen);
      } catch {
        if (turn !== turns) return;
        start.disabled = !picture;
        say(`${chosen.name} is no picture this browser can read.`);
        return;
      }
      if (turn !== turns) {
        bitmap.close(); // another was chosen meanwhile
        return;
      }
      const size = { width: bitmap.width, height: bitmap.height };
      const canvas = make("canvas", size);
      const pen = penOf(canvas, { willReadFrequently: true });
      if (!pen) {
        bitmap.close();
        release(canvas);
        start.disabled = !picture;
        sayTooLarge(size, `Crop ${chosen.name}, choose a smaller photograph`);
        return;
      }
      pen.fillStyle = "white"; // under what is transparent
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(bitmap, 0, 0);
      bitmap.close();
      if (picture) release(picture);
      picture = canvas;
      title = chosen.name;
      clear();
      start.disabled = false;
      say(`${title}, ${canvas.width} by ${canvas.height} pixels. Press Enlarge.`);
    }

    function enlarge() {
      const network = networks.find((n) => n.scale === Number(scale.value));
      const [source, saveAs] = [picture, `${title.replace(/\.\w+$/, "")}-x${network.scale}.png`];
      const size = { width: network.scale * source.width, height: network.scale * source.height };
      const within = Math.max(size.width, size.height) <= SIDE && size.width * size.height <= AREA;
      const remedy = "Crop the photograph, choose a smaller one or a smaller factor";
      if (within) clear(); // the result before would take the room that this one is tried in
      const pixels = within && canShow(size) ? pixelsOf(source) : null;
      if (!pixels) {
        sayTooLarge(size, remedy);
        return;
      }
      stop();
      worker = new Worker(`${HERE}photograph_worker.js`);
      [start.disabled, cancel.disabled] = [true, false];
      say("Working; the network is loaded first.");
      let quarters = 0; // of the work, as far as the status has told
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
          const rest = Math.ceil((seconds() * (1 - answer.progress)) / answer.progress);
          left.textContent = `${Math.round(100 * answer.progress)} %, about ${rest} seconds left`;
          const now = Math.floor(4 * answer.progress);
          if (now > quarters && now < 4) say(`Working: ${25 * now} % done.`);
          quarters = now;
        } else {
          const took = seconds();
          stop();
          if (show(answer.result, source, saveAs)) {
            say(`Done in ${took.toFixed(1)} seconds: ${size.width} by ${size.height} pixels.`);
          } else {
            sayTooLarge(size, remedy);
          }
        }
      };
      const job = {
        picture: { width: source.width, height: source.height, data: pixels.data },
        scale: network.scale,
        margin: network.margin,
        runtime: HERE + runtime,
        network: HERE + network.file,
      };
      worker.postMessage(job, [pixels.data.buffer]); // given away, not copied: memory is what a phone lacks
    }

    // Before and after under a border that a range input moves; the browser's own enlargement is what is compared with.
    // False where the browser has no room for it after all.
    function show(result, source, saveAs) {
      const size = { width: result.width, height: result.height };
      const before = make("canvas", { ...size, role: "img", "aria-label": "Enlarged by the browser" });
      const after = make("canvas", { ...size, role: "img", class: "dfkd-after", "aria-label": `Enlarged by ${name}` });
      const [under, over] = [penOf(before), penOf(after)];
      if (!under || !over) {
        [before, after].forEach(release);
        return false;
      }
      under.imageSmoothingQuality = "high";
      under.drawImage(source, 0, 0, size.width, size.height);
      over.putImageData(new ImageData(result.data, size.width, size.height), 0, 0);
      const line = make("div", { class: "dfkd-line" });
      const border = make("input", { type: "range", min: 0, max: 100, value: 50, autocomplete: "off" });
      const move = () => {
        after.style.clipPath = `inset(0 0 0 ${border.value}%)`;
        line.style.marginLeft = `calc(${border.value}% - 1px)`;
        border.setAttribute("aria-valuetext", `${border.value} % from the left`);
      };
      border.addEventListener("input", move);
      move();
      // Focusable, so that the arrow keys scroll it where it is larger than its place.
      const reachable = { tabindex: 0, role: "group", "aria-label": "Before and after; the arrow keys scroll" };
      const stack = make("div", { class: "dfkd-stack", ...reachable }, before, after, line);
      const exact = make("input", { type: "checkbox", autocomplete: "off" });
      exact.addEventListener("change", () => stack.classList.toggle("dfkd-exact", exact.checked));
      const save = make("button", { type: "button" }, "Download as PNG");
      save.addEventListener("click", () => after.toBlob((blob) => download(blob, saveAs)));
      shown.replaceChildren(
        stack,
        labelled(`Left of the border: the browser's enlargement; right: ${name}`, border),
        make("label", { class: "dfkd-check" }, exact, " Pixel for pixel"),
        make("div", { class: "dfkd-buttons" }, save),
      );
      return true;
    }

    function download(blob, saveAs) {
      if (!blob) {
        say("This browser cannot write so large a file. Crop the photograph, or use dfkd upscale on a computer.");
        return;
      }
      const link = make("a", { href: URL.createObjectURL(blob), download: saveAs });
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
