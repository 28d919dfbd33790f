// The page's behaviour: rows of probabilities as stacked areas over time, kept in step with the clip.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const media = document.querySelector("#media video, #media audio");
  const labels = data.labels;
  // Neutral below, so that colour rises out of grey.
  const order = labels.map((_, i) => i).sort((a, b) => (labels[b] === "neutral") - (labels[a] === "neutral"));
  const SHOWN_ROWS = 8, SHOWN_MOMENTS = 60, SHORTEST_MOMENT = 0.3, SAME = 2e-4;
  const MOST_POINTS = 1200;  // that a chart draws, about one a pixel: more take long and show no more
  const NOT_MEASURED = -(2 ** 15), STEPS = 1000;  // of curves, as series.py writes them
  const MARGIN = 24;  // pixels by which the ruler, for its numbers, is wider than the charts, on either side

  const rows = data.rows.map(decode);
  const seen = rows.map((_, i) => i).sort((a, b) => (rows[a].kind === "voice") - (rows[b].kind === "voice") || rows[b].start.length - rows[a].start.length);
  const lead = seen.slice(0, SHOWN_ROWS).sort((a, b) => a - b);
  const rest = seen.slice(SHOWN_ROWS).sort((a, b) => a - b);
  const end = data.timed ? data.duration : Math.max(1, ...rows.map((row) => row.start.length));

  const charts = [], rulers = [];
  const cards = new Map();
  let movements = [], moved = null;  // the charts of one row's curves, and that row
  let now = 0, view = { min: 0, max: end }, chosen = lead[0], only = null;

  // ---- data -------------------------------------------------------------------------------------------------------------------------

  function decode(row) {
    const bytes = (text) => {
      const characters = atob(text), found = new Uint8Array(characters.length);
      for (let at = 0; at < found.length; at++) found[at] = characters.charCodeAt(at);
      return found;
    };
    return {
      ...row,
      unsureFrom: row.unsure.map(([from]) => from),
      start: new Float32Array(bytes(row.start).buffer),
      end: new Float32Array(bytes(row.end).buffer),
      probabilities: bytes(row.probabilities),
      curves: row.curves.map((curve) => ({ ...curve, values: new Int16Array(bytes(curve.values).buffer) })),
    };
  }

  const probability = (row, moment, label) => row.probabilities[moment * labels.length + label] / 255;

  const measured = (curve, moment) =>
    moment < 0 || curve.values[moment] === NOT_MEASURED ? null : curve.values[moment] / STEPS;

  function best(row, moment) {
    let winner = 0;
    for (let label = 1; label < labels.length; label++)
      if (probability(row, moment, label) > probability(row, moment, winner)) winner = label;
    return winner;
  }

  // How many of the times, which do not fall, are not later than this one.
  function upTo(times, time) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= time + SAME) low = middle + 1; else high = middle;
    }
    return low;
  }

  function unsureAt(row, time) {
    const found = upTo(row.unsureFrom, time) - 1;
    return found >= 0 && time < row.unsure[found][1] - SAME;
  }

  const away = (row, moment) => moment + 1 < row.start.length && row.start[moment + 1] > row.end[moment] + SAME;

  // The moment of a row at a time, or -1 while nobody is there.
  function momentAt(row, time) {
    const found = upTo(row.start, time) - 1;
    if (found < 0) return -1;
    return time < row.end[found] + SAME || found + 1 === row.start.length && time - row.end[found] < 0.05 ? found : -1;
  }

  // uPlot's columns: times; the running sums of the probabilities, the whole first, since each is painted over the one before; and a
  // column that is 1 where the row is unsure. A null ends an area where somebody leaves.
  function columns(row) {
    const x = [], sums = order.map(() => []), unsure = [];
    const push = (time, moment, value) => {
      x.push(time);
      const total = value ? order.reduce((sum, label) => sum + row.probabilities[moment * labels.length + label], 0) || 1 : 1;
      let sum = 0;
      order.forEach((label, position) => {
        if (value) sum += row.probabilities[moment * labels.length + label];
        sums[order.length - 1 - position].push(value ? sum / total : null);
      });
    };
    for (let moment = 0; moment < row.start.length; moment++) {
      push(row.start[moment], moment, true);
      unsure.push(unsureAt(row, row.start[moment]) || moment && unsureAt(row, row.start[moment - 1]) && !away(row, moment - 1) ? 1 : null);
      if (away(row, moment) || moment + 1 === row.start.length) {
        push(row.end[moment], moment, true);
        unsure.push(unsureAt(row, row.start[moment]) ? 1 : null);
        push(row.end[moment], moment, false);
        unsure.push(null);
      }
    }
    return [x, ...sums, unsure];
  }

  // The same of each curve: times and values, and between which values it lies.
  function curveColumns(row) {
    const x = [], moments = [];
    for (let moment = 0; moment < row.start.length; moment++) {
      x.push(row.start[moment]);
      moments.push(moment);
      if (away(row, moment) || moment + 1 === row.start.length) {
        x.push(row.end[moment], row.end[moment]);
        moments.push(moment, -1);
      }
    }
    return row.curves.map((curve) => {
      const values = moments.map((moment) => measured(curve, moment));
      let low = 0, high = 1;
      for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
      return { low, high, levels: coarser([x, values]) };
    });
  }

  // Columns with ever fewer points, for ever wider views.
  function coarser(columns) {
    const levels = [columns];
    for (let next = columns, length = Infinity; next[0].length > MOST_POINTS && next[0].length < 0.9 * length;) {
      length = next[0].length;
      levels.push(next = halved(next));
    }
    return levels;
  }

  // Pairs of points as one, their mean; but an area's or a line's last point stays where it is, so that short ones do not vanish.
  function halved([x, ...columns]) {
    const blank = (point) => point >= x.length || columns[0][point] === null;
    const firsts = [], seconds = [];
    for (let point = 0; point < x.length; point = seconds[seconds.length - 1] + 1) {
      const paired = point + 1 < x.length && (blank(point) ? blank(point + 1) : !blank(point + 1) && !blank(point + 2));
      firsts.push(point);
      seconds.push(paired ? point + 1 : point);
    }
    const mean = (a, b) => (a === null || b === null ? null : (a + b) / 2);
    return [firsts.map((point) => x[point]), ...columns.map((column) => firsts.map((point, at) => mean(column[point], column[seconds[at]])))];
  }

  // Stretches of one label, for the list.
  function stretches(row) {
    const found = [];
    for (let moment = 0; moment < row.start.length; moment++) {
      const label = best(row, moment), last = found[found.length - 1];
      if (last && last.label === label && !away(row, moment - 1)) {
        last.to = row.end[moment];
        last.sum += probability(row, moment, label);
        last.count++;
      } else found.push({ label, from: row.start[moment], to: row.end[moment], sum: probability(row, moment, label), count: 1 });
    }
    const shortest = data.timed ? SHORTEST_MOMENT : 1;
    return found.filter((stretch) => stretch.to - stretch.from >= shortest - SAME);
  }

  // ---- words ------------------------------------------------------------------------------------------------------------------------

  function clock(seconds, digits = 1) {
    if (!data.timed) return `image ${Math.floor(seconds + SAME) + 1}`;
    const rounded = Math.max(0, Number(seconds.toFixed(digits)));
    const minutes = Math.floor(rounded / 60) % 60, hours = Math.floor(rounded / 3600);
    const rest = (rounded % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  // Not "-0.00"; a dash where there is none.
  const number = (value) => (value === null ? "–" : (Math.round(100 * value) / 100 || 0).toFixed(2).replace("-", "−"));

  const percent = (share) => `${Math.round(100 * share)} %`;

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function swatch(label) {
    const element = make("span", { className: "swatch" });
    element.style.background = data.colours[label];
    return element;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- time -------------------------------------------------------------------------------------------------------------------------

  function seek(time) {
    now = Math.min(Math.max(time, 0), end);
    if (media && media.readyState > 0) media.currentTime = now;
    show();
  }

  // Everything that depends on the time.
  function show() {
    for (const { plot, head } of [...charts, ...movements]) {
      const left = plot.valToPos(now, "x");
      head.style.transform = `translateX(${left}px)`;
      head.hidden = left < 0 || left > plot.bbox.width / devicePixelRatio;
    }
    for (const chart of charts) {
      const state = words(rows[chart.index]);
      if (chart.state.textContent !== state) chart.state.textContent = state;
      chart.host.setAttribute("aria-valuenow", now.toFixed(2));
      chart.host.setAttribute("aria-valuetext", `${clock(now)}, ${state}`);
    }
    const moment = movements.length ? momentAt(rows[moved], now) : -1;
    for (const { curve, value } of movements) {
      const text = number(measured(curve, moment));
      if (value.textContent !== text) value.textContent = text;
    }
    for (const item of $("moments")?.children ?? [])
      item.classList.toggle("current", now >= item.from - SAME && now < item.to - SAME);
  }

  function words(row) {
    const moment = momentAt(row, now);
    if (moment < 0) return row.kind === "voice" ? "silent" : "not seen";
    const label = best(row, moment);
    return `${labels[label]} ${percent(probability(row, moment, label))}${unsureAt(row, now) ? ", unsure" : ""}`;
  }

  const timeless = !$("charts");

  function follow() {
    now = media.currentTime;
    const { min, max } = view;
    if (!media.paused && now > max && max < end - SAME) zoom(now, now + max - min);
    show();
    if (!media.paused && !media.ended) requestAnimationFrame(follow);
  }

  // ---- zoom -------------------------------------------------------------------------------------------------------------------------

  function zoom(from, to) {
    const least = data.timed ? Math.min(0.5, end) : Math.min(4, end);
    const width = Math.min(Math.max(to - from, least), end);
    const begin = Math.min(Math.max(from, 0), end - width);
    view = { min: begin, max: begin + width };
    for (const plot of rulers) plot.setScale("x", view);
    for (const chart of [...charts, ...movements]) showView(chart);
    queueMicrotask(show);  // after uPlot, which takes a new scale over in microtasks of its own
  }

  function showView({ plot, levels }) {
    const fits = ([x]) => upTo(x, view.max) - upTo(x, view.min) <= MOST_POINTS;
    const level = levels.find(fits) ?? levels[levels.length - 1];
    if (plot.data[0] !== level[0]) plot.setData(level, false);
    plot.setScale("x", view);
  }

  function zoomBy(factor) {
    const { min, max } = view;
    const width = (max - min) * factor;
    const middle = now >= min && now <= max ? now : (min + max) / 2;
    zoom(middle - width / 2, middle + width / 2);
  }

  // ---- charts -----------------------------------------------------------------------------------------------------------------------

  function hatch(plot) {
    const side = 8 * devicePixelRatio;
    const tile = make("canvas", { width: side, height: side });
    const pen = tile.getContext("2d");
    pen.fillStyle = colour("--hatch");
    pen.fillRect(0, 0, side, side);
    pen.strokeStyle = colour("--hatch-line");
    pen.lineWidth = 1.2 * devicePixelRatio;
    pen.beginPath();
    for (const shift of [-side, 0, side]) { pen.moveTo(shift, side); pen.lineTo(shift + side, 0); }
    pen.stroke();
    return plot.ctx.createPattern(tile, "repeat");
  }

  function shade(label) {
    return only === null || only === label ? data.colours[labels[label]] : data.colours[labels[label]] + "26";
  }

  const CURVE_HEIGHT = 44;
  const chartHeight = () => (innerWidth <= 720 ? 60 : 66);

  function addChart(index) {
    const row = rows[index];
    const host = make("div", { className: "chart", tabIndex: 0 });
    host.setAttribute("role", "slider");
    host.setAttribute("aria-label", `Time, ${row.name}`);
    host.setAttribute("aria-valuemin", 0);
    host.setAttribute("aria-valuemax", end);
    const picture = row.kind === "voice" ? sign() : row.pictures[0] ? make("img", { src: row.pictures[0].image, alt: "" }) : "";
    const state = make("small");
    const who = make("div", { className: "who" }, picture, make("div", {}, make("b", {}, row.name), state));
    const line = make("div", { className: "row" }, who, host);
    $("charts").append(line);

    const areas = order.map((_, position) => {
      const label = order[order.length - 1 - position];
      return { label: labels[label], width: 0, points: { show: false }, fillTo: 0, fill: () => shade(label), stroke: () => shade(label) };
    });
    const unsure = { label: "unsure", width: 0, points: { show: false }, fillTo: 0, fill: (plot) => hatch(plot), stroke: "transparent" };
    const options = { height: chartHeight(), y: [0, 1], axes: [{ show: false }, { show: false }], series: [{}, ...areas, unsure] };
    const chart = { index, host, line, state, ...overTime(host, index, coarser(columns(row)), options, (moment, time) => ranking(row, moment, time)) };
    charts.push(chart);
    listen(chart);
  }

  let hovered = null;

  // A chart of a row that follows the zoom and the clip, tells what is under the mouse, and takes clicks and drags.
  function overTime(host, index, levels, { height, y, axes, series }, tell) {
    const plot = new uPlot({
      width: Math.max(host.clientWidth, 50),
      height,
      padding: [0, 0, 0, 0],
      legend: { show: false },
      scales: { x: { time: false, range: (_, min, max) => [min ?? 0, max ?? end] }, y: { range: y } },
      axes,
      series,
      cursor: { y: false, points: { show: false }, sync: { key: "pyemo" }, drag: { x: true, y: false, dist: 5, setScale: false } },
      hooks: {
        setSelect: [(plot) => {
          zoom(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
          plot.setSelect({ width: 0, height: 0 }, false);
        }],
        setCursor: [(plot) => { if (hovered === plot) tip(plot, rows[index], tell); }],
      },
    }, levels[levels.length - 1], host);
    showView({ plot, levels });
    const head = make("div", { className: "playhead" });
    plot.over.append(head);
    let pressed = 0;
    plot.over.addEventListener("mousedown", (event) => { pressed = event.clientX; });
    plot.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - pressed) > 4) return;  // the end of a drag
      seek(plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, "x"));
      choose(index);
    });
    plot.over.addEventListener("dblclick", () => zoom(0, end));
    plot.over.addEventListener("mouseenter", () => { hovered = plot; });
    plot.over.addEventListener("mouseleave", () => { hovered = null; $("tip").hidden = true; });
    return { plot, head, levels };
  }

  function listen({ index, host }) {
    host.addEventListener("keydown", (event) => {
      const step = data.timed ? (event.shiftKey ? 5 : 0.5) : (event.shiftKey ? 10 : 1);
      const act = {
        ArrowLeft: () => seek(now - step), ArrowRight: () => seek(now + step),
        ArrowDown: () => seek(now - step), ArrowUp: () => seek(now + step),
        PageDown: () => seek(now - 10 * step), PageUp: () => seek(now + 10 * step),
        Home: () => seek(0), End: () => seek(end),
        "+": () => zoomBy(0.5), "-": () => zoomBy(2), "0": () => zoom(0, end),
        " ": () => { if (media) media.paused ? media.play().catch(() => {}) : media.pause(); },  // rejected if paused before it began
        Enter: () => choose(index),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }

  function ranking(row, moment, time) {
    const ranked = labels.map((_, label) => label).sort((a, b) => probability(row, moment, b) - probability(row, moment, a));
    const lines = ranked.slice(0, 3).map((label) => [swatch(labels[label]), `${labels[label]} ${percent(probability(row, moment, label))}`]);
    return unsureAt(row, time) ? [...lines, ["unsure: nothing reaches half"]] : lines;
  }

  function tip(plot, row, tell) {
    const box = $("tip"), { left, idx } = plot.cursor;
    if (left < 0 || idx == null) { box.hidden = true; return; }
    const time = plot.posToVal(left, "x"), moment = momentAt(row, time);
    box.replaceChildren(make("strong", {}, `${clock(time)} · ${row.name}`));
    const lines = moment < 0 ? [[row.kind === "voice" ? "silent" : "not seen"]] : tell(moment, time);
    box.append(...lines.map((line) => make("div", {}, ...line)));
    box.hidden = false;
    const area = plot.over.getBoundingClientRect();
    const x = Math.min(area.left + left + 14, innerWidth - box.offsetWidth - 8);
    const above = area.top - box.offsetHeight - 8;
    box.style.left = `${Math.max(8, x)}px`;
    box.style.top = `${above > 4 ? above : area.bottom + 8}px`;
  }

  function addRuler(host) {
    const ink = () => colour("--soft");
    const plot = new uPlot({
      width: Math.max(host.clientWidth, 50),
      height: 30,
      padding: [0, MARGIN, 0, MARGIN],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: (_, min, max) => [min ?? 0, max ?? end] }, y: { range: [0, 1] } },
      series: [{}, { width: 0, points: { show: false } }],
      axes: [{
        side: 0, size: 30, stroke: ink, font: "12px system-ui, sans-serif", gap: 3,
        grid: { show: false }, ticks: { stroke: () => colour("--line"), width: 1, size: 6 }, space: 70,
        incrs: data.timed ? [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000],
        values: (_, splits, __, ___, step) => splits.map((at) => data.timed ? clock(at, step < 1 ? 1 : 0) : String(Math.round(at) + 1)),
      }, { show: false }],
    }, [[0, end], [null, null]], host);
    plot.setScale("x", view);
    rulers.push(plot);
  }

  function resize() {
    const fit = (plot, host, height) => plot.setSize({ width: Math.max(host.clientWidth, 50), height });
    for (const plot of rulers) fit(plot, plot.root.parentElement, 30);
    for (const { plot, host } of charts) fit(plot, host, chartHeight());
    for (const { plot, host } of movements) fit(plot, host, CURVE_HEIGHT);
    queueMicrotask(show);
  }

  function redraw() {
    for (const plot of [...rulers, ...[...charts, ...movements].map((chart) => chart.plot)]) plot.redraw(false, true);
  }

  // ---- movements --------------------------------------------------------------------------------------------------------------------

  function showMovements(index) {
    if (index === moved) return;
    const row = rows[index];
    row.columns ??= curveColumns(row);
    moved = index;
    if (movements.some(({ plot }) => plot === hovered)) $("tip").hidden = true;  // no mouse will leave it
    for (const { plot } of movements) plot.destroy();
    $("movements-of").textContent = row.name;
    $("unmeasured").hidden = row.curves.length > 0;
    const items = row.curves.map((curve) => {
      const host = make("div", { className: "curve" }), value = make("span", { className: "value" });
      host.setAttribute("aria-hidden", "true");  // the value beside it says in words what stands at this time
      const what = make("div", { className: "what" }, make("b", {}, curve.name), " ", make("small", {}, curve.code), " ", value);
      return { curve, host, value, item: make("li", {}, what, host) };
    });
    $("movements").replaceChildren(...items.map(({ item }) => item));
    movements = items.map(({ curve, host, value }, position) => {
      const tell = (moment) => [[`${curve.name} ${number(measured(curve, moment))}`]];
      const { low, high, levels } = row.columns[position];
      return { curve, host, value, ...overTime(host, index, levels, curveOptions(low, high), tell) };
    });
    queueMicrotask(show);
  }

  function curveOptions(low, high) {
    const room = 0.06 * (high - low);
    const mark = (at, dash) => ({
      scale: "y", side: 3, size: 0, splits: [at], values: [], ticks: { show: false }, grid: { stroke: () => colour("--mark"), width: 1, dash },
    });
    const line = { width: 1.5, points: { show: false }, fillTo: 0, stroke: () => colour("--accent"), fill: () => colour("--accent") + "22" };
    return { height: CURVE_HEIGHT, y: [low - room, high + room], axes: [mark(0, []), mark(1, [4, 4])], series: [{}, line] };
  }

  function measures(row) {
    const table = make("table", { className: "votes measures" }, make("caption", {}, "Movements"));
    for (const curve of row.curves) {
      const name = make("th", { scope: "row" }, curve.name, " ", make("small", {}, curve.code));
      table.insertRow().append(name, make("td", { className: "number" }, number(measured(curve, 0))));
    }
    return table;
  }

  // ---- people -----------------------------------------------------------------------------------------------------------------------

  const MICROPHONE = "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm5-3a5 5 0 0 1-10 0H5a7 7 0 0 0 6 6.9V22h2v-3.1A7 7 0 0 0 19 12z";

  function sign() {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("class", "voice-sign");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", MICROPHONE);
    svg.append(path);
    return svg;
  }

  function addPerson(index) {
    const row = rows[index];
    const title = make("button", { type: "button" }, ...(row.kind === "voice" ? [sign()] : []), row.name);
    const card = make("article", { className: "person" }, make("h3", {}, title));
    card.append(make("p", { className: "says" }, swatch(row.label), row.label));
    card.append(make("p", { className: "aside" }, facts(row)));
    const faces = make("div", { className: "faces" });
    for (const picture of row.pictures) faces.append(thumbnail(row, picture));
    card.append(faces);
    if (timeless) card.append(bars(row));
    if (timeless && row.curves.length) card.append(measures(row));
    $("people").append(card);
    cards.set(index, card);
    if (timeless) { title.disabled = true; return; }
    title.addEventListener("click", () => { choose(index); seek(row.start[0]); });
  }

  function facts(row) {
    if (timeless) return row.unsureShare ? "unsure: no expression reaches half" : "";
    const last = row.end.length - 1;
    const when = data.timed ? `${clock(row.start[0], 0)} to ${clock(row.end[last], 0)}` : `${row.start.length} images`;
    return row.unsureShare >= 0.005 ? `${when}, unsure in ${percent(row.unsureShare)} of it` : when;
  }

  function thumbnail(row, picture) {
    const image = make("img", { src: picture.image, alt: "", loading: "lazy" });
    image.style.borderColor = data.colours[picture.label];
    const text = `${picture.label} ${percent(picture.score)}`;
    if (picture.time === null) return make("span", {}, image, text);
    const button = make("button", { type: "button" }, image, text);
    button.setAttribute("aria-label", `${row.name}, ${text}, at ${clock(picture.time)}: go there`);
    button.title = `Go to ${clock(picture.time)}`;
    button.addEventListener("click", () => { choose(rows.indexOf(row)); seek(picture.time); });
    return button;
  }

  function bars(row) {
    const table = make("table", { className: "votes" });
    const ranking = labels.map((_, label) => label).sort((a, b) => probability(row, 0, b) - probability(row, 0, a));
    for (const label of ranking) {
      const line = table.insertRow(), share = probability(row, 0, label), fill = make("span");
      fill.style.width = `${100 * share}%`;
      fill.style.background = data.colours[labels[label]];
      line.append(make("th", { scope: "row" }, labels[label]), make("td", { className: "bar" }, fill), make("td", { className: "number" }, percent(share)));
    }
    return table;
  }

  // ---- choosing ---------------------------------------------------------------------------------------------------------------------

  function choose(index) {
    if (index === chosen && $("moments-of").textContent) return;
    chosen = index;
    for (const [other, card] of cards) card.classList.toggle("chosen", other === index);
    for (const chart of charts) chart.line.classList.toggle("chosen", chart.index === index);
    // While a voice is chosen, the face chosen before stays.
    if ($("movements") && (rows[index].kind === "face" || rows[index].curves.length)) showMovements(index);
    listMoments();
  }

  function listMoments() {
    const row = rows[chosen];
    $("moments-of").textContent = row.name + (only === null ? "" : `: ${labels[only]}`);
    const found = stretches(row).filter((stretch) => only === null || stretch.label === only);
    // The longest of them, in order of time.
    const kept = [...found].sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, SHOWN_MOMENTS).sort((a, b) => a.from - b.from);
    $("moments").replaceChildren(...kept.map((stretch) => {
      const label = labels[stretch.label];
      const when = data.timed ? `${clock(stretch.from)} – ${clock(stretch.to)}` : `${clock(stretch.from)} to ${Math.floor(stretch.to + SAME)}`;
      const button = make("button", { type: "button" }, swatch(label), make("span", {}, label, " ", make("em", {}, percent(stretch.sum / stretch.count))), make("em", {}, when));
      button.addEventListener("click", () => seek(stretch.from));
      return Object.assign(make("li", {}, button), { from: stretch.from, to: stretch.to });
    }));
    const left = found.length - kept.length;
    $("moments-more").hidden = kept.length > 0 && left === 0;
    $("moments-more").textContent = kept.length ? `The ${kept.length} longest of ${found.length}.` : "None that lasts long enough to list.";
    show();
  }

  function addLegend() {
    const present = labels.filter((_, label) => rows.some((row) => {
      for (let moment = 0; moment < row.start.length; moment++) if (best(row, moment) === label) return true;
      return false;
    }));
    for (const name of [...present, ...labels.filter((label) => !present.includes(label))]) {
      const button = make("button", { type: "button" }, swatch(name), name);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        only = only === labels.indexOf(name) ? null : labels.indexOf(name);
        for (const other of $("legend").children) other.setAttribute("aria-pressed", String(only !== null && other.textContent === labels[only]));
        redraw();
        listMoments();
      });
      $("legend").append(button);
    }
  }

  function offer(button, noun, add) {
    if (!button || !rest.length) return;
    button.hidden = false;
    button.textContent = `Show ${rest.length} more ${noun}`;
    button.addEventListener("click", () => { rest.forEach(add); button.hidden = true; show(); });
  }

  // ---- beginning --------------------------------------------------------------------------------------------------------------------

  const player = document.querySelector("#media video, #media audio, #media img");
  player?.addEventListener("error", () => { player.hidden = true; $("unplayable").hidden = false; });
  if (!rows.length) return;
  lead.forEach(addPerson);
  offer($("more-people"), rest.length === 1 ? "person" : "people", addPerson);
  if (timeless) return;
  for (const host of document.querySelectorAll(".ruler")) addRuler(host);
  addLegend();
  lead.forEach(addChart);
  offer($("more-charts"), rest.length === 1 ? "row" : "rows", addChart);
  $("zoom-in").addEventListener("click", () => zoomBy(0.5));
  $("zoom-out").addEventListener("click", () => zoomBy(2));
  $("zoom-all").addEventListener("click", () => zoom(0, end));
  new ResizeObserver(resize).observe($("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (media) {
    for (const event of ["play", "seeked", "timeupdate", "loadedmetadata"]) media.addEventListener(event, follow);
  }
  if ($("movements")) showMovements(seen.find((index) => rows[index].curves.length));
  choose(chosen);
  show();
})();
