/** One chart: a curve for each run. Drawn as SVG at the card's width. */
import {colour, dot, el, short, svg} from "./dom.js";

const HEIGHT = 180, LEFT = 48, RIGHT = 8, TOP = 8, BOTTOM = 20;

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= raw * .999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}
export function smoothed(y, width) {
  if (width < 1) return y;
  let sum = 0, from = 0, to = 0;
  return y.map((_, i) => {
    while (to < y.length && to <= i + width) sum += y[to++];
    while (from < i - width) sum -= y[from++];
    return sum / (to - from);
  });
}
function range(chart) {
  let values = chart.series.flatMap(s => [...s.y, ...(s.ci_low || []), ...(s.ci_high || [])]);
  if (chart.log) values = values.filter(v => v > 0);
  let low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (chart.log) {
    [low, high] = [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high))];
    return [low, low === high ? high * 10 : high];
  }
  if (chart.unit === "share" && low >= 0 && high <= 1) return [0, high > .5 ? 1 : high > 0 ? high * 1.1 : 1];
  if (low >= 0 && low < high * .5) low = 0;
  if (low === high) { const pad = Math.abs(low) / 2 || 1; return [low === 0 ? 0 : low - pad, high + pad]; }
  return [low, high + (high - low) * .04];
}

/** Draw into a card (an element with the chart's heading); colours: Map of run to its number. */
export function drawChart(card, chart, colours, smoothing) {
  card.querySelector("svg")?.remove();
  const usable = chart.log ? chart.series.some(s => s.y.some(v => v > 0)) : true;
  card.querySelector(".none")?.remove();
  if (!usable) { card.append(el("div", {class: "small none"}, "all values are 0")); return; }
  const width = Math.max(200, card.clientWidth - 28);
  const picture = svg(card, "svg", {viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": `${chart.title}, ${chart.series.length} curves`});
  const [low, high] = range(chart);
  let first = Math.min(...chart.series.map(s => s.x[0])), last = Math.max(...chart.series.map(s => s.x[s.x.length - 1]));
  if (first === last) { first -= 1; last += 1; }
  const scale = chart.log ? Math.log10 : v => v;
  const X = x => LEFT + (x - first) / (last - first) * (width - LEFT - RIGHT);
  const Y = v => HEIGHT - BOTTOM - (scale(v) - scale(low)) / (scale(high) - scale(low)) * (HEIGHT - TOP - BOTTOM);
  let levels = chart.log ? [] : ticks(low, high, 4);
  if (chart.log) {
    const from = Math.round(Math.log10(low)), to = Math.round(Math.log10(high));
    for (let e = from; e <= to; e += Math.ceil((to - from) / 5)) levels.push(10 ** e);
  }
  for (const v of levels) {
    svg(picture, "line", {x1: LEFT, x2: width - RIGHT, y1: Y(v), y2: Y(v), stroke: "var(--grid)"});
    svg(picture, "text", {x: LEFT - 6, y: Y(v) + 4, "text-anchor": "end"}, chart.log ? v.toExponential(0) : short(v));
  }
  for (const x of ticks(first, last, 6).filter(x => Number.isInteger(x) && x >= 0)) svg(picture, "text", {x: X(x), y: HEIGHT - 4, "text-anchor": "middle"}, short(x));
  for (const s of chart.series) {
    const stroke = colour(colours.get(s.run) ?? 0), points = s.x.length;
    if (s.ci_low?.length === points && points > 1) {
      const up = s.x.map((x, i) => `${X(x)},${Y(s.ci_high[i])}`), down = s.x.map((x, i) => `${X(x)},${Y(s.ci_low[i])}`).reverse();
      svg(picture, "polygon", {points: [...up, ...down].join(" "), fill: stroke, opacity: .14});
    }
    const window = smoothing && points > 12 ? Math.max(1, Math.round(points * smoothing / 200)) : 0;
    const line = (y, attributes) => {
      let d = "", pen = "M";
      s.x.forEach((x, i) => { if (!chart.log || y[i] > 0) { d += `${pen}${X(x).toFixed(1)},${Y(y[i]).toFixed(1)}`; pen = "L"; } });
      svg(picture, "path", {d, fill: "none", stroke, "stroke-linejoin": "round", ...attributes});
    };
    if (window) line(s.y, {"stroke-width": 1, opacity: .28});
    line(smoothed(s.y, window), {"stroke-width": 1.9, "data-run": s.run, "data-points": points});
    if (points < 12) s.x.forEach((x, i) => (!chart.log || s.y[i] > 0) && svg(picture, "circle", {cx: X(x), cy: Y(s.y[i]), r: 2.4, fill: stroke}));
  }
  hover(card, picture, chart, colours, width, X);
}

function hover(card, picture, chart, colours, width, X) {
  const cursor = svg(picture, "line", {y1: TOP, y2: HEIGHT - BOTTOM, stroke: "var(--soft)", "stroke-dasharray": "3 3", visibility: "hidden"});
  const area = svg(picture, "rect", {x: LEFT, y: 0, width: width - LEFT - RIGHT, height: HEIGHT, fill: "transparent"});
  const steps = [...new Set(chart.series.flatMap(s => s.x))].sort((a, b) => a - b);
  const leave = () => { cursor.setAttribute("visibility", "hidden"); card.querySelector(".tip")?.remove(); };
  area.addEventListener("pointerleave", leave);
  area.addEventListener("pointermove", event => {
    leave();
    const box = picture.getBoundingClientRect(), px = (event.clientX - box.left) * width / box.width;
    const step = steps.reduce((a, b) => Math.abs(X(b) - px) < Math.abs(X(a) - px) ? b : a);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, X(step));
    cursor.setAttribute("visibility", "visible");
    const tip = el("div", {class: "tip"}, el("b", {}, `update ${step.toLocaleString("en")}`));
    for (const s of chart.series) {
      const i = s.x.indexOf(step);
      if (i >= 0) tip.append(el("br"), dot(colour(colours.get(s.run) ?? 0)), `${s.run} ${short(s.y[i])}${s.ci_low ? ` [${short(s.ci_low[i])}, ${short(s.ci_high[i])}]` : ""}`);
    }
    card.append(tip);
    const right = X(step) > width / 2;
    tip.style.top = "58px";
    tip.style[right ? "right" : "left"] = `${(right ? width - X(step) : X(step)) + 26}px`;
  });
}
