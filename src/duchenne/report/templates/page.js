// Synchronizes video, points, curves and emotions. Everything is in the page; nothing is fetched.
(() => {
  "use strict";
  const find = (what, where = document) => where.querySelector(what);
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const root = document.documentElement, data = JSON.parse(find("#data").textContent);
  root.classList.add("js");

  const { first, last, times, lines, width, height } = data;
  const bytes = Uint8Array.from(atob(data.points), (c) => c.charCodeAt(0));
  const points = new Int16Array(bytes.buffer);
  const player = find(".player"), video = find(".screen video"), canvas = find(".screen canvas");
  const slider = find("#time"), play = find("#play"), speed = find("#speed"), dots = find("#points");
  const seconds = (t) => `${t.toFixed(2)}\u00a0s`;
  let now = first, playing = false, hasVideo = Boolean(video), moved = false, stamp = 0;

  // --- values at a time

  const frameAt = (t) => {
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= t + 1e-4) low = middle; else high = middle - 1;
    }
    return low;
  };
  const plots = all(".plot").map((plot) => {
    const path = find("path.line", plot), runs = [];
    for (const run of (path ? path.getAttribute("d") : "").split("M").slice(1)) {
      runs.push(run.replace("h0", "").trim().split(" ").map(Number));
    }
    const { low, high, unit } = plot.dataset;
    return { plot, runs, low: +low, high: +high, unit, out: find(".now", plot.parentElement) };
  });
  const cells = all(".lane-plot").map((lane) => ({
    name: lane.dataset.name, out: find(".now", lane.parentElement),
    cells: all(".cell", lane).map((c) => ["x", "width", "opacity"].map((a) => parseFloat(c.getAttribute(a)))),
  }));
  const share = (t) => (100 * (t - data.lo)) / data.span;
  const value = ({ runs, low, high }, t) => {
    const x = 10 * share(t), near = 1000 * 0.03 / data.span + 0.7;
    for (const run of runs) {
      if (x < run[0] - near || x > run[run.length - 2] + near) continue;
      let i = 0;
      while (i + 3 < run.length && run[i + 2] <= x) i += 2;
      const more = i + 3 < run.length ? Math.min(1, Math.max(0, (x - run[i]) / (run[i + 2] - run[i] || 1))) : 0;
      const y = more ? run[i + 1] + more * (run[i + 3] - run[i + 1]) : run[i + 1];
      return high - (y / data.height) * (high - low);
    }
    return null;
  };
  const format = (v, unit) => {
    if (v === null) return "–";
    const size = Math.abs(v), digits = unit === "°" || unit === "deg" || size >= 10 ? 1 : 2;
    return v.toFixed(digits).replace("-", "−") + (unit === "deg" || unit === "°" ? "°" : "");
  };
  const likely = (lane, t) => {
    const x = share(t), cell = lane.cells.find(([a, w]) => x >= a && x < a + w);
    return cell ? cell[2] : null;
  };
  const band = (t) => (data.bands.find((b) => t >= b.start && t < b.end) || {}).kind;

  // --- drawing

  const draw = (i) => {
    if (!canvas) return;
    const box = canvas.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
    const wide = Math.max(1, Math.round(box.width * dense)), high = Math.max(1, Math.round(box.height * dense));
    if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
    const pen = canvas.getContext("2d"), scale = wide / width / 8, at = [];
    pen.clearRect(0, 0, wide, high);
    if (!dots.checked && hasVideo) return;
    for (let k = 0; k < 68; k++) {
      const x = points[136 * i + 2 * k], y = points[136 * i + 2 * k + 1];
      at.push(x === -32768 ? null : [x * scale, y * scale]);
    }
    const bare = getComputedStyle(canvas);
    const trace = (color, thick) => {
      pen.strokeStyle = color; pen.lineWidth = thick * dense; pen.lineJoin = pen.lineCap = "round";
      for (const [from, to, closed] of lines) {
        const run = at.slice(from, to + 1);
        if (run.some((p) => !p)) continue;
        pen.beginPath(); run.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        if (closed) pen.closePath();
        pen.stroke();
      }
    };
    if (hasVideo) trace("rgba(0,0,0,.42)", 3);
    trace(hasVideo ? "rgba(255,255,255,.7)" : bare.color, hasVideo ? 1 : 1.6);
    for (const [color, radius] of hasVideo ? [["rgba(0,0,0,.5)", 2.9], ["#ffe14d", 1.9]] : [[bare.color, 2.2]]) {
      pen.fillStyle = color;
      for (const p of at) if (p) { pen.beginPath(); pen.arc(p[0], p[1], radius * dense, 0, 7); pen.fill(); }
    }
  };
  const read = (t) => {
    for (const p of plots) if (p.out) p.out.textContent = format(value(p, t), p.unit);
    let best = null;
    for (const lane of cells) {
      const p = likely(lane, t);
      if (lane.out) lane.out.textContent = p === null ? "–" : `${Math.round(100 * p)}%`;
      if (p !== null && (!best || p > best[1])) best = [lane.name, p];
    }
    return best;
  };
  const line = (kind, t) => {
    const x = `${share(t)}%`, off = t === null || share(t) < -0.01 || share(t) > 100.01;
    for (const mark of all(`.${kind}`)) {
      mark.setAttribute("x1", x); mark.setAttribute("x2", x); mark.style.display = off ? "none" : "inline";
    }
  };
  const show = (t) => {
    now = Math.min(last, Math.max(first, t));
    const i = frameAt(now), best = read(now), phase = band(now);
    draw(i); line("playhead", now);
    slider.value = now;
    find("#r-time").textContent = seconds(now);
    find("#r-frame").textContent = `${(i + 1).toLocaleString("en-US")} of ${times.length.toLocaleString("en-US")}`;
    find("#r-phase").textContent = phase || "at rest, or no expression found";
    if (find("#r-shows")) find("#r-shows").textContent = best ? `${best[0]} ${Math.round(100 * best[1])}%` : "not seen";
    const parts = [`${now.toFixed(2)} seconds`, phase, best && `${best[0]} ${Math.round(100 * best[1])} percent`];
    slider.setAttribute("aria-valuetext", parts.filter(Boolean).join(", "));
    Object.assign(document.body.dataset, { time: now.toFixed(3), frame: i, playing });
  };

  // --- playback

  const seek = (t) => {
    moved = true;
    show(t);
    if (hasVideo) video.currentTime = Math.max(0, times[frameAt(now)] - first + 0.002); // just inside the frame
  };
  const step = (by) => { pause(); seek(times[Math.min(times.length - 1, Math.max(0, frameAt(now) + by))]); };
  const tick = (time, facts) => {
    if (!playing) return;
    if (hasVideo) show(first + (facts ? facts.mediaTime : video.currentTime));
    else { show(now + ((time - stamp) / 1000) * speed.value); stamp = time; }
    if (hasVideo ? video.ended : now >= last) return pause();
    again();
  };
  const again = () => hasVideo && video.requestVideoFrameCallback
    ? video.requestVideoFrameCallback(tick) : requestAnimationFrame(tick);
  const pause = () => {
    if (playing && hasVideo) { video.pause(); show(first + video.currentTime); }
    playing = false;
    play.textContent = "Play"; document.body.dataset.playing = "false";
  };
  const start = () => {
    if (!moved || now >= last - 0.02) seek(first);
    playing = true; stamp = performance.now();
    play.textContent = "Pause"; document.body.dataset.playing = "true";
    if (hasVideo) { video.playbackRate = +speed.value; video.play().catch(pause); }
    again();
  };
  const jump = (name) => {
    const places = data.moments.filter((m) => m.name === name).map((m) => m.time);
    if (!places.length) return;
    pause(); seek(places.find((t) => t > now + 0.005) ?? places[0]);
  };

  // --- input

  const keys = {
    " ": () => (playing ? pause() : start()), ArrowLeft: (e) => step(e.shiftKey ? -10 : -1),
    ArrowRight: (e) => step(e.shiftKey ? 10 : 1), Home: () => { pause(); seek(first); }, End: () => { pause(); seek(last); },
    o: () => jump("onset"), a: () => jump("apex"), f: () => jump("offset"), e: () => jump("end"),
    p: () => { dots.checked = !dots.checked; show(now); },
  };
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, on = event.target;
    const free = on === document.body || player.contains(on);
    if (!free || !find("#keys").checked || event.ctrlKey || event.metaKey || event.altKey || !(key in keys)) return;
    if (key === " " && on.matches("button, input[type=checkbox], summary, a, select")) return;
    if (on.matches("select") || ((key === "Home" || key === "End") && on === document.body)) return;
    event.preventDefault(); keys[key](event);
  });
  play.addEventListener("click", () => (playing ? pause() : start()));
  find("#back").addEventListener("click", () => step(-1));
  find("#forth").addEventListener("click", () => step(1));
  slider.addEventListener("input", () => { pause(); seek(+slider.value); });
  speed.addEventListener("change", () => { if (hasVideo) video.playbackRate = +speed.value; });
  dots.addEventListener("change", () => show(now));
  for (const button of all("[data-jump]")) button.addEventListener("click", () => { pause(); seek(+button.dataset.jump); });
  for (const plot of all(".plot, .lane-plot")) {
    const at = (event) => {
      const box = plot.getBoundingClientRect();
      return data.lo + (data.span * (event.clientX - box.left)) / box.width;
    };
    plot.addEventListener("pointerdown", (event) => { pause(); seek(at(event)); plot.setPointerCapture(event.pointerId); });
    plot.addEventListener("pointermove", (event) => {
      if (event.buttons) seek(at(event));
      else { line("cursor", at(event)); read(at(event)); }
    });
    plot.addEventListener("pointerleave", () => { line("cursor", null); read(now); });
  }
  const places = () => {
    const found = /[#&]t=([0-9.]+)/.exec(location.hash);
    if (found && Number.isFinite(+found[1])) { pause(); seek(+found[1]); return true; }
    return false;
  };
  window.addEventListener("hashchange", places);
  window.addEventListener("resize", () => draw(frameAt(now)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(frameAt(now)));
  const videoFailed = () => {
    const [head, body] = video.src.split(",");
    if (head.startsWith("data:")) { // some browsers play blobs but not data URLs
      const raw = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([raw], { type: "video/mp4" }));
    } else { hasVideo = false; player.classList.add("bare"); show(now); }
  };
  if (hasVideo) {
    video.controls = false;
    video.addEventListener("error", videoFailed);
    if (video.error) videoFailed();
    video.addEventListener("ended", pause);
  }
  if (!places()) { seek(data.opens); moved = false; }
})();
