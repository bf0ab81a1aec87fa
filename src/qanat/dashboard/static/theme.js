// Before the first paint: the theme that was chosen here, else the system's.
(function () {
  "use strict";
  try {
    var chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (error) { /* no storage: the system's */ }
})();
