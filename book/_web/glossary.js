/* What a term of the glossary means, beside its link: on hover, on focus, at the first touch; a second one follows the link.
   Without this script the meaning is the link's title. */
document.addEventListener("DOMContentLoaded", function () {
  var links = document.querySelectorAll("a.dfkd-term[title]");
  if (!links.length) return;
  var note = document.createElement("div");
  var shown = null; // the link whose meaning is shown
  var leaving = 0;
  var touched = false;

  function show(link) {
    clearTimeout(leaving);
    if (shown && shown !== link) shown.removeAttribute("aria-describedby");
    shown = link;
    note.textContent = link.getAttribute("data-meaning");
    note.hidden = false;
    link.setAttribute("aria-describedby", note.id);
    var place = link.getClientRects()[0]; // where the link begins, should it fill two lines
    var left = Math.min(place.left, document.documentElement.clientWidth - note.offsetWidth - 8);
    var below = place.bottom + note.offsetHeight + 8 < window.innerHeight;
    note.style.left = window.scrollX + Math.max(left, 8) + "px";
    note.style.top = window.scrollY + (below ? place.bottom + 4 : place.top - note.offsetHeight - 4) + "px";
  }
  function hide() {
    clearTimeout(leaving);
    if (shown) shown.removeAttribute("aria-describedby");
    shown = null;
    note.hidden = true;
  }
  function hideSoon() {
    leaving = setTimeout(hide, 200); // time enough to move onto the note, to read or copy it
  }

  note.id = "dfkd-meaning";
  note.className = "dfkd-meaning";
  note.setAttribute("role", "tooltip");
  note.hidden = true;
  note.addEventListener("pointerenter", function () { clearTimeout(leaving); });
  note.addEventListener("pointerleave", hideSoon);
  document.body.append(note);

  links.forEach(function (link) {
    link.setAttribute("data-meaning", link.title);
    link.removeAttribute("title"); // or the browser would show it once more
    link.addEventListener("pointerenter", function (event) {
      if (event.pointerType !== "touch") show(link);
    });
    link.addEventListener("pointerleave", function (event) {
      if (event.pointerType !== "touch") hideSoon();
    });
    link.addEventListener("focus", function () {
      if (!touched) show(link);
    });
    link.addEventListener("blur", hide);
    link.addEventListener("click", function (event) {
      if (!touched || shown === link) return;
      event.preventDefault();
      show(link);
    });
  });
  document.addEventListener("pointerdown", function (event) {
    touched = event.pointerType === "touch";
    if (shown && !shown.contains(event.target) && !note.contains(event.target)) hide();
  }, true);
  document.addEventListener("keydown", function (event) {
    touched = false;
    if (event.key === "Escape") hide();
  });
});
