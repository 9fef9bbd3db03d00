// Views made of text nodes and elements only, so that nothing in a file name or verdict is read as markup.

export const number = (x, digits = 2) =>
  x == null ? "–" : x.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const percent = (x) => (x == null ? "–" : `${Math.round(100 * x)}%`);
const exact = (x) => x.toLocaleString("en-US", { maximumFractionDigits: 3 });
const seconds = (x) => (x == null ? "not seen" : `${number(x)} s`);

/** An element: h("p.soft", {id: "x", onclick: f}, "text", …). */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(9).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

export const WORDS = { genuine: "spontaneous", posed: "posed" };
export const STAGES = [
  ["following", "Following the face"],
  ["judging", "Judging"],
  ["drawing", "Drawing"],
  ["writing", "Writing"],
];
export const stage = (task) => STAGES.find(([name]) => name === task.stage)?.[1] ?? "Loading the models";
export const busy = (task) => task != null && (task.state === "waiting" || task.state === "working");

/** Progress of a task in words. */
export function status(task) {
  if (task.state === "waiting") return task.place > 1 ? `waiting, ${task.place - 1} ahead` : "waiting";
  if (task.state === "working") {
    const share = task.total ? ` ${Math.floor((100 * task.done) / task.total)}%` : task.done ? ` ${task.done} frames` : "";
    return `${stage(task).toLowerCase()}${task.stage === "following" || task.stage === "drawing" ? share : ""}`;
  }
  return task.state === "failed" ? "could not be judged" : task.state === "cancelled" ? "cancelled" : headline(task.result);
}

export const headline = (v) => (v.abstained ? "no verdict" : WORDS[v.label]);
export const emotion = (v) => Object.entries(v.emotion).sort((a, b) => b[1] - a[1]);
const colour = (v) => (v.abstained ? "" : `says-${v.label}`);

/** A scale from posed to spontaneous with the abstention band hatched and the clip's position. */
function gauge(v) {
  const [low, high] = v.band ?? [0.5, 0.5];
  const band = h("span.band"), dot = h(`span.dot.is-${v.label}`);
  band.style.left = `${100 * low}%`;
  band.style.width = `${100 * (high - low)}%`;
  if (v.p_genuine != null) dot.style.left = `${100 * Math.min(0.99, Math.max(0.01, v.p_genuine))}%`;
  const position = v.p_genuine == null ? "No position is given." : `P(genuine) is ${number(v.p_genuine)}.`;
  return h(
    "figure.gauge", {},
    h("div.scale", { role: "img", "aria-label": `From posed to spontaneous. ${position}` }, band, v.p_genuine != null && dot),
    h("div.ends", { "aria-hidden": "true" },
      h("b.says-posed", {}, "posed"),
      h("span", {}, v.p_genuine == null ? "no verdict" : `P(genuine) = ${number(v.p_genuine)}`),
      h("b.says-genuine", {}, "spontaneous")),
    v.band && h("figcaption", {}, `Between ${exact(low)} and ${exact(high)} no verdict is given.`,
      v.accuracy != null && ` Accuracy of the model on new people: ${percent(v.accuracy)}.`),
  );
}

function facts(v) {
  const [first, second] = emotion(v), phase = v.judged_phase;
  const rows = [
    ["Shows", first && [`${first[0]} ${percent(first[1])}`, second && second[1] >= 0.05 && `, ${second[0]} ${percent(second[1])}`]],
    ["Judged", v.judged && `${number(v.judged[0])} s to ${number(v.judged[1])} s`],
    ["Onset", phase && seconds(phase.onset)],
    ["Apex", phase && seconds(phase.apex)],
    ["Offset", phase && seconds(phase.offset)],
    ["End", phase && seconds(phase.end)],
    ["Clip", v.frames === 1 ? "a single frame" : `${number(v.duration)} s, ${v.frames.toLocaleString("en-US")} frames`],
    ["Face visible in", v.frames > 1 && `${percent(v.quality.coverage)} of frames`],
  ];
  return h("dl.facts", {}, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** What a FACS reader looks at, and what the model went by, in the sentences of the report. */
function reasons(v) {
  const row = (name, side, words, text) =>
    h("li", {}, h("b", {}, name), " ", side && h(`span.chip.is-${side}`, {}, `${words} ${WORDS[side]}`), h("p", {}, text));
  const list = (title, rows) => rows.length > 0 && [h("h3", {}, title), h("ul", {}, rows)];
  return h("div.why", {},
    list("What a FACS reader looks at", v.signs.filter((sign) => sign.value != null)
      .map((sign) => row(sign.title, sign.leans, "leans to", sign.text))),
    v.disagreement && h("p.soft", {}, v.disagreement),
    !v.abstained && list("What the model went by", v.evidence
      .map((item) => row(item.feature, item.contribution >= 0 ? "genuine" : "posed", "for", item.text))));
}

/** The verdict on one clip. */
export function verdict(clip) {
  const v = clip.task.result;
  const title = v.abstained
    ? ["No verdict", h("small", {}, v.reason)]
    : ["Moves like the ", h(`span.${colour(v)}`, {}, WORDS[v.label]), " expressions of the training set"];
  return [
    h("p.kicker", {}, h("bdi", {}, clip.name)),
    h("h2.said", { id: "clip-title" }, title),
    v.abstained && h("p.soft", {}, "An abstention is a result, not an error: a verdict on a clip like this would be unreliable."),
    h("div.split", {}, h("div", {}, gauge(v), v.record.text && h("p.soft.record", {}, v.record.text), reasons(v)), facts(v)),
    v.quality.warnings.length > 0 && h("ul.notes", { "aria-label": "Warnings" }, v.quality.warnings.map((text) => h("li", {}, text))),
  ];
}

/** Steps, a progress bar and a cancel button; `update(task)` moves them on. */
export function working(task, title, steps, cancel) {
  const bar = h("progress", { max: "1", "aria-label": title, "data-bar": task.id });
  return [
    h("ol.steps", {}, steps.map((name) => h("li", { "data-step": name }, STAGES.find(([key]) => key === name)[1]))),
    bar,
    h("div.row.between", {}, h("span.soft", { "data-count": task.id }, ""),
      h("button", { type: "button", "data-key": `cancel-${task.id}`, onclick: cancel }, "Cancel")),
  ];
}

export function update(root, task) {
  const bar = root.querySelector(`[data-bar="${task.id}"]`);
  if (!bar) return;
  const working = task.state === "working";
  if (working && task.total) bar.value = task.done / task.total;
  else if (working) bar.removeAttribute("value");
  else bar.value = 0;
  const steps = [...root.querySelectorAll("[data-step]")];
  const at = working ? steps.findIndex((step) => step.dataset.step === task.stage) : -1;
  steps.forEach((step, n) => {
    step.classList.toggle("past", n < at);
    if (n === at) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
  root.querySelector(`[data-count="${task.id}"]`).textContent = !working || !task.stage ? status(task)
    : task.total ? `${task.done.toLocaleString("en-US")} of ${task.total.toLocaleString("en-US")} frames`
    : `${task.done.toLocaleString("en-US")} frames so far`;
}

/** Which of two clips is more genuine. */
export function comparison(pair, names, close) {
  const r = pair.result;
  const probability = r.winner == null ? null : Math.max(r.p_first_more_genuine, 1 - r.p_first_more_genuine);
  const title = r.winner == null
    ? [r.draw ? "Draw" : "No verdict", h("small", {}, r.draw ? r.reason.replace(/^Draw: /, "") : r.reason)]
    : [h("bdi", {}, names[r.winner]), h("small", {}, "moves more like a ", h("span.says-genuine", {}, "spontaneous"),
        ` expression; probability ${number(probability)} that it is the genuine one of the two`)];
  return [
    h("h2.said", { id: "comparison-title" }, title),
    h("ul.pair", {}, r.alone.map((each, n) => {
      const fill = h("span");
      fill.style.width = `${100 * (each.p_genuine ?? 0)}%`;
      return h("li", {}, h("bdi", {}, names[n]), h("span.meter", { "aria-hidden": "true" }, fill),
        h("span.soft", {}, `on its own P(genuine) = ${number(each.p_genuine)}`));
    })),
    r.measured && h("p.soft", {}, `Of ${r.measured.pairs.toLocaleString("en-US")} such pairs of ${r.measured.people} held-out people, ${percent(r.measured.accuracy)} were ranked correctly.`),
    h("p.soft", {}, r.assumes),
    r.warnings.length > 0 && h("ul.notes", { "aria-label": "Warnings" }, r.warnings.map((text) => h("li", {}, text))),
    h("button", { type: "button", "data-key": "close-pair", onclick: close }, "Close the comparison"),
  ];
}
