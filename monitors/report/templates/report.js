"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("charts");
  if (!data) { root.textContent = "No samples to plot."; return; }

  const LEFT = 46, RIGHT = 8, UNKNOWN = 255, LEVELS = 254;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const HUES = ["a", "b", "c", "d"];
  const full = [data.begin, data.begin + data.cells * data.step];
  const least = Math.min(full[1] - full[0], Math.max(4 * data.step, 2));
  let view = full.slice();
  const charts = [];

  const element = (tag, parent, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const number = (value) => {
    const size = Math.abs(value);
    return size >= 1000 ? Math.round(value).toLocaleString("en") : size >= 100 ? value.toFixed(0)
      : size >= 10 ? value.toFixed(1) : value === 0 ? "0" : size >= 1 ? value.toFixed(2) : value.toPrecision(2);
  };
  const clock = (at, seconds) => {
    const when = new Date((at + data.offset) * 1000).toISOString();
    return when.slice(11, seconds ? 19 : 16);
  };
  // Rows without a date lie soon after 1970 began.
  const day = (at) => data.begin < 1e7 ? "time without a date" : new Date((at + data.offset) * 1000).toISOString().slice(0, 10);

  // A line's cells are unpacked when it is first drawn: low, high, mean in turn.
  const cells = (line) => {
    if (!line.cells) {
      line.cells = Uint8Array.from(atob(line.data), (char) => char.charCodeAt(0));
      line.data = null;
    }
    return line.cells;
  };
  // Lowest, highest and mean over the cells from `a` up to `b`; null where none is known.
  const range = (line, a, b) => {
    const all = cells(line);
    let low = UNKNOWN, high = -1, sum = 0, count = 0;
    for (let at = Math.max(a, 0); at < Math.min(b, data.cells); at += 1) {
      if (all[3 * at + 2] === UNKNOWN) continue;
      low = Math.min(low, all[3 * at]); high = Math.max(high, all[3 * at + 1]);
      sum += all[3 * at + 2]; count += 1;
    }
    return count ? [low / LEVELS, high / LEVELS, sum / count / LEVELS] : null;
  };

  const prepare = (chart, height) => {
    const canvas = chart.canvas, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    if (!width) return null;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    return { pen, width, height, span: width - LEFT - RIGHT };
  };
  const place = (at, space) => LEFT + ((at - view[0]) / (view[1] - view[0])) * space.span;
  const columns = (space, draw) => {
    for (let x = 0; x < space.span; x += 1) {
      const from = view[0] + (x / space.span) * (view[1] - view[0]);
      const to = view[0] + ((x + 1) / space.span) * (view[1] - view[0]);
      const a = Math.floor((from - data.begin) / data.step);
      draw(LEFT + x, a, Math.max(a + 1, Math.floor((to - data.begin) / data.step)));
    }
  };
  const frame = (space, top, height, labels) => {
    const { pen } = space;
    pen.strokeStyle = colour("grid"); pen.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(top + height * (1 - share)) + 0.5;
      pen.beginPath(); pen.moveTo(LEFT, y); pen.lineTo(space.width - RIGHT, y); pen.stroke();
    }
    pen.fillStyle = colour("quiet"); pen.textAlign = "right";
    pen.textBaseline = "middle"; pen.fillText(labels[0], LEFT - 6, top + height - 4);
    pen.fillText(labels[1], LEFT - 6, top + 6);
    pen.fillStyle = colour("checkpoint"); pen.globalAlpha = 0.28;
    for (const [kind, begin, end] of data.spans) {
      if (kind !== "checkpoint" || end < view[0] || begin > view[1]) continue;
      const x = Math.max(place(begin, space), LEFT);
      pen.fillRect(x, top, Math.max(1, Math.min(place(end, space), space.width - RIGHT) - x), height);
    }
    pen.globalAlpha = 1;
  };
  const band = (space, line, top, height, hue, filled) => {
    const { pen } = space, y = (share) => top + height * (1 - share);
    pen.fillStyle = hue;
    const path = new Path2D();
    let open = false;
    columns(space, (x, a, b) => {
      const found = range(line, a, b);
      if (!found) { open = false; return; }
      pen.globalAlpha = 0.3;
      pen.fillRect(x, y(found[1]), 1, Math.max(1, (found[1] - found[0]) * height));
      if (filled) { pen.globalAlpha = 0.55; pen.fillRect(x, y(found[2]), 1, found[2] * height); }
      path[open ? "lineTo" : "moveTo"](x + 0.5, y(found[2]));
      open = true;
    });
    pen.globalAlpha = 1; pen.strokeStyle = hue; pen.lineWidth = 1.25; pen.stroke(path);
  };
  const hueOf = (chart, at) => {
    const line = chart.lines[at];
    if (line.flag) return colour("flag");
    return colour(chart.title.startsWith("GPU") ? "a" : HUES[at % HUES.length]);
  };

  const painters = {
    strips(chart) {
      const row = chart.lines.length > 16 ? 12 : 20, gap = 3;
      const space = prepare(chart, chart.lines.length * (row + gap));
      if (!space) return;
      chart.lines.forEach((line, at) => {
        const top = at * (row + gap);
        frame(space, top, row, ["", ""]);
        space.pen.fillStyle = line.flag ? colour("flag") : colour("quiet");
        space.pen.textAlign = "right"; space.pen.textBaseline = "middle";
        space.pen.fillText(line.name, LEFT - 6, top + row / 2);
        band(space, line, top, row, hueOf(chart, at), true);
      });
    },
    lines(chart) {
      const height = chart.title === "GPU power" ? 84 : 64, pad = 5;
      const space = prepare(chart, height);
      if (!space) return;
      frame(space, pad, height - 2 * pad, ["0", number(chart.top)]);
      if (chart.limit) {
        const y = Math.round(pad + (height - 2 * pad) * (1 - chart.limit / chart.top)) + 0.5;
        space.pen.strokeStyle = colour("limit"); space.pen.setLineDash([5, 4]);
        space.pen.beginPath(); space.pen.moveTo(LEFT, y); space.pen.lineTo(space.width - RIGHT, y);
        space.pen.stroke(); space.pen.setLineDash([]);
      }
      const order = chart.lines.map((_, at) => at).sort((a, b) => (chart.lines[a].flag ? 1 : 0) - (chart.lines[b].flag ? 1 : 0));
      order.forEach((at) => band(space, chart.lines[at], pad, height - 2 * pad, hueOf(chart, at), false));
    },
    heat(chart) {
      const row = Math.max(2, Math.min(12, Math.floor(420 / chart.lines.length)));
      const space = prepare(chart, chart.lines.length * row);
      if (!space) return;
      space.pen.fillStyle = colour("a");
      chart.lines.forEach((line, at) => {
        if (line.flag) { space.pen.fillStyle = colour("flag"); }
        columns(space, (x, a, b) => {
          const found = range(line, a, b);
          if (!found) return;
          space.pen.globalAlpha = 0.06 + 0.94 * found[2];
          space.pen.fillRect(x, at * row, 1, row > 3 ? row - 1 : row);
        });
        space.pen.fillStyle = colour("a");
      });
      space.pen.globalAlpha = 1; space.pen.fillStyle = colour("quiet");
      space.pen.textAlign = "right"; space.pen.textBaseline = "top";
      let before = null;
      chart.lines.forEach((line, at) => {
        if (line.node !== before && at * row >= (chart.labelled ?? -99) + 12) {
          space.pen.fillText(line.node.length > 7 ? `…${line.node.slice(-6)}` : line.node, LEFT - 4, at * row);
          chart.labelled = at * row;
        }
        before = line.node;
      });
      chart.labelled = undefined;
    },
    points(chart) {
      const height = 92, pad = 6, space = prepare(chart, height);
      if (!space) return;
      const seen = chart.points.filter(([at]) => at >= view[0] && at <= view[1]);
      const values = (seen.length ? seen : chart.points).map((point) => point[1]);
      const low = chart.zero ? 0 : Math.min(...values), high = Math.max(...values);
      const spread = high - low || Math.abs(high) || 1;
      frame(space, pad, height - 2 * pad, [number(low), number(high)]);
      const { pen } = space, path = new Path2D();
      const y = (value) => pad + (height - 2 * pad) * (1 - (value - low) / spread);
      let open = false;
      pen.save(); pen.beginPath(); pen.rect(LEFT, 0, space.span, height); pen.clip();
      pen.fillStyle = colour("a");
      for (const [at, value] of chart.points) {
        path[open ? "lineTo" : "moveTo"](place(at, space), y(value)); open = true;
        if (seen.length <= 120) { pen.beginPath(); pen.arc(place(at, space), y(value), 2.2, 0, 7); pen.fill(); }
      }
      pen.strokeStyle = colour("a"); pen.lineWidth = 1.5; pen.stroke(path);
      pen.restore();
    },
    axis(chart) {
      const space = prepare(chart, 38);
      if (!space) return;
      const { pen } = space, length = view[1] - view[0];
      const wanted = length / Math.max(2, space.span / 90);
      const round = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]
        .find((step) => step >= wanted) ?? 86400 * Math.ceil(wanted / 86400);
      pen.fillStyle = colour("quiet"); pen.textBaseline = "top"; pen.textAlign = "center";
      const first = Math.ceil((view[0] + data.offset) / round) * round - data.offset;
      for (let at = first; at <= view[1]; at += round) {
        const x = place(at, space);
        pen.fillRect(x, 34, 1, 4);
        if (x > LEFT + 12 && x < space.width - RIGHT - 16) pen.fillText(round < 60 ? clock(at, true) : round >= 86400 ? day(at) : clock(at), x, 20);
      }
      pen.textAlign = "left"; pen.fillText(data.begin < 1e7 ? day(0) : `${day(view[0])} ${data.zone}`, LEFT, 3);
      const steps = data.steps.filter(([at]) => at >= view[0] && at <= view[1]);
      const every = Math.max(1, Math.ceil(steps.length / (space.span / 8)));
      pen.fillStyle = colour("a");
      steps.forEach(([at], index) => { if (index % every === 0) pen.fillRect(place(at, space), 14, 1, 4); });
      if (steps.length) {
        pen.textAlign = "right";
        const shown = steps.length > 1 ? `steps ${steps[0][1]} to ${steps[steps.length - 1][1]}` : `step ${steps[0][1]}`;
        pen.fillText(shown, space.width - RIGHT, 2);
      }
    },
  };

  const add = (parent, chart) => {
    const figure = element("figure", parent, "chart");
    if (chart.title) {
      const caption = element("figcaption", figure);
      element("b", caption, "", `${chart.title}${chart.unit ? `, ${chart.unit}` : ""}`);
      if (chart.kind === "lines" && !chart.title.startsWith("GPU")) {
        chart.lines.forEach((line, at) => {
          const key = element("span", caption);
          element("i", key).style.background = `var(--${HUES[at % HUES.length]})`;
          key.append(line.name);
        });
      } else if (chart.limit) {
        element("span", caption, "", `${chart.title === "GPU memory" ? "card" : "limit"} ${number(chart.limit)}, dashed`);
      }
    }
    chart.canvas = element("canvas", figure);
    chart.canvas.setAttribute("role", "img");
    chart.canvas.setAttribute("aria-label", chart.title || "time");
    chart.canvas.height = 20;
    charts.push(chart);
    seen.observe(chart.canvas);
    chart.canvas.chart = chart;
    return chart;
  };
  const paint = (chart) => { chart.stale = false; painters[chart.kind](chart); };
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    entry.target.chart.visible = entry.isIntersecting;
    if (entry.isIntersecting && entry.target.chart.stale !== false) paint(entry.target.chart);
  }), { rootMargin: "300px" });
  let waiting = false;
  const repaint = () => {
    charts.forEach((chart) => { chart.stale = true; });
    document.documentElement.dataset.view = view.map((at) => at.toFixed(3)).join(" ");
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; charts.forEach((chart) => { if (chart.visible) paint(chart); }); });
  };
  const show = (from, to) => {
    const length = Math.min(Math.max(to - from, least), full[1] - full[0]);
    const start = Math.min(Math.max((from + to - length) / 2, full[0]), full[1] - length);
    view = [start, start + length];
    repaint();
  };
  const zoom = (factor, at = (view[0] + view[1]) / 2) => show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);

  add(document.getElementById("axis"), { kind: "axis" });
  const losses = data.steps.filter((step) => step[2] !== null).map((step) => [step[0], step[2]]);
  const paces = data.steps.filter((step) => step[3] !== null).map((step) => [step[0], step[3]]);
  if (losses.length) add(root, { kind: "points", title: "Loss", points: losses });
  if (paces.length) add(root, { kind: "points", title: "Tokens a second", points: paces, zero: true });
  const strips = data.nodes.flatMap((node) => node.charts.filter((chart) => chart.kind === "strips")
    .flatMap((chart) => chart.lines.map((line) => Object.assign(line, { node: node.name }))));
  if (data.nodes.length > 4 && strips.length) add(root, { kind: "heat", title: "All GPUs: SM, darker is busier", top: 100, unit: "%", lines: strips });
  const many = data.nodes.length > 4;
  data.nodes.forEach((node) => {
    const part = element("details", root, "node");
    part.open = !many || node.charts.some((chart) => chart.lines.some((line) => line.flag));
    element("summary", part, "", node.name);
    part.addEventListener("toggle", repaint);
    node.charts.forEach((chart) => add(part, chart));
  });

  const cross = element("div", root); cross.id = "cross"; cross.hidden = true;
  const pick = element("div", root); pick.id = "pick"; pick.hidden = true;
  const tip = document.getElementById("tip");
  const timeAt = (event) => {
    const box = root.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - box.left - LEFT, 0), box.width - LEFT - RIGHT);
    return [view[0] + (x / (box.width - LEFT - RIGHT)) * (view[1] - view[0]), LEFT + x];
  };
  const tell = (event, at) => {
    const chart = event.target.chart;
    if (!chart || chart.kind === "axis") { tip.hidden = true; return; }
    tip.replaceChildren();
    const step = data.steps.find((each) => each[0] >= at);
    element("div", tip, "quiet", `${clock(at, true)}${step ? ` · step ${step[1]}` : ""}`);
    const table = element("table", tip), wide = (view[1] - view[0]) / Math.max(1, event.target.clientWidth - LEFT - RIGHT);
    const a = Math.floor((at - data.begin) / data.step), b = Math.max(a + 1, Math.floor((at + wide - data.begin) / data.step));
    let lines = chart.lines ?? [];
    if (chart.kind === "heat" || (chart.kind === "strips" && lines.length > 16)) {
      const row = Math.floor(((event.offsetY) / event.target.clientHeight) * lines.length);
      lines = lines.slice(row, row + 1);
    }
    lines.forEach((line) => {
      const found = range(line, a, b), row = element("tr", table);
      element("td", row, "", chart.kind === "heat" ? `${line.node} ${line.name}` : line.name);
      const [low, high, mean] = (found ?? []).map((share) => share * chart.top);
      const shown = !found ? "unknown" : number(low) === number(high) ? number(mean) : `${number(mean)}, ${number(low)} to ${number(high)}`;
      element("td", row, "n", `${shown}${found ? ` ${chart.unit}` : ""}`);
    });
    if (chart.points) {
      const point = chart.points.find((each) => each[0] >= at) ?? chart.points[chart.points.length - 1];
      element("td", element("tr", table), "n", number(point[1]));
    }
    tip.hidden = false;
    tip.style.left = `${Math.max(6, Math.min(event.clientX + 16, window.innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(6, Math.min(event.clientY + 16, window.innerHeight - tip.offsetHeight - 8))}px`;
  };
  let from = null;
  root.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.tagName !== "CANVAS") return;
    from = timeAt(event);
    root.setPointerCapture?.(event.pointerId);
  });
  root.addEventListener("pointermove", (event) => {
    const [at, x] = timeAt(event);
    cross.hidden = false; cross.style.left = `${x}px`;
    if (from) {
      pick.hidden = false;
      pick.style.left = `${Math.min(x, from[1])}px`; pick.style.width = `${Math.abs(x - from[1])}px`;
      tip.hidden = true;
    } else tell(event, at);
  });
  const release = (event) => {
    if (from && event.type === "pointerup") {
      const [at, x] = timeAt(event);
      if (Math.abs(x - from[1]) > 4) show(Math.min(at, from[0]), Math.max(at, from[0]));
    }
    from = null; pick.hidden = true;
  };
  root.addEventListener("pointerup", release);
  root.addEventListener("pointercancel", release);
  root.addEventListener("pointerleave", () => { cross.hidden = true; tip.hidden = true; });
  root.addEventListener("dblclick", () => show(...full));
  root.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event)[0]);
  }, { passive: false });
  root.addEventListener("keydown", (event) => {
    const length = view[1] - view[0];
    const act = {
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => show(...full),
      ArrowLeft: () => show(view[0] - length / 4, view[1] - length / 4),
      ArrowRight: () => show(view[0] + length / 4, view[1] + length / 4),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  document.getElementById("in").addEventListener("click", () => zoom(0.5));
  document.getElementById("out").addEventListener("click", () => zoom(2));
  document.getElementById("whole").addEventListener("click", () => show(...full));
  window.addEventListener("resize", repaint);
  window.addEventListener("beforeprint", () => charts.forEach(paint));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  repaint();
})();
