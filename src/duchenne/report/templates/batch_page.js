// The table of a batch: sorted, searched and drawn in steps. Everything but the thumbnails is in the page.
(() => {
  "use strict";
  const find = (what, where = document) => where.querySelector(what);
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const { columns, numbers, words, keys, rows } = JSON.parse(find("#data").textContent);
  const marks = { genuine: "●", posed: "○", abstained: "–", failed: "×" };
  const at = Object.fromEntries(keys.map((key, i) => [key, i]));
  const table = find(".clips"), body = find("tbody", table), heads = all("th[data-key]", table);
  const seek = find("#find"), more = find("#more"), status = find("#shown"), pictured = Boolean(find(".c-thumb", table));
  const titles = Object.fromEntries(heads.map((head) => [head.dataset.key, head.textContent]));
  const numeric = new Set(numbers), STEP = 100;
  let shown = [], drawn = 0, sorted = null, up = true;
  document.documentElement.classList.add("js");

  // --- a row

  const make = (name, kind, text) => {
    const e = document.createElement(name);
    if (kind) e.className = kind;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const draw = (name, facts) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(facts)) e.setAttribute(key, value);
    return e;
  };
  const percent = (v) => `${Math.round(100 * v)}%`;
  const scale = (p, kind) => {
    const svg = draw("svg", { class: "mini", width: 56, height: 12, "aria-hidden": true });
    svg.append(draw("line", { class: "base", x1: 0, x2: 56, y1: 6, y2: 6 }),
      draw("line", { class: "base", x1: 28, x2: 28, y1: 2, y2: 10 }),
      draw("circle", { class: `dot-${kind}`, cx: 4 + 48 * p, cy: 6, r: 4 }));
    return svg;
  };
  const fill = {
    verdict(cell, kind) {
      const label = make("span", `is-${kind}`), mark = make("span", "", marks[kind]);
      mark.setAttribute("aria-hidden", "true");
      label.append(mark, ` ${words[kind]}`);
      cell.append(label);
    },
    p(cell, p, row) { cell.append(...(p === null ? ["–"] : [scale(p, row[at.verdict]), p.toFixed(2)])); },
    emotion(cell, name, row) {
      cell.append(name ?? "–");
      if (row[at.sure] !== null) cell.append(" ", make("span", "soft", percent(row[at.sure])));
    },
    rise: (cell, v) => cell.append(v === null ? "–" : `${v.toFixed(2)} s`),
    seconds: (cell, v) => cell.append(v === null ? "–" : `${v.toFixed(2)} s`),
    coverage: (cell, v) => cell.append(v === null ? "–" : percent(v)),
    note(cell, v) {
      const label = make("span", "", v);
      label.title = v; cell.append(label);
    },
  };
  const named = new Set(["face", "judged", "rise", "seconds", "coverage", "listed"]);
  const line = (row) => {
    const tr = make("tr"), failed = row[at.verdict] === "failed";
    if (pictured) {
      const cell = make("td", "c-thumb");
      if (row[at.thumb]) {
        const image = make("img");
        Object.assign(image, { loading: "lazy", decoding: "async", alt: "", height: 60, src: row[at.thumb] });
        cell.append(image);
      }
      tr.append(cell);
    }
    const head = make("th", "c-clip"), name = make("bdi");
    if (row[at.folder]) name.append(make("span", "folder", row[at.folder]));
    name.append(row[at.clip]);
    head.scope = "row";
    if (row[at.report]) {
      const link = make("a");
      link.href = row[at.report]; link.append(name); head.append(link);
    } else head.append(name);
    if (row[at.stretch]) head.append(" ", make("span", "soft", row[at.stretch]));
    tr.append(head);
    for (const key of columns) {
      if (key === "clip" || (failed && key !== "face" && key !== "verdict")) continue;
      const value = row[at[key]], cell = make("td", `c-${key}${numeric.has(key) ? " num" : ""}`);
      if (named.has(key)) cell.dataset.title = titles[key].toLowerCase();
      (fill[key] || ((c, v) => c.append(v ?? "–")))(cell, value, row);
      tr.append(cell);
    }
    if (failed) {
      const cell = make("td", "c-fails", row[at.note]);
      cell.colSpan = columns.length - 2 - columns.includes("face"); tr.append(cell);
    }
    for (const cell of tr.children) cell.setAttribute("role", cell === head ? "rowheader" : "cell");
    tr.setAttribute("role", "row");
    return tr;
  };

  // --- filter and order

  const plain = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const order = (key) => {
    const i = at[key];
    const whole = key === "clip" ? (row) => row[at.folder] + row[i] : (row) => row[i];
    const compare = numeric.has(key) ? (a, b) => a[i] - b[i] : (a, b) => plain.compare(whole(a), whole(b));
    const none = (v) => v === null || v === "";
    return (a, b) => { // missing values come last in both orders
      if (none(a[i]) || none(b[i])) return none(a[i]) - none(b[i]);
      return up ? compare(a, b) : compare(b, a);
    };
  };
  const texts = rows.map(() => null);
  const text = (i) => (texts[i] ??= [rows[i][at.folder] + rows[i][at.clip], words[rows[i][at.verdict]],
    ...["emotion", "listed", "note"].map((key) => rows[i][at[key]])].join("\n").toLowerCase());
  const extend = (to) => {
    const part = document.createDocumentFragment();
    for (; drawn < Math.min(to, shown.length); drawn++) part.append(line(shown[drawn]));
    body.append(part);
    more.parentElement.hidden = drawn >= shown.length;
    const count = (n) => n.toLocaleString("en-US");
    status.textContent = !shown.length ? "No line matches; clear the search or show more kinds."
      : `${count(shown.length)} of ${count(rows.length)} lines${shown.length > drawn ? `, the first ${count(drawn)} drawn` : ""}`;
  };
  const refresh = () => {
    const query = seek.value.trim().toLowerCase();
    const kinds = new Set(all("[data-kind]").filter((box) => box.checked).map((box) => box.dataset.kind));
    shown = rows.filter((row, i) => kinds.has(row[at.verdict]) && (!query || text(i).includes(query)));
    if (sorted) shown.sort(order(sorted));
    body.replaceChildren();
    drawn = 0;
    extend(STEP);
  };

  // --- input

  find("thead", table).addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th[data-key]");
    if (!head) return;
    up = sorted === head.dataset.key ? !up : head.dataset.key !== "p";
    sorted = head.dataset.key;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    refresh();
  });
  let waiting = 0;
  seek.addEventListener("input", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(refresh); });
  find(".tools").addEventListener("change", (event) => { if (event.target.matches("[data-kind]")) refresh(); });
  more.addEventListener("click", () => extend(drawn + STEP));
  body.addEventListener("error", (event) => event.target.remove(), true); // a missing thumbnail
  new IntersectionObserver((seen) => {
    if (seen.some((each) => each.isIntersecting) && drawn < shown.length) extend(drawn + STEP);
  }, { rootMargin: "800px" }).observe(more);
  window.addEventListener("beforeprint", () => extend(2000));
  find("#group")?.addEventListener("change", (event) => {
    for (const way of all(".way")) way.classList.toggle("first", way.dataset.key === event.target.value);
  });
  refresh();
})();
