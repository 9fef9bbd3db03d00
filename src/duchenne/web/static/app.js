// The page: uploads clips, polls their progress and shows the results. It connects only to its own server.

import { camera } from "./camera.js";
import { busy, comparison, emotion, h, number, status, update, verdict, working } from "./view.js";

const at = (id) => document.getElementById(id);
const MAX_MB = Number(document.body.dataset.maxMb);
const MAX_QUEUED = 8; // clips in the server's queue; others wait here
let state = { clips: [], comparisons: [] };
let selected = null; // id of the clip that is shown
let ticked = []; // ids of the clips to compare, the latest last
let sending = []; // {file, share, request, dropped}
let closed = null; // id of the comparison that was closed
let offline = false, timer = 0;

// --- the server ----------------------------------------------------------------------------------------------

async function ask(path, method = "POST") {
  try {
    const answer = await fetch(path, { method });
    if (!answer.ok) note(await answer.text());
    await poll();
    return answer.ok;
  } catch {
    disconnected();
    return false;
  }
}

async function poll() {
  clearTimeout(timer);
  try {
    const answer = await fetch("state");
    if (!answer.ok) throw new Error(answer.statusText);
    const before = state;
    state = await answer.json();
    offline = false;
    announce(before);
    show();
  } catch {
    disconnected();
  }
  clearTimeout(timer);
  const active = [...state.clips.flatMap((clip) => [clip.task, clip.overlay]), ...state.comparisons].some(busy);
  timer = setTimeout(poll, active && !offline ? 350 : 2500);
}

function disconnected() {
  if (!offline) note("The app has ended, and its clips are deleted. Start it again with: duchenne app");
  offline = true;
}

function sendFile(entry) {
  return new Promise((done) => {
    const request = (entry.request = new XMLHttpRequest());
    request.open("POST", `clips?name=${encodeURIComponent(entry.file.name)}`);
    request.upload.onprogress = (event) => {
      entry.share = event.loaded / event.total;
      showUploads();
    };
    request.onload = () => {
      if (request.status !== 201) note(request.responseText);
      done(request.status === 201 ? JSON.parse(request.responseText).id : null);
    };
    request.onerror = () => {
      note(`${entry.file.name} could not be uploaded; try again.`);
      done(null);
    };
    request.onabort = () => done(null);
    request.send(entry.file);
  });
}

/** Upload files one after the other; wait while the server's queue is long. */
async function upload(files) {
  const large = files.filter((file) => file.size > MAX_MB * 1e6);
  if (large.length) note(`${large.map((file) => file.name).join(", ")}: a clip may have up to ${MAX_MB} MB; cut it shorter, or start the app with --max-mb.`);
  const entries = files.filter((file) => !large.includes(file)).map((file) => ({ file, share: 0 }));
  sending.push(...entries);
  let first = true;
  for (const entry of entries) {
    showUploads();
    while (state.clips.filter((clip) => clip.task.state === "waiting").length >= MAX_QUEUED && !entry.dropped) await new Promise((done) => setTimeout(done, 500));
    const id = entry.dropped ? null : await sendFile(entry);
    sending = sending.filter((each) => each !== entry);
    showUploads();
    if (id && first) [selected, first] = [id, false];
    if (id) await poll();
  }
}

// --- messages --------------------------------------------------------------------------------------------

function note(text) {
  at("notes").replaceChildren(h("p.note", {}, h("span", {}, text), h("button.plain", { type: "button", onclick: () => at("notes").replaceChildren() }, "Dismiss")));
}

/** Announce new stages and halfway points to screen readers, not every frame. */
function announce(before) {
  const messages = [];
  const known = new Map(before.clips.map((clip) => [clip.id, clip]));
  const short = (task) => task && `${task.state} ${task.stage} ${task.total && task.done > task.total / 2}`;
  for (const clip of state.clips) {
    const old = known.get(clip.id);
    for (const [task, was, what] of [[clip.task, old?.task, ""], [clip.overlay, old?.overlay, "overlay video: "]]) {
      if (!task || short(task) === short(was)) continue;
      messages.push(`${clip.name}: ${what}${what && task.state === "done" ? "ready" : status(task)}${task.error ? `. ${task.error}` : ""}`);
    }
  }
  for (const pair of state.comparisons) {
    const was = before.comparisons.find((each) => each.id === pair.id);
    if (pair.state !== was?.state) messages.push(`Comparison: ${pair.state}`);
  }
  if (messages.length) at("status").textContent = messages.join(". ");
}

function showUploads() {
  const drop = (entry) => {
    entry.dropped = true;
    entry.request?.abort();
    sending = sending.filter((each) => each !== entry || each.request);
    showUploads();
  };
  at("sending").replaceChildren(...sending.map((entry) => h("p.arriving", {},
    h("span", {}, entry.request ? "Uploading " : "Next: ", h("bdi", {}, entry.file.name), entry.request ? ` ${Math.round(100 * entry.share)}%` : ""),
    h("button.plain", { type: "button", "aria-label": `Cancel the upload of ${entry.file.name}`, onclick: () => drop(entry) }, "Cancel"))));
}

// --- display -------------------------------------------------------------------------------------------

const shown = new Map();

/** Rebuild a part of the page if its content has changed, keeping the focus. */
function put(part, content, build) {
  const signature = JSON.stringify(content);
  if (shown.get(part) === signature) return;
  shown.set(part, signature);
  const key = part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  part.replaceChildren(...build().flat(9).filter(Boolean));
  if (key) (part.querySelector(`[data-key="${CSS.escape(key)}"]`) ?? part.closest("[tabindex]")).focus({ preventScroll: true });
}

const without = (task) => task && { ...task, done: 0, total: 0, stage: null, place: null };

function show() {
  if (!state.clips.some((clip) => clip.id === selected)) selected = state.clips.at(-1)?.id ?? null;
  ticked = ticked.filter((id) => state.clips.some((clip) => clip.id === id && clip.task.state === "done"));
  document.body.classList.toggle("begun", state.clips.length > 0);
  const clip = state.clips.find((each) => each.id === selected);
  at("clips").hidden = at("clip").hidden = !clip;
  put(at("clips"), [state.clips.map((each) => [each.id, each.name, without(each.task)]), selected, ticked], table);
  for (const each of state.clips) {
    const cell = at("clips").querySelector(`[data-status="${each.id}"]`);
    if (cell && busy(each.task)) cell.textContent = status(each.task);
  }
  showComparison();
  if (clip) showClip(clip);
}

function table() {
  const heads = ["Compare", "Clip", "Verdict", "P(genuine)", "Shows", "Length", "Remove"];
  return [
    h("div.row.between", {}, h("h2", { id: "clips-title" }, "Clips"), h("div.row", {},
      h("button", { type: "button", "data-key": "compare", disabled: ticked.length !== 2, onclick: compare, "aria-describedby": "compare-hint" }, "Compare two"),
      h("a.button", { href: "session.csv", download: "", "data-key": "csv" }, "Save as CSV"))),
    h("p.soft.small", { id: "compare-hint", class: "soft small hint" }, "To compare, tick two clips of one person."),
    h("table", { class: "clips", "aria-labelledby": "clips-title" },
      h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name === "Compare" || name === "Remove" ? h("span.unseen", {}, name) : name)))),
      h("tbody", {}, [...state.clips].reverse().map(row))),
  ];
}

function row(clip) {
  const v = clip.task.result, best = v && emotion(v)[0];
  const kind = v ? (v.abstained ? "open" : v.label) : "none";
  return h("tr", { class: clip.id === selected ? "chosen" : "" },
    h("td.tick", {}, h("input", { type: "checkbox", "aria-label": `Compare ${clip.name}`, disabled: clip.task.state !== "done", checked: ticked.includes(clip.id), "data-key": `tick-${clip.id}`,
      onchange: (event) => {
        ticked = event.target.checked ? [...ticked, clip.id].slice(-2) : ticked.filter((id) => id !== clip.id);
        show();
      } })),
    h("th", { scope: "row" }, h("button.name", { type: "button", "aria-current": clip.id === selected ? "true" : null, "data-key": `clip-${clip.id}`,
      onclick: () => {
        selected = clip.id;
        show();
        at("clip").scrollIntoView({ block: "nearest" });
      } }, h("bdi", {}, clip.name))),
    h("td", { "data-label": "Verdict" }, h(`span.mark.is-${kind}`, { "data-status": clip.id }, status(clip.task))),
    h(`td.num${v?.p_genuine == null ? ".none" : ""}`, { "data-label": "P(genuine)" }, v?.p_genuine != null ? number(v.p_genuine) : h("span.soft", {}, "–")),
    h(`td${best ? "" : ".none"}`, { "data-label": "Shows" }, best ? best[0] : h("span.soft", {}, "–")),
    h(`td.num${v ? "" : ".none"}`, { "data-label": "Length" }, v ? `${number(v.duration, 1)} s` : h("span.soft", {}, "–")),
    h("td.end", {}, h("button.plain.cross", { type: "button", "aria-label": `Remove ${clip.name}`, title: "Remove", "data-key": `remove-${clip.id}`,
      onclick: () => remove(clip) }, "✕")));
}

async function remove(clip) {
  await ask(`clips/${clip.id}`, "DELETE");
  at("status").textContent = `${clip.name} was deleted.`;
  (state.clips.length ? at("clips") : at("choose")).focus({ preventScroll: true });
}

async function compare() {
  if (await ask(`compare?first=${ticked[0]}&second=${ticked[1]}`)) {
    at("comparison").scrollIntoView({ block: "nearest" });
    at("comparison").focus({ preventScroll: true });
  }
}

function showComparison() {
  const part = at("comparison"), pair = state.comparisons[0];
  part.hidden = !pair || pair.id === closed;
  if (part.hidden) return;
  const names = pair.clips.map((id) => state.clips.find((clip) => clip.id === id)?.name ?? "a clip");
  put(part, without(pair), () => [
    h("p.kicker", {}, "Two clips of one person"),
    pair.state === "done" ? comparison(pair, names, () => {
      closed = pair.id;
      show();
      at("clips").focus({ preventScroll: true });
    }) : [
      h("h2", { id: "comparison-title" }, pair.state === "failed" ? "These two could not be compared" : pair.state === "cancelled" ? "Cancelled" : "Comparing"),
      pair.error ? h("p", {}, pair.error) : h("p.soft", {}, h("bdi", {}, names[0]), " and ", h("bdi", {}, names[1])),
      busy(pair) && working(pair, "Progress of the comparison", ["following", "judging"], () => ask(`tasks/${pair.id}/cancel`)),
    ],
  ]);
  update(part, pair);
}

function showClip(clip) {
  const task = clip.task, done = task.state === "done";
  put(at("verdict"), [clip.id, without(task)], () => (done ? verdict(clip) : pending(clip)));
  update(at("verdict"), task);
  put(at("actions"), [clip.id, task.state], () => (done ? actions(clip) : []));
  put(at("overlay"), [clip.id, without(clip.overlay), done], () => (done ? overlay(clip) : []));
  if (clip.overlay) update(at("overlay"), clip.overlay);
  put(at("report"), [clip.id, task.id, done], () => (done ? [
    h("h2", {}, "The full report"),
    h("iframe", { src: `clips/${clip.id}/report.html`, title: `Full report on ${clip.name}`, sandbox: "allow-scripts allow-downloads allow-modals allow-popups" }),
  ] : []));
}

function pending(clip) {
  const task = clip.task, again = (text, query = "") => h("button.main", { type: "button", "data-key": "again", onclick: () => ask(`clips/${clip.id}/again${query}`) }, text);
  const title = { waiting: "Waiting in the queue", working: "Analyzing the clip", failed: "This clip could not be judged", cancelled: "Cancelled" }[task.state];
  return [
    h("p.kicker", {}, h("bdi", {}, clip.name)),
    h("h2.said", { id: "clip-title" }, title, task.error && h("small", {}, task.error.replace("pass --allow-truncated to judge what is there", "judge what is there"))),
    busy(task) && working(task, `Progress of ${clip.name}`, ["following", "judging", "writing"], () => ask(`tasks/${task.id}/cancel`)),
    !busy(task) && h("div.row", {},
      task.state === "cancelled" ? again("Judge it again") : task.error?.includes("--allow-truncated") && again("Judge the incomplete clip", "?truncated=1"),
      h("button", { type: "button", "data-key": "drop", onclick: () => remove(clip) }, "Remove")),
  ];
}

function actions(clip) {
  const file = (name) => `clips/${clip.id}/${name}`;
  return [h("div.row", {},
    h("a.button.main", { href: `${file("report.html")}?save=1`, download: "", "data-key": "save" }, "Save the report"),
    h("a.button", { href: file("report.html"), target: "_blank", rel: "noopener", "data-key": "tab" }, "Open it in a tab"),
    h("details.more", {}, h("summary", { "data-key": "more" }, "Data"), h("ul", {}, ["verdict.json", "frames.csv", "curves.csv", "emotions.csv"].map((name) =>
      h("li", {}, h("a", { href: `${file(name)}?save=1`, download: "" }, name))))))];
}

function overlay(clip) {
  const task = clip.overlay, path = `clips/${clip.id}/overlay.mp4`;
  const make = () => ask(`clips/${clip.id}/overlay`);
  if (!task || task.state === "cancelled" || task.state === "failed") {
    return [h("div.row", {}, h("button", { type: "button", "data-key": "overlay", onclick: make }, "Make the overlay video"),
      task?.error ? h("span", {}, task.error) : h("span.soft.small", {}, "The clip with points, phases and the running P(genuine)."))];
  }
  if (busy(task)) return [h("h3", {}, "The overlay video"), working(task, "Progress of the overlay video", ["following", "drawing", "writing"], () => ask(`tasks/${task.id}/cancel`))];
  return [
    h("h2", {}, "The overlay video"),
    h("video", { src: path, controls: true, preload: "metadata", playsinline: true, "aria-label": `Overlay video of ${clip.name}` }),
    h("div.row", {}, h("a.button", { href: `${path}?save=1`, download: "", "data-key": "overlay-save" }, "Save the overlay video")),
  ];
}

// --- input --------------------------------------------------------------------------------------

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  upload([...at("file").files]);
  at("file").value = "";
});
camera(at("record"), (file) => upload([file]));
let over = 0;
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++over > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --over > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  document.body.classList.remove("dragging");
  upload([...event.dataTransfer.files]);
});
poll();
