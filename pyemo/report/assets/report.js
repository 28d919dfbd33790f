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
  const MARGIN = 24;  // pixels by which the ruler, for its numbers, is wider than the charts, on either side

  const rows = data.rows.map(decode);
  const seen = rows.map((_, i) => i).sort((a, b) => (rows[a].kind === "voice") - (rows[b].kind === "voice") || rows[b].start.length - rows[a].start.length);
  const lead = seen.slice(0, SHOWN_ROWS).sort((a, b) => a - b);
  const rest = seen.slice(SHOWN_ROWS).sort((a, b) => a - b);
  const end = data.timed ? data.duration : Math.max(1, ...rows.map((row) => row.start.length));

  const charts = [];
  const cards = new Map();
  let ruler = null, now = 0, chosen = lead[0], only = null, syncing = false;

  // ---- data -------------------------------------------------------------------------------------------------------------------------

  function decode(row) {
    const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return {
      ...row,
      start: new Float32Array(bytes(row.start).buffer),
      end: new Float32Array(bytes(row.end).buffer),
      probabilities: bytes(row.probabilities),
    };
  }

  const probability = (row, moment, label) => row.probabilities[moment * labels.length + label] / 255;

  function best(row, moment) {
    let winner = 0;
    for (let label = 1; label < labels.length; label++)
      if (probability(row, moment, label) > probability(row, moment, winner)) winner = label;
    return winner;
  }

  const unsureAt = (row, time) => row.unsure.some(([from, to]) => time >= from - SAME && time < to - SAME);
  const away = (row, moment) => moment + 1 < row.start.length && row.start[moment + 1] > row.end[moment] + SAME;

  // The moment of a row at a time, or -1 while nobody is there.
  function momentAt(row, time) {
    let low = 0, high = row.start.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (row.start[middle] <= time + SAME) low = middle + 1; else high = middle;
    }
    const found = low - 1;
    if (found < 0) return -1;
    return time < row.end[found] + SAME || found + 1 === row.start.length && time - row.end[found] < 0.05 ? found : -1;
  }

  // uPlot's columns: times; the running sums of the probabilities, the whole first, since each is painted over the one before; and a
  // column that is 1 where the row is unsure. A null ends an area where somebody leaves.
  function columns(row) {
    const x = [], moments = [], sums = order.map(() => []), unsure = [];
    const push = (time, moment, value) => {
      x.push(time);
      moments.push(moment);
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
    return { columns: [x, ...sums, unsure], moments };
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
    for (const chart of charts) {
      const left = chart.plot.valToPos(now, "x");
      chart.head.style.transform = `translateX(${left}px)`;
      chart.head.hidden = left < 0 || left > chart.plot.bbox.width / devicePixelRatio;
      const state = words(rows[chart.index]);
      if (chart.state.textContent !== state) chart.state.textContent = state;
      chart.host.setAttribute("aria-valuenow", now.toFixed(2));
      chart.host.setAttribute("aria-valuetext", `${clock(now)}, ${state}`);
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
    const { min, max } = ruler.scales.x;
    if (!media.paused && now > max && max < end - SAME) zoom(now, now + max - min);
    show();
    if (!media.paused && !media.ended) requestAnimationFrame(follow);
  }

  // ---- zoom -------------------------------------------------------------------------------------------------------------------------

  function zoom(from, to) {
    const least = data.timed ? Math.min(0.5, end) : Math.min(4, end);
    const width = Math.min(Math.max(to - from, least), end);
    const begin = Math.min(Math.max(from, 0), end - width);
    syncing = true;
    for (const plot of [ruler, ...charts.map((chart) => chart.plot)]) plot.setScale("x", { min: begin, max: begin + width });
    syncing = false;
    show();
  }

  function zoomBy(factor) {
    const { min, max } = ruler.scales.x;
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

    const { columns: values, moments } = columns(row);
    const areas = order.map((_, position) => {
      const label = order[order.length - 1 - position];
      return { label: labels[label], width: 0, points: { show: false }, fillTo: 0, fill: () => shade(label), stroke: () => shade(label) };
    });
    const plot = new uPlot({
      width: Math.max(host.clientWidth, 50),
      height: chartHeight(),
      padding: [0, 0, 0, 0],
      legend: { show: false },
      scales: { x: { time: false, range: (_, min, max) => [min ?? 0, max ?? end] }, y: { range: [0, 1] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, ...areas, { label: "unsure", width: 0, points: { show: false }, fillTo: 0, fill: (plot) => hatch(plot), stroke: "transparent" }],
      cursor: { y: false, points: { show: false }, sync: { key: "pyemo" }, drag: { x: true, y: false, setScale: true } },
      hooks: {
        setScale: [(plot, key) => { if (key === "x" && !syncing) zoom(plot.scales.x.min, plot.scales.x.max); }],
        setCursor: [(plot) => { if (hovered === plot) tip(plot, row, moments); }],
      },
    }, values, host);
    // Kept off the whole range by data that do not reach both ends.
    syncing = true;
    plot.setScale("x", { min: ruler.scales.x.min, max: ruler.scales.x.max });
    syncing = false;
    const head = make("div", { className: "playhead" });
    plot.over.append(head);
    const chart = { index, plot, host, head, line, state };
    charts.push(chart);
    listen(chart);
  }

  let hovered = null;

  function listen({ index, plot, host }) {
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

  function tip(plot, row, moments) {
    const box = $("tip"), { left, idx } = plot.cursor;
    if (left < 0 || idx == null) { box.hidden = true; return; }
    const time = plot.posToVal(left, "x"), moment = momentAt(row, time);
    box.replaceChildren(make("strong", {}, `${clock(time)} · ${row.name}`));
    if (moment < 0) box.append(make("div", {}, row.kind === "voice" ? "silent" : "not seen"));
    else {
      const ranking = labels.map((_, label) => label).sort((a, b) => probability(row, moment, b) - probability(row, moment, a));
      for (const label of ranking.slice(0, 3))
        box.append(make("div", {}, swatch(labels[label]), `${labels[label]} ${percent(probability(row, moment, label))}`));
      if (unsureAt(row, time)) box.append(make("div", {}, "unsure: nothing reaches half"));
    }
    box.hidden = false;
    const area = plot.over.getBoundingClientRect();
    const x = Math.min(area.left + left + 14, innerWidth - box.offsetWidth - 8);
    const above = area.top - box.offsetHeight - 8;
    box.style.left = `${Math.max(8, x)}px`;
    box.style.top = `${above > 4 ? above : area.bottom + 8}px`;
  }

  function addRuler() {
    const ink = () => colour("--soft");
    ruler = new uPlot({
      width: Math.max($("ruler").clientWidth, 50),
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
    }, [[0, end], [null, null]], $("ruler"));
    ruler.setScale("x", { min: 0, max: end });
  }

  function resize() {
    ruler.setSize({ width: Math.max($("ruler").clientWidth, 50), height: 30 });
    for (const { plot, host } of charts) plot.setSize({ width: Math.max(host.clientWidth, 50), height: chartHeight() });
    show();
  }

  function redraw() {
    for (const plot of [ruler, ...charts.map((chart) => chart.plot)]) plot.redraw(false, true);
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
  addRuler();
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
  choose(chosen);
  show();
})();
