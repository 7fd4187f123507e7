/** What the chosen runs do now, who is busy, and what their last minutes went into. */
import {ask, colour, duration, el} from "./dom.js";
import {cards, runPairs, state} from "./state.js";

const TITLES = {rollout: "rollout", reward: "rewards left over", eval: "held-out evaluation", old_ref: "old and reference log-probs", learn: "learning", sync: "weight sync", checkpoint: "checkpoint"};
const WORKERS = {engines: "engine", rewards: "reward worker", learners: "learner"};
const PARTS = Object.keys(TITLES);

export async function show(root) {
  if (!state.runs.length) { root.append(el("div", {class: "empty"}, "choose one or more runs at the left")); return; }
  await changed(root, new Set(["activity"]));
}
export async function changed(root, kinds) {
  if (!["activity", "card"].some(kind => kinds.has(kind)) || !state.runs.length) return;
  const answer = await ask("activity", runPairs());
  root.replaceChildren(...answer.runs.map(run => draw(run, answer.busy)));
}
function draw(run, busy) {
  const card = cards.get(run.run), now = run.live ? run.spans.find(span => span.to === 0) : null;
  const doing = run.live ? (now ? `${TITLES[now.part] ?? now.part} since ${duration(now.from)}, after update ${now.step}` : "between two parts of a phase, or starting") : "not running";
  const box = el("div", {class: "card", "data-run": run.run}, el("h3", {}, run.run, el("span", {class: "doing"}, doing), card?.steps ? el("span", {}, `· ${card.step ?? 0} of ${card.steps} updates`) : ""));
  if (run.spans.length) {
    const oldest = run.spans[0].from, newest = run.spans[run.spans.length - 1].to, width = oldest - newest || 1;
    for (const lane of run.lanes) {
      const track = el("div", {class: "track"});
      for (const span of run.spans.filter(span => busy[span.part]?.includes(lane.name))) {
        const bar = el("i", {title: `${TITLES[span.part]}, ${duration(span.from - span.to)}, after update ${span.step}`,
          style: {left: `${100 * (oldest - span.from) / width}%`, width: `${100 * (span.from - span.to) / width}%`, background: colour(PARTS.indexOf(span.part))}});
        track.append(bar);
      }
      const isBusy = now && busy[now.part]?.includes(lane.name);
      box.append(el("div", {class: "lane", "data-lane": lane.name}, el("span", {class: "who"}, `${lane.count} ${WORKERS[lane.name]}${lane.count === 1 ? "" : "s"}`), track, el("span", {class: isBusy ? "busy" : "small"}, isBusy ? "busy" : run.live ? "waits" : "")));
    }
    const seen = PARTS.filter(part => run.spans.some(span => span.part === part));
    const spent = part => run.spans.filter(span => span.part === part).reduce((sum, span) => sum + span.from - span.to, 0);
    box.append(el("div", {class: "legend"}, el("span", {}, `the last ${duration(width)}:`), ...seen.map(part => el("span", {}, el("i", {class: "dot", style: {background: colour(PARTS.indexOf(part))}}), `${TITLES[part]} ${Math.round(100 * spent(part) / width)}%`))));
  } else box.append(el("p", {class: "small"}, "this run has left no record of its activity (activity.jsonl)"));
  if (run.workers.length) box.append(el("table", {class: "workers"}, el("tr", {}, el("th", {}, "rollout worker"), ...["chunks done", "lost", "groups"].map(name => el("th", {class: "number"}, name)), el("th", {}, "last loss")),
    ...run.workers.map(w => el("tr", {}, el("td", {}, w.worker === null ? "–" : String(w.worker)), ...[w.done, w.lost, w.groups].map(n => el("td", {class: "number"}, n.toLocaleString("en"))), el("td", {}, w.cause)))));
  return box;
}
