"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("charts");
  if (!data) { root.textContent = "No samples to plot."; return; }

  const UNKNOWN = 255, LEVELS = 254, HUES = 8, GUTTER = 78, FEW_NODES = 4, FEW_ROWS = 16;
  const full = [data.begin, data.begin + data.cells * data.step];
  const shortest = Math.min(full[1] - full[0], Math.max(4 * data.step, 2));
  const many = data.nodes.length > FEW_NODES;
  let view = full.slice(), mode = many ? "heat" : "lines", marked = null, plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const middles = Float64Array.from({ length: data.cells }, (_, at) => data.begin + (at + 0.5) * data.step);

  const element = (tag, parent, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const number = (value) => {
    const size = Math.abs(value);
    return size >= 1000 ? Math.round(value).toLocaleString("en") : size >= 100 ? value.toFixed(0)
      : size >= 10 ? value.toFixed(1) : value === 0 ? "0" : size >= 1 ? value.toFixed(2) : value.toPrecision(2);
  };
  const clock = (at) => new Date((at + data.offset) * 1000).toISOString().slice(11, 19);
  // Rows without a date lie soon after 1970 began.
  const day = (at) => (data.begin < 1e7 ? "" : new Date((at + data.offset) * 1000).toISOString().slice(0, 10));
  const time = (at, every) => (every >= 86400 ? day(at) : clock(at).slice(0, every < 60 ? 8 : 5));
  const bytes = (line) => (line.bytes ??= Uint8Array.from(atob(line.data), (char) => char.charCodeAt(0)));
  const scaled = (chart, level) => chart.low + (level / LEVELS) * (chart.top - chart.low);
  // Lowest, highest and mean over the cells from `a` up to `b`; null where none is known.
  const range = (line, a, b) => {
    const all = bytes(line);
    let low = UNKNOWN, high = -1, sum = 0, count = 0;
    for (let at = Math.max(a, 0); at < Math.min(b, data.cells); at += 1) {
      if (all[3 * at + 2] === UNKNOWN) continue;
      low = Math.min(low, all[3 * at]); high = Math.max(high, all[3 * at + 1]);
      sum += all[3 * at + 2]; count += 1;
    }
    return count ? [low, high, sum / count] : null;
  };
  const values = (chart, line, a = 0, b = data.cells) => {
    const found = range(line, a, b);
    if (!found) return "unknown";
    const [low, high, mean] = found.map((level) => number(scaled(chart, level)));
    return `${low === high ? mean : `${mean} (${low} to ${high})`} ${chart.unit}`;
  };
  const isMarked = (line, node) => (marked ? marked.includes(`${node} ${line.name}`) : line.flag);

  // What all charts share: time axis, zoom by dragging, the cursor, checkpoints, the limit.
  const options = (chart, height) => ({
    height, legend: { show: false }, padding: [8, 8, 0, 0],
    tzDate: (at) => { const when = new Date((at + data.offset) * 1000); return new Date(+when + when.getTimezoneOffset() * 60000); },
    scales: { x: { range: () => view.slice() }, y: { range: () => [chart.low, chart.top] } },
    cursor: {
      sync: { key: "run" }, points: { show: false }, y: false, drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => show(...full) },
    },
    axes: [axis({ size: 28, space: 60, values: (_, ticks, column, space, every) => ticks.map((at) => time(at, every)) }), axis({
      size: GUTTER - 18, label: chart.unit || " ", labelSize: 18, labelFont: "12px system-ui, sans-serif", labelGap: 0, space: 26,
      values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en", { maximumSignificantDigits: 6 })),
    })],
    hooks: {
      drawAxes: [(u) => {
        u.ctx.save(); u.ctx.fillStyle = colour("checkpoint"); u.ctx.globalAlpha = 0.28;
        for (const [kind, begin, end] of data.spans) {
          if (kind !== "checkpoint" || end < view[0] || begin > view[1]) continue;
          const [a, b] = [Math.max(begin, view[0]), Math.min(end, view[1])].map((at) => u.valToPos(at, "x", true));
          u.ctx.fillRect(a, u.bbox.top, Math.max(1, b - a), u.bbox.height);
        }
        u.ctx.restore();
      }],
      draw: [(u) => {
        if (!chart.limit) return;
        const y = u.valToPos(chart.limit, "y", true);
        u.ctx.save(); u.ctx.strokeStyle = colour("limit"); u.ctx.setLineDash([6, 5]); u.ctx.lineWidth = devicePixelRatio;
        u.ctx.beginPath(); u.ctx.moveTo(u.bbox.left, y); u.ctx.lineTo(u.bbox.left + u.bbox.width, y); u.ctx.stroke();
        u.ctx.restore();
      }],
      setSelect: [(u) => {
        const { left, width } = u.select;
        if (width < 4) return;
        u.setSelect({ left: 0, width: 0 }, false);
        show(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
      }],
    },
  });
  const axis = (more) => ({
    stroke: colour("quiet"), font: "12px system-ui, sans-serif",
    grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, ...more,
  });

  // One line a GPU or value: its mean, and the band between lowest and highest.
  const lines = (chart, node, drawn) => {
    const plain = options(chart, 150), any = drawn.some((line) => isMarked(line, node));
    const columns = [middles], series = [{}], bands = [];
    const order = drawn.map((_, at) => at).sort((a, b) => isMarked(drawn[a], node) - isMarked(drawn[b], node));
    for (const at of order) {
      const line = drawn[at], all = bytes(line), on = isMarked(line, node);
      const stroke = on ? colour("flag") : colour(any ? "muted" : `hue${at % HUES}`);
      for (const part of [1, 0, 2]) {
        columns.push(Array.from({ length: data.cells }, (_, cell) => (all[3 * cell + 2] === UNKNOWN ? null : scaled(chart, all[3 * cell + part]))));
        series.push(part === 2 ? { stroke, width: on ? 2.5 : 1.25, points: { show: false } } : { width: 0, points: { show: false } });
      }
      bands.push({ series: [columns.length - 3, columns.length - 2], fill: `color-mix(in srgb, ${stroke} ${on ? 30 : 16}%, transparent)` });
    }
    return [{ ...plain, series, bands }, columns];
  };
  // One row a GPU, the stronger the colour the higher the value.
  const heat = (chart, rows) => {
    const height = Math.max(2, Math.min(16, Math.floor(700 / rows.length))) * rows.length;
    const plain = options({ ...chart, limit: null, unit: " ", low: 0, top: rows.length }, height + 42);
    plain.scales.y.dir = -1;
    const named = rows.flatMap((row, at) => (rows.length <= FEW_ROWS || row.node !== rows[at - 1]?.node ? [at + 0.5] : []));
    const every = Math.ceil(named.length / Math.max(1, height / 14));
    Object.assign(plain.axes[1], {
      splits: () => named.filter((_, at) => at % every === 0), grid: { show: false }, ticks: { show: false },
      values: (_, ticks) => ticks.map((tick) => {
        const row = rows[Math.floor(tick)], node = row.node.length > 8 ? `…${row.node.slice(-7)}` : row.node;
        return rows.length <= FEW_ROWS ? `${node.slice(-6)} ${row.line.name.slice(4)}` : node;
      }),
    });
    plain.hooks.draw = [(u) => {
      const width = Math.max(1, Math.round(u.bbox.width)), picture = new OffscreenCanvas(width, rows.length);
      const pen = picture.getContext("2d"), image = pen.createImageData(width, rows.length);
      const [normal, strong] = [rgb(colour("hue0")), rgb(colour("flag"))];
      const cellOf = (x) => Math.floor((view[0] + (x / width) * (view[1] - view[0]) - data.begin) / data.step);
      const cells = Array.from({ length: width + 1 }, (_, x) => cellOf(x));
      rows.forEach(({ line, node }, row) => {
        const hue = isMarked(line, node) ? strong : normal;
        for (let x = 0; x < width; x += 1) {
          const found = range(line, cells[x], Math.max(cells[x] + 1, cells[x + 1]));
          if (!found) continue;
          const at = 4 * (row * width + x);
          [image.data[at], image.data[at + 1], image.data[at + 2]] = hue;
          image.data[at + 3] = 14 + 241 * (found[2] / LEVELS);
        }
      });
      pen.putImageData(image, 0, 0);
      u.ctx.save(); u.ctx.imageSmoothingEnabled = false;
      u.ctx.drawImage(picture, u.bbox.left, u.bbox.top, width, u.bbox.height);
      u.ctx.restore();
    }];
    return [{ ...plain, series: [{}, { paths: () => null, points: { show: false } }] }, [middles, middles.map(() => 0)]];
  };
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const points = (chart) => {
    const plain = options(chart, 150);
    return [{ ...plain, series: [{}, { stroke: colour("hue0"), width: 1.5, points: { show: chart.points.length <= 120, size: 5 } }] },
      [chart.points.map((point) => point[0]), chart.points.map((point) => point[1])]];
  };

  const add = (parent, id, chart, draw, described, pointed) => {
    const figure = element("figure", parent, "chart");
    figure.id = id;
    const caption = element("figcaption", figure);
    element("b", caption, "", `${chart.title}${chart.unit ? `, ${chart.unit}` : ""}`);
    if (chart.limit) element("span", caption, "", `limit ${number(chart.limit)} ${chart.unit}, dashed`);
    const plot = { figure, chart, caption, place: element("div", figure, "plot"), draw, pointed, u: null, stale: true, visible: false };
    plot.label = () => `${chart.title}${described()}`;  // takes a while where there are many
    figure.plot = plot; plots.push(plot); seen.observe(figure);
    return plot;
  };
  const key = (caption, name, hue) => {
    const item = element("span", caption);
    element("i", item).style.background = hue;
    item.append(name);
  };
  const paint = (plot) => {
    if (!plot.place.clientWidth) return;
    plot.stale = false;
    if (plot.u) { plot.u.setScale("x", { min: view[0], max: view[1] }); return; }
    const [opts, columns] = plot.draw();
    plot.u = new uPlot({ ...opts, width: plot.place.clientWidth }, columns, plot.place);
    plot.u.ctx.canvas.setAttribute("role", "img");
    plot.u.ctx.canvas.setAttribute("aria-label", plot.label());
    plot.u.over.addEventListener("mousemove", (event) => point(plot, event));
    plot.u.over.addEventListener("mouseleave", () => { tip.hidden = true; });
    plot.u.over.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, plot.u.posToVal(event.offsetX, "x"));
    }, { passive: false });
  };
  const seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    target.plot.visible = isIntersecting;
    if (isIntersecting && target.plot.stale) paint(target.plot);
  }), { rootMargin: "300px" });
  const repaint = () => {
    document.documentElement.dataset.view = view.map((at) => at.toFixed(3)).join(" ");
    plots.forEach((plot) => { plot.stale = true; if (plot.visible) paint(plot); });
  };
  const show = (from, to) => {
    const length = Math.min(Math.max(to - from, shortest), full[1] - full[0]);
    const start = Math.min(Math.max((from + to - length) / 2, full[0]), full[1] - length);
    view = [start, start + length];
    repaint();
  };
  const zoom = (factor, at = (view[0] + view[1]) / 2) => show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);

  const open = new Map();
  const build = () => {
    seen.disconnect(); plots.forEach((plot) => plot.u?.destroy());
    plots = []; root.replaceChildren();
    element("p", root, "quiet", data.begin < 1e7 ? "Times without a date." : `Times are of ${day(data.begin)}, ${data.zone}.`);
    let parent = element("div", root, "grid");
    for (const [at, title, unit] of [[2, "Loss", ""], [3, "Throughput, all GPUs", "tokens/s"]]) {
      const found = data.steps.filter((step) => step[at] !== null).map((step) => [step[0], step[at]]);
      if (!found.length) continue;
      const known = found.map((point) => point[1]), pad = 0.05 * (Math.max(...known) - Math.min(...known)) || 1;
      const chart = { title, unit, low: at === 3 ? 0 : Math.min(...known) - pad, top: Math.max(...known) + pad, points: found };
      const text = () => `: ${found.length} steps, first ${number(known[0])}, last ${number(known.at(-1))} ${unit}, ${number(Math.min(...known))} to ${number(Math.max(...known))}`;
      add(parent, `plot-${at === 2 ? "loss" : "throughput"}`, chart, () => points(chart), text, (step) => [["", step ? number(step[at]) : ""]]);
    }
    const gpuCharts = data.charts.filter((chart) => chart.of === "gpu");
    parent = element("div", root, "grid");
    if (mode === "heat") for (const chart of gpuCharts) {
      const rows = data.nodes.flatMap((node) => node.lines[chart.key].map((line) => ({ node: node.name, line })));
      const text = () => {
        const means = rows.map(({ line }) => range(line, 0, data.cells)).filter(Boolean).map((found) => scaled(chart, found[2])).sort((a, b) => a - b);
        return ` of all GPUs: mean ${number(means[0])} to ${number(means.at(-1))} ${chart.unit}, median ${number(means[Math.floor(means.length / 2)])}`;
      };
      const plot = add(parent, `plot-${chart.key}`, { ...chart, limit: null }, () => heat(chart, rows), text, (_, a, b, row) => {
        const found = rows[Math.min(Math.max(row, 0), rows.length - 1)];
        return [[`${found.node} ${found.line.name}`, values(chart, found.line, a, b)]];
      });
      element("span", plot.caption, "scale", `${number(chart.low)} `).append(element("i", plot.caption, "ramp"), ` ${number(chart.top)} ${chart.unit}`);
    }
    // Open are the nodes whose GPUs a finding names; without any, all of a few.
    const names = (node) => Object.values(node.lines).some((all) => all.some((line) => isMarked(line, node.name)));
    const flagged = new Set(mode === "lines" ? data.nodes.filter(names).map((node) => node.name) : []);
    data.nodes.forEach((node, index) => {
      const shown = data.charts.filter((chart) => (chart.of === "host" || mode === "lines") && node.lines[chart.key].length);
      if (!shown.length) return;
      const part = element("details", root, "node");
      part.open = open.get(node.name) ?? (flagged.size ? flagged.has(node.name) : !many);
      element("summary", part, "", node.name);
      part.addEventListener("toggle", () => { open.set(node.name, part.open); repaint(); });
      parent = element("div", part, "grid");
      for (const chart of shown) {
        const drawn = node.lines[chart.key];
        const text = () => ` of ${node.name}: ${drawn.map((line) => `${line.name} ${values(chart, line)}`).join("; ")}`;
        const plot = add(parent, `plot-${chart.key}-${index}`, chart, () => lines(chart, node.name, drawn), text,
          (_, a, b) => drawn.map((line) => [line.name, values(chart, line, a, b)]));
        const any = drawn.some((line) => isMarked(line, node.name));
        drawn.forEach((line, at) => key(plot.caption, line.name, `var(--${isMarked(line, node.name) ? "flag" : any ? "muted" : `hue${at % HUES}`})`));
      }
    });
    document.querySelectorAll("[data-mode]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.mode === mode));
    repaint();
  };

  const tip = document.getElementById("tip");
  const point = ({ u, pointed }, event) => {
    if (event.buttons) { tip.hidden = true; return; }
    const at = u.posToVal(event.offsetX, "x"), wide = u.posToVal(event.offsetX + 1, "x") - at;
    const a = Math.floor((at - data.begin) / data.step), b = Math.max(a + 1, Math.floor((at + wide - data.begin) / data.step));
    const step = data.steps.find((each) => each[0] >= at);
    tip.replaceChildren();
    element("div", tip, "quiet", `${clock(at)}${step ? ` · step ${step[1]}` : ""}`);
    const table = element("table", tip);
    for (const [name, text] of pointed(step ?? data.steps.at(-1), a, b, Math.floor(u.posToVal(event.offsetY, "y")))) {
      const row = element("tr", table);
      element("td", row, "", name); element("td", row, "n", text);
    }
    tip.hidden = false;
    tip.style.left = `${Math.max(6, Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(6, Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8))}px`;
  };

  // A finding's link: its plot comes into view, its GPUs stand out.
  document.querySelectorAll("a[data-chart]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    marked = JSON.parse(link.dataset.where);
    open.set(link.dataset.node, true);
    build();
    const node = data.nodes.findIndex((each) => each.name === link.dataset.node);
    const figure = document.getElementById(`plot-${link.dataset.chart}-${node}`) ?? document.getElementById(`plot-${link.dataset.chart}`);
    if (!figure) return;
    figure.classList.add("highlight");
    figure.scrollIntoView({ block: "center" });
    history.replaceState(null, "", `#${figure.id}`);
  }));
  document.querySelectorAll("[data-mode]").forEach((button) => button.addEventListener("click", () => { mode = button.dataset.mode; build(); }));
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
  window.addEventListener("resize", () => plots.forEach(({ u, place }) => place.clientWidth && u?.setSize({ width: place.clientWidth, height: u.height })));
  window.addEventListener("beforeprint", () => plots.forEach(paint));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  build();
})();
