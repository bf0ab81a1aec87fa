// Plots of what passed: read once, then point by point with the stream.
(function () {
  "use strict";
  const names = { requests: "requests", errors: "errors", p50: "p50", p95: "p95", p99: "p99" };
  const shades = { requests: "--accent", errors: "--down", p50: "--healthy", p95: "--accent", p99: "--degraded" };
  const time = (s) => s == null ? "–" : s === 0 ? "0" : s < 0.001 ? "<1 ms" : s < 1 ? `${(s * 1000).toFixed(0)} ms` : `${s.toFixed(1)} s`;
  const rate = (n) => n == null ? "–" : n >= 1000 ? `${(n / 1000).toFixed(1)}k` : n >= 10 ? n.toFixed(0) : n.toFixed(n ? 1 : 0);
  const drawn = [];

  function clock(_u, all) {
    const long = all.length > 1 && all[all.length - 1] - all[0] > 2 * 86400;
    return all.map((at) => new Date(at * 1000).toLocaleString([], long ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hour12: false }));
  }
  function style(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  function draw(holder, data) {
    const columns = holder.dataset.columns.split(",");
    const says = holder.dataset.unit === "time" ? time : rate;
    const values = [data[0], ...columns.map((name) => data[1][name])];
    holder.textContent = "";
    const told = !holder.dataset.none || values.slice(1).some((column) => column.some((value) => value != null));
    if (data[0].length < 2 || !told) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = told ? "first points in 20 s" : holder.dataset.none;
      holder.append(empty);
      return null;
    }
    const axis = { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", gap: 2 };
    return new uPlot({
      width: holder.clientWidth, height: 146, pxAlign: true, cursor: { y: false, points: { size: 5 }, drag: { x: false, y: false } },
      legend: { live: true, show: true },
      scales: { y: { range: (_u, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, size: 22, space: 70, grid: { show: false }, values: clock },
             { ...axis, size: 44, space: 34, values: (_u, all) => all.map(says) }],
      series: [{ value: (_u, at) => at == null ? "" : new Date(at * 1000).toLocaleTimeString() },
        ...columns.map((name) => {
          const key = name.split("_").pop();
          return { label: names[key], stroke: style(shades[key]), width: 1.5, spanGaps: false, points: { show: false },
                   value: (u, v, s, n) => says(n == null ? u.data[s][u.data[s].length - 1] : v) };
        })],
    }, values, holder);
  }
  function whole(each) {
    each.plots = each.holders.map((holder, n) => { if (each.plots[n]) each.plots[n].destroy(); return draw(holder, each.data); });
  }
  function more(data, point) {
    let moved = false;
    point[0].forEach((at, n) => {
      const last = data[0].length - 1;
      if (last >= 0 && at < data[0][last]) return;
      const same = last >= 0 && at === data[0][last]; // the interval that is under way grows
      if (!same) data[0].push(at);
      for (const name of Object.keys(data[1])) data[1][name][data[0].length - 1] = point[1][name][n];
      moved = true;
      if (data[0].length > 91) { data[0].shift(); for (const name of Object.keys(data[1])) data[1][name].shift(); }
    });
    return moved;
  }
  for (const root of document.querySelectorAll("[data-plot]")) {
    const each = { lives: root.dataset.span === "15m", holders: [...root.querySelectorAll(".plot")], plots: [], data: null };
    fetch(root.dataset.plot).then((answer) => answer.ok ? answer.json() : Promise.reject()).then((data) => {
      each.data = data;
      whole(each);
      drawn.push(each);
    }).catch(() => {});
  }
  document.addEventListener("plot", (event) => {
    const [name, point] = event.detail;
    if (name !== "newest") return;
    for (const each of drawn) {
      if (!each.lives || !more(each.data, point)) continue;
      if (each.plots.some((plot) => !plot)) whole(each);
      else each.plots.forEach((plot, n) => plot.setData([each.data[0], ...each.holders[n].dataset.columns.split(",").map((c) => each.data[1][c])]));
    }
  });
  document.addEventListener("theme", () => drawn.forEach(whole));
  addEventListener("resize", () => drawn.forEach((each) => each.plots.forEach((plot, n) => plot && plot.setSize({ width: each.holders[n].clientWidth, height: 146 }))));
})();
