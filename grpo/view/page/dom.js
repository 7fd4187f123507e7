/** Building the page. Text goes in as text nodes; nothing here parses HTML. */
const SVG = "http://www.w3.org/2000/svg";
export const COLOURS = 8;
export const colour = i => `var(--c${i % COLOURS})`;

/** An element with attributes and children; strings become text. A function given as "on…" listens. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  set(node, attributes);
  node.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ""));
  return node;
}
export function svg(parent, name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  set(node, attributes);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}
function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
}
export const dot = fill => el("i", {class: "dot", style: {background: fill}});

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(1).replace("e-0", "e-").replace("e+", "e");
  return Number(value.toPrecision(size >= 1000 ? 6 : 3)).toLocaleString("en", {maximumFractionDigits: 6});
}
export function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A text with what was searched for marked, and tags of reasoning coloured. */
export function text(content, search = "", caseful = false) {
  const box = el("div", {class: "text"});
  let mode = "";
  for (const part of content.split(/(<\/?(?:think|answer)>)/)) {
    if (/^<\/?(think|answer)>$/.test(part)) {
      mode = part.startsWith("</") ? "" : part.slice(1, -1);
      box.append(el("span", {class: "tag"}, ...marked(part, search, caseful)));
    } else if (part) box.append(el("span", {class: mode}, ...marked(part, search, caseful)));
  }
  if (!content) box.append(el("span", {class: "think"}, "(empty)"));
  return box;
}
export function marked(content, search, caseful) {
  if (!search) return [content];
  const hay = caseful ? content : content.toLowerCase(), needle = caseful ? search : search.toLowerCase();
  if (hay.length !== content.length) return [content]; // a letter whose lower case is longer: places would not agree
  const pieces = [];
  let at = 0;
  for (let found; (found = hay.indexOf(needle, at)) >= 0; at = found + needle.length)
    pieces.push(content.slice(at, found), el("mark", {}, content.slice(found, found + needle.length)));
  return [...pieces, content.slice(at)];
}

export class Refused extends Error {}
/** Ask the server; the answer's text is the message of an error. */
export async function ask(path, pairs, signal) {
  const response = await fetch(`api/${path}?${new URLSearchParams(pairs)}`, {signal});
  if (!response.ok) throw new Refused(response.status < 500 ? await response.text() : `the server failed (${response.status}); its terminal says why`);
  return response.json();
}
/** The part of a prompt that differs from the others: R1-Zero's template is the same for all. */
export function question(row) {
  if (row.question) return row.question;
  const match = /(?:^|[\s.])User:\s*([\s\S]*?)\s*Assistant:\s*(?:<think>)?\s*$/.exec(row.prompt);
  return match ? match[1] : row.prompt;
}
