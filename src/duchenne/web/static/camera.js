// The webcam: a short recording without sound, passed on as a file. The camera is off whenever the dialog is closed.

const MAX_SECONDS = 20;
const KINDS = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];

const dialog = document.getElementById("camera");
const [preview, clock, error, go] = ["preview", "clock", "camera-error", "camera-go"].map((id) => document.getElementById(id));
const shut = document.getElementById("camera-close");
let stream = null, recorder = null, timer = 0, opening = 0;

function showError(text) {
  error.textContent = text;
  error.hidden = !text;
}

const ERRORS = {
  NotAllowedError: "The browser may not use the webcam; allow it in the address bar and try again.",
  NotFoundError: "No webcam was found; connect one, or choose a clip instead.",
  NotReadableError: "The webcam is in use by another program; close that one and try again.",
};

async function open() {
  const turn = ++opening;
  showError("");
  go.textContent = "Start recording";
  shut.textContent = "Close";
  go.disabled = true;
  dialog.showModal();
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    showError("This browser does not allow a webcam at this address; open the page at 127.0.0.1, or choose a clip instead.");
    return;
  }
  try {
    const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
    const media = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    if (turn !== opening || !dialog.open) {
      media.getTracks().forEach((track) => track.stop());
      return;
    }
    stream = media;
    preview.srcObject = stream;
    await preview.play();
    go.disabled = false;
    go.focus();
  } catch (cause) {
    if (dialog.open) showError(ERRORS[cause.name] ?? `The webcam cannot be used (${cause.name}).`);
  }
}

function start(done) {
  const parts = [];
  const kind = KINDS.find((each) => MediaRecorder.isTypeSupported(each));
  recorder = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 8e6 });
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    const type = recorder.mimeType, complete = recorder.complete;
    recorder = null;
    if (!complete) return;
    const now = new Date().toLocaleString("sv-SE").replaceAll(":", ".");
    dialog.close();
    done(new File(parts, `webcam ${now}.${type.includes("mp4") ? "mp4" : "webm"}`, { type }));
  };
  recorder.start();
  const began = performance.now();
  const tick = () => {
    const passed = (performance.now() - began) / 1000;
    clock.textContent = `${passed.toFixed(1)} s`;
    if (passed >= MAX_SECONDS) stop();
  };
  tick();
  timer = setInterval(tick, 100);
  clock.hidden = false;
  go.textContent = "Stop and judge";
  shut.textContent = "Discard";
}

function stop() {
  if (recorder?.state !== "recording") return;
  recorder.complete = true;
  recorder.stop();
}

function off() {
  opening++;
  clearInterval(timer);
  clock.hidden = true;
  if (recorder?.state === "recording") recorder.stop();
  stream?.getTracks().forEach((track) => track.stop());
  stream = preview.srcObject = null;
}

/** Let `button` open the camera; `done` gets the recorded file. */
export function camera(button, done) {
  button.addEventListener("click", open);
  go.addEventListener("click", () => (recorder ? stop() : start(done)));
  shut.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", off);
}
