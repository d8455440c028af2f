// Tells require.js where the site keeps the widget manager; without this it would look beside the page.
(() => {
  const root = new URL("offline/@jupyter-widgets/html-manager/dist/", document.currentScript.src).href;
  window.requirejs.config({ paths: { "@jupyter-widgets/html-manager/dist": root.replace(/\/$/, "") } });
})();
