// Jupyter's widgets typeset their labels through MathJax 2's `MathJax.Hub.Queue`; the book's MathJax is version 3.
// Whatever `window.MathJax` becomes - its settings first, later the library itself - gets a Hub that passes the request on.
(() => {
  const hub = {
    Queue(...jobs) {
      for (const [name, , element] of jobs) {
        const ready = window.MathJax.startup?.promise; // absent until the library has loaded; it then typesets the whole page
        if (name === "Typeset" && ready) ready.then(() => window.MathJax.typesetPromise([element]));
      }
    },
  };
  let mathjax = window.MathJax;
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => mathjax,
    set(value) {
      mathjax = value;
      if (mathjax && !mathjax.Hub) mathjax.Hub = hub;
    },
  });
})();
