// A connector's log as it comes. Every text is a stranger's: it is only ever put as text.
(function () {
  "use strict";
  const form = document.querySelector("form[data-tail]");
  if (!form) return;
  const list = document.getElementById("tail-lines"), says = document.getElementById("tail-says");
  const button = form.querySelector("button[data-follow]");
  const MOST = 1000;
  let source = null, dropped = 0, shown = 0;

  function say(text) { if (says.textContent !== text) says.textContent = text; }
  function part(name, text, tag) {
    const each = document.createElement(tag || "span");
    each.className = name;
    each.textContent = text;
    return each;
  }
  function stop(why) {
    if (source) source.close();
    source = null;
    button.textContent = "Follow";
    list.setAttribute("aria-busy", "false");
    say(`${why}${dropped ? ` · ${dropped} lines dropped` : ""}`);
  }
  function add(lines) {
    const down = list.scrollTop + list.clientHeight >= list.scrollHeight - 20;
    for (const line of lines) {
      const row = document.createElement("p");
      row.dataset.level = line.level;
      row.append(part("at", line.time.slice(11, 23) || line.time), part("level", line.level), part("event", line.event), part("said", line.message));
      if (line.fields) row.append(part("fields", line.fields, "code"));
      list.append(row);
    }
    while (list.children.length > MOST) list.firstChild.remove();
    if (down) list.scrollTop = list.scrollHeight;
  }
  function follow() {
    const asked = new URLSearchParams(new FormData(form));
    list.textContent = "";
    dropped = shown = 0;
    source = new EventSource(`${form.dataset.tail}?${asked}`);
    button.textContent = "Stop";
    list.setAttribute("aria-busy", "true");
    say("connecting");
    source.addEventListener("lines", (event) => {
      const told = JSON.parse(event.data);
      dropped = told.dropped;
      shown += told.lines.length;
      add(told.lines);
      say(`following · ${shown} lines${dropped ? ` · ${dropped} dropped: this page reads too slowly` : ""}`);
    });
    source.addEventListener("over", (event) => stop(`ended: ${JSON.parse(event.data).why}`));
    source.addEventListener("error", () => { if (source) stop("ended: the stream broke off"); });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (source) stop("stopped"); else follow();
  });
  addEventListener("pagehide", () => source && stop("stopped"));
})();
