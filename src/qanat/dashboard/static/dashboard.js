// What is alive on every page: the stream of events, how old things are, the theme.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const meta = document.querySelector('meta[name="csrf"]');

  document.addEventListener("htmx:configRequest", (event) => {
    if (meta && event.detail.verb !== "get") event.detail.headers["x-csrf"] = meta.content;
  });
  // what was refused is shown where the answer would have been
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400 && event.detail.xhr.status < 500) event.detail.shouldSwap = true;
  });

  // ---- how long ago
  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function ago(seconds) {
    if (seconds < 1) return "now";
    for (const [size, unit] of steps) {
      if (seconds < size) continue;
      const whole = Math.floor(seconds / size);
      const next = steps[steps.findIndex((each) => each[0] === size) + 1];
      const rest = next && size > 60 ? Math.floor((seconds - whole * size) / next[0]) : 0;
      return `${whole}\u2009${unit}${rest ? ` ${rest}\u2009${next[1]}` : ""}`;
    }
    return "";
  }
  let drift = 0; // this clock against the server's, in seconds
  function tell(root) {
    for (const each of root.querySelectorAll("time[datetime]")) {
      const away = Date.now() / 1000 - drift - Date.parse(each.dateTime) / 1000;
      const text = away >= 0 ? ago(away) : `in ${ago(-away)}`;
      if (each.textContent !== text) each.textContent = text;
    }
  }
  tell(document);
  setInterval(() => tell(document), 10000);
  document.addEventListener("htmx:afterSwap", () => tell(document));

  // ---- where the menu is wider than the screen, this page's entry is in sight
  const here = document.querySelector(".top nav [aria-current]");
  const seek = () => { here.closest("nav").scrollLeft = here.offsetLeft - here.closest("nav").offsetLeft - 16; };
  if (here) { seek(); addEventListener("resize", seek); }

  // ---- the theme
  const theme = $("theme");
  if (theme) theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch (error) { /* it lasts as long as the page */ }
    document.dispatchEvent(new CustomEvent("theme"));
  });

  // ---- commands to take along
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copies]");
    const text = button && $(button.dataset.copies);
    if (!text || !navigator.clipboard) return;
    navigator.clipboard.writeText(text.textContent).then(() => {
      const said = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = said; }, 1500);
    });
  });

  // ---- a file's text into the field that is sent
  document.addEventListener("change", (event) => {
    const field = event.target.dataset.fills && $(event.target.dataset.fills), file = event.target.files && event.target.files[0];
    if (field && file) file.text().then((text) => { field.value = text; field.focus(); });
  });

  // ---- the stream
  const url = document.body.dataset.live;
  if (!url) return;
  const age = $("age"), notice = $("broken-stream");
  let newest = 0, source = null, why = "", ended = false;

  const placed = (each) => each.getAttribute("href") || each.getAttribute("formaction") || each.id || each.className;
  function put(id, html) {
    const before = $(id);
    if (!before || before.outerHTML === html) return;
    const active = before.contains(document.activeElement) ? document.activeElement : null;
    if (active && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName)) return; // nobody's typing is lost
    const place = active && placed(active);
    const scrolled = [...before.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
    const unfolded = [...before.querySelectorAll("details[open][id]")].map((each) => each.id);
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const after = holder.content.firstElementChild;
    if (!after) return;
    before.replaceWith(after);
    unfolded.forEach((id) => { const again = $(id); if (again) again.open = true; });
    after.querySelectorAll(".scroll").forEach((each, n) => { if (scrolled[n]) [each.scrollLeft, each.scrollTop] = scrolled[n]; });
    if (place) {
      const again = [...after.querySelectorAll("a,button,[tabindex]")]
        .find((each) => placed(each) === place);
      if (again) again.focus({ preventScroll: true });
    }
    if (window.htmx) window.htmx.process(after);
    tell(after);
  }
  function heard(event) {
    const told = JSON.parse(event.data);
    drift = Date.now() / 1000 - told.at;
    newest = Date.now();
    why = "";
    for (const [id, html] of Object.entries(told.parts)) {
      if (id.startsWith("plot:")) document.dispatchEvent(new CustomEvent("plot", { detail: [id.slice(5), JSON.parse(html)] }));
      else put(id, html);
    }
    show();
  }
  function show() {
    const since = newest ? (Date.now() - newest) / 1000 : 0;
    const broken = ended || why || (newest ? since > 7 : performance.now() > 7000);
    age.dataset.state = broken ? "broken" : newest ? "live" : "new";
    age.querySelector(".says").textContent = newest ? (broken ? `${ago(since)} old` : "live") : broken ? "no stream" : "connecting";
    const text = !broken ? "" : ended ? "You are signed out: what is shown is no longer kept up. Load the page again."
      : `What is shown is ${newest ? `from ${new Date(newest).toLocaleTimeString()}` : "as the page was loaded"}: ${why || "the stream of events is broken"}. It is tried again.`;
    if (notice.textContent !== text) notice.textContent = text;
    notice.hidden = !broken;
  }
  function listen() {
    source = new EventSource(url);
    source.addEventListener("parts", heard);
    source.addEventListener("trouble", (event) => { why = JSON.parse(event.data).why; show(); });
    source.addEventListener("ended", () => { ended = true; source.close(); show(); });
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
      source.close();
      fetch(url, { method: "HEAD" }).then((answer) => { if (answer.status === 401) ended = true; }).catch(() => {}).then(() => {
        show();
        if (!ended) setTimeout(listen, 3000);
      });
    });
  }
  listen();
  setInterval(show, 1000);
  addEventListener("pagehide", () => source && source.close());
})();
