// Draws the figures of a report with Observable Plot, from the list of data in the element #charts, one for each #figure-N. Kinds of data:
//   forest  rows {name, value, low, high, zone [low, high]}; scale "ratio" (logarithmic) or "percent"; reference; label
//   pairs   points {pair, ratio, first: which arm ran first}; mean, low, high; label
//   order   points {run, value, arm}; label
//   bands   series {role, name, points [x, mean, low, high]}; x, y: names of the axes
//   bars    rows {name, value}; label
//   lines   lines {role, name, points [x, y]}; rules {name, y}; zero: the axis begins at 0; x, y: names of the axes
// Colours are CSS variables, so a change between light and dark needs no drawing.
"use strict";
(() => {
  const kFirst = new Set(["baseline", "train", "first"]);
  const colour = (role) => (kFirst.has(role) ? "var(--baseline)" : "var(--candidate)");
  // Colour is not the only difference; "run 2" and "run 3" are the third and fourth line of a comparison.
  const dashes = (role) => (kFirst.has(role) ? null : { "run 2": "2,3", "run 3": "11,3,2,3" }[role] ?? "6,3");
  const label_of = ({ role, name }) => (role === "baseline" || role === "candidate" ? `${role}: ${name}` : name);
  const number = (value) => (value === null ? "?" : Number(value.toPrecision(5)).toString());

  // Steps and pairs are whole: no ticks between them.
  const whole = (values) => values.every(Number.isInteger);
  const axis = (label, values, width) => {
    const [low, high] = d3.extent(values);
    const ticks = Math.max(2, Math.floor(width / 80));
    if (!whole(values)) return { label, ticks };
    return { label, ticks: Math.min(ticks, Math.max(1, high - low)), tickFormat: (x) => (Number.isInteger(x) ? d3.format(",")(x) : "") };
  };
  const frame = (width, height, more) => ({ width, height: height + 12, marginTop: 32, style: { fontSize: "13px", fontFamily: "inherit" }, ...more });

  function forest(data, width) {
    const rows = data.rows.filter((row) => row.low !== null && row.high !== null && row.value !== null);
    const names = rows.map((row) => row.name);
    const title = (row) => `${row.name}\n${number(row.value)}, interval ${number(row.low)} to ${number(row.high)}`;
    const everything = rows.flatMap((row) => [row.low, row.high, ...row.zone]);
    const [low, high] = d3.extent(everything);
    const room = (high - low) * 0.05;
    const is_ratio = data.scale === "ratio";
    const domain = [is_ratio ? Math.max(low - room, low / 1.2) : low - room, high + room];
    const count = Math.max(2, Math.floor(width / 110));
    // A logarithmic axis leaves some of its marks without a number; on a short one evenly spaced marks read as well.
    const ticks = is_ratio && domain[1] / domain[0] > 4 ? count : d3.ticks(...domain, count);
    return Plot.plot(frame(width, 60 + 34 * rows.length, {
      marginLeft: Math.min(150, 24 + 7 * d3.max(names, (name) => name.length)), marginRight: 16, marginBottom: 42,
      x: {
        type: is_ratio ? "log" : "linear", label: data.label, labelAnchor: "center", labelArrow: "none", grid: true, domain, ticks,
        tickFormat: (x) => Number(x.toPrecision(4)).toString(),
      },
      y: { type: "band", domain: names, label: null, padding: 0.3 },
      marks: [
        Plot.barX(rows, { y: "name", x1: (row) => row.zone[0], x2: (row) => row.zone[1], fill: "var(--zone)", fillOpacity: 0.2 }),
        Plot.ruleX([data.reference], { stroke: "currentColor", strokeDasharray: "3,3" }),
        Plot.link(rows, { y: "name", x1: "low", x2: "high", stroke: "var(--baseline)", strokeWidth: 2.5 }),
        Plot.tickX(rows, { y: "name", x: "low", stroke: "var(--baseline)", strokeWidth: 2, insetTop: 6, insetBottom: 6 }),
        Plot.tickX(rows, { y: "name", x: "high", stroke: "var(--baseline)", strokeWidth: 2, insetTop: 6, insetBottom: 6 }),
        Plot.dot(rows, { y: "name", x: "value", fill: "var(--baseline)", r: 5, title, tip: true }),
      ],
    }));
  }

  function pairs(data, width) {
    const points = data.points;
    const first = (point) => point.first;
    const has_interval = data.low !== null && data.high !== null;
    return Plot.plot(frame(width, 260, {
      marginLeft: 58, marginBottom: 42,
      x: { ...axis("pair", points.map((point) => point.pair), width), labelAnchor: "center", labelArrow: "none", inset: 14 },
      y: { label: data.label, labelArrow: "none", grid: true, nice: true, ticks: 5, tickFormat: (y) => Number(y.toPrecision(4)).toString() },
      marks: [
        has_interval ? Plot.rect([data], { y1: "low", y2: "high", fill: "var(--zone)", fillOpacity: 0.2 }) : null,
        Plot.ruleY([data.mean], { stroke: "var(--ink)", strokeWidth: 1.5 }),
        Plot.ruleY([1], { stroke: "currentColor", strokeDasharray: "3,3" }),
        Plot.dot(points, {
          x: "pair", y: "ratio", r: 5, strokeWidth: 2, stroke: (point) => colour(first(point)),
          fill: (point) => (first(point) === "baseline" ? "var(--baseline)" : "var(--paper)"),
          title: (point) => `pair ${point.pair}: ${number(point.ratio)}\n${first(point)} ran first`, tip: true,
        }),
      ],
    }));
  }

  function order(data, width) {
    return Plot.plot(frame(width, 260, {
      marginLeft: 58, marginBottom: 42,
      x: { ...axis("run", data.points.map((point) => point.run), width), labelAnchor: "center", labelArrow: "none", inset: 14 },
      y: { label: data.label, labelArrow: "none", grid: true, nice: true, zero: true, ticks: 5 },
      marks: [
        Plot.dot(data.points, {
          x: "run", y: "value", r: 5, strokeWidth: 2, stroke: (point) => colour(point.arm),
          fill: (point) => (point.arm === "baseline" ? "var(--baseline)" : "var(--paper)"),
          title: (point) => `run ${point.run}, ${point.arm}: ${number(point.value)}`, tip: true,
        }),
      ],
    }));
  }

  function bands(data, width) {
    const named = (series) => series.points.map(([x, mean, low, high]) => ({ x, mean, low, high, series }));
    const all = data.series.flatMap(named);
    const title = (p) => `${label_of(p.series)}, ${data.x} ${number(p.x)}\nmean ${number(p.mean)}, from ${number(p.low)} to ${number(p.high)}`;
    return Plot.plot(frame(width, 300, {
      marginLeft: 58, marginBottom: 42,
      x: { ...axis(data.x, all.map((point) => point.x), width), labelAnchor: "center", labelArrow: "none", inset: 8 },
      y: { label: data.y, labelArrow: "none", grid: true, nice: true, ticks: 6 },
      marks: [
        ...data.series.map((s) => Plot.areaY(named(s), { x: "x", y1: "low", y2: "high", fill: colour(s.role), fillOpacity: 0.2 })),
        ...data.series.map((s) => Plot.lineY(named(s), { x: "x", y: "mean", stroke: colour(s.role), strokeWidth: 2, strokeDasharray: dashes(s.role) })),
        ...data.series.filter((s) => s.points.length <= 40).map((s) => Plot.dot(named(s), { x: "x", y: "mean", fill: colour(s.role), r: 3 })),
        Plot.tip(all, Plot.pointer({ x: "x", y: "mean", title })),
      ],
    }));
  }

  function lines(data, width) {
    const named = (line) => line.points.map(([x, y]) => ({ x, y, line }));
    const all = data.lines.flatMap(named);
    const crowded = data.lines.length > 6;
    return Plot.plot(frame(width, 300, {
      marginLeft: 62, marginBottom: 42, marginRight: 24,
      x: { ...axis(data.x, all.map((point) => point.x), width), labelAnchor: "center", labelArrow: "none", inset: 8 },
      y: { label: data.y, labelArrow: "none", grid: true, nice: true, zero: data.zero, ticks: 6 },
      marks: [
        ...data.lines.map((line) => Plot.lineY(named(line), {
          x: "x", y: "y", stroke: colour(line.role), strokeWidth: crowded ? 1.25 : 2, strokeOpacity: crowded ? 0.7 : 1, strokeDasharray: dashes(line.role),
        })),
        // Without dots a trial that was seen once would be invisible.
        ...data.lines.filter((line) => line.points.length <= 40)
          .map((line) => Plot.dot(named(line), { x: "x", y: "y", fill: colour(line.role), r: crowded ? 2 : 3 })),
        Plot.ruleY(data.rules, { y: "y", stroke: "currentColor", strokeDasharray: "3,3" }),
        Plot.text(data.rules, { y: "y", text: "name", frameAnchor: "right", textAnchor: "end", dy: -8, fill: "currentColor" }),
        Plot.tip(all, Plot.pointer({ x: "x", y: "y", title: (p) => `${p.line.name}\n${data.x} ${number(p.x)}: ${number(p.y)} ${data.y}` })),
      ],
    }));
  }

  // [mark, colour, text] of each entry.
  function legend_of(data) {
    if (data.kind === "pairs") return [["dot", "var(--baseline)", "baseline ran first"], ["hollow", "var(--candidate)", "candidate ran first"]];
    if (data.kind === "order") return [["dot", "var(--baseline)", "baseline"], ["hollow", "var(--candidate)", "candidate"]];
    const entries = new Map();
    for (const { role, name } of data.series ?? data.lines ?? []) {
      entries.set(role, [dashes(role) ? "dashed" : "", colour(role), label_of({ role, name })]);
    }
    return [...entries.values()];
  }

  function legend(data) {
    const box = document.createElement("div");
    box.className = "legend";
    for (const [mark, hue, text] of legend_of(data)) {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.className = mark;
      swatch.style.color = hue;
      swatch.style.borderColor = hue;
      entry.append(swatch, text);
      box.append(entry);
    }
    return box;
  }

  function bars(data, width) {
    const names = data.rows.map((row) => row.name);
    return Plot.plot(frame(width, 60 + 26 * names.length, {
      marginLeft: Math.min(170, 24 + 7 * d3.max(names, (name) => name.length)), marginRight: 36, marginBottom: 42,
      x: { ...axis(data.label, data.rows.map((row) => row.value), width), labelAnchor: "center", labelArrow: "none", grid: true, zero: true },
      y: { type: "band", domain: names, label: null, padding: 0.25 },
      marks: [
        Plot.barX(data.rows, { y: "name", x: "value", fill: "var(--baseline)", title: (row) => `${row.name}: ${number(row.value)}`, tip: true }),
        Plot.text(data.rows, { y: "name", x: "value", text: (row) => number(row.value), textAnchor: "start", dx: 6, fill: "currentColor" }),
      ],
    }));
  }

  const draw = { forest, pairs, order, bands, bars, lines };
  JSON.parse(document.getElementById("charts").textContent).forEach((data, index) => {
    const place = document.querySelector(`#figure-${index} .plot`);
    let drawn = 0;
    const redraw = () => {
      const width = Math.floor(place.clientWidth);
      if (width === drawn || width < 100) return;
      drawn = width;
      place.replaceChildren(draw[data.kind](data, width), legend(data));
    };
    new ResizeObserver(redraw).observe(place);
    redraw();
  });
})();
