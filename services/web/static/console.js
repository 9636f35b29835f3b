// The live console of a job's build, or of the build of an image: reads the growing text as it comes and appends it in blocks, so that 100,000 lines stay light.
"use strict";

const BLOCK = 500;          // lines in one block; the browser lays out only the blocks in sight
const PER_FRAME = 4000;     // lines appended between two frames
const MOST = 200000;        // lines kept; older ones are in the raw text

const log = document.getElementById("console");
const buttons = Object.fromEntries(["follow", "times", "wrap", "failure"].map((name) => [name, document.getElementById(name)]));
const progress = document.getElementById("progress");
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const pending = [];         // whole lines not shown yet
let count = 0;              // lines shown, also those dropped again
let kept = 0;
let block = null;
let part = "";              // of a line that has not ended yet
let following = true;
let touched = 0;            // until when a scroll is a person's
let state = "reading";
let scheduled = false;
let firstFailure = 0;
let inFailure = false;
let inRecap = false;

const wanted = () => Number((location.hash.match(/^#L(\d+)/) || [])[1] || 0);

function show(line, number) {
  const text = line.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").replace(/\r/g, "").replace(/[&<>]/g, (character) => escapes[character]);
  const parts = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})\d* \| (.*)$/.exec(text);
  const rest = parts ? parts[3] : text;
  let kind = "";
  let shown = rest;
  const banner = /^(PLAY|TASK|HANDLER|PLAY RECAP)( \[|$)/.exec(rest);
  const phase = banner ? null : /^(?:PRE-RUN|RUN|POST-RUN|CLEANUP) (?:begins|ends: ([a-z ]+?) after)/.exec(rest);
  const hook = /^dib-run-parts Running \S*\/[a-z-]+\.d\/\S+$/.test(rest);      // of diskimage-builder, when an image is built
  const broken = /^Exit code: [1-9]/.test(rest);
  const host = banner || phase || hook || broken ? null : /^([^\s|]{1,64}) \| (.*)$/.exec(rest);
  if (banner) {
    kind = banner[1].startsWith("PLAY") ? "play" : "task";
    inFailure = false;
    inRecap = banner[1] === "PLAY RECAP";
  } else if (phase) {
    kind = phase[1] && phase[1] !== "ok" ? "phase failed" : "phase";
    inFailure = inRecap = false;
  } else if (hook) {
    kind = "task";
  } else if (broken) {
    kind = "failed";
    firstFailure ||= number;
    buttons.failure.hidden = false;
  } else if (host) {
    const result = inRecap ? null : /^(ok|changed|skipped|FAILED \(ignored\)|FAILED|UNREACHABLE)(?=: |$| \(the result is hidden)/.exec(host[2]);
    shown = `<b>${host[1]}</b> ${host[2]}`;
    if (result) {
      kind = { ok: "ok", changed: "changed", skipped: "skipped", "FAILED (ignored)": "ignored" }[result[1]] || "failed";
      inFailure = kind === "failed";
      if (inFailure && !firstFailure) {
        firstFailure = number;
        buttons.failure.hidden = false;
      }
    } else if (inRecap && /(failed|failures|unreachable): [1-9]/.test(host[2])) kind = "why";
    else if (inFailure) kind = "why";
  }
  const time = parts ? `<time title="${parts[1]} UTC">${parts[2]}</time>` : "";
  return `<div id="L${number}" class="${kind}"><a href="#L${number}">${number}</a>${time}<span>${shown}</span></div>`;
}

function append(lines) {
  for (let start = 0; start < lines.length;) {
    if (!block || block.childElementCount >= BLOCK) {
      block = document.createElement("div");
      block.className = "block";
      log.append(block);
    }
    const some = lines.slice(start, start + BLOCK - block.childElementCount);
    block.insertAdjacentHTML("beforeend", some.map((line, index) => show(line, count + index + 1)).join(""));
    start += some.length;
    count += some.length;
    kept += some.length;
  }
  while (kept > MOST) {
    kept -= log.querySelector(".block").childElementCount;
    log.querySelector(".block").remove();
  }
}

function frame() {
  if (!scheduled) return;
  scheduled = false;
  const target = wanted();
  const before = count;
  append(pending.splice(0, PER_FRAME));
  if (target && before < target && count >= target) go(target);
  else if (following) toEnd();
  say();
  if (pending.length) schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
  setTimeout(frame, 1000);  // a tab in the background draws no frames, and is to be up to date when somebody turns to it
}

function say() {
  const lines = `${count.toLocaleString()} lines`;
  const dropped = count > kept ? `, the last ${kept.toLocaleString()} here` : "";
  progress.textContent = pending.length ? `${lines}, reading` : state === "ended" ? lines + dropped : state === "lost" ? `${lines}, connection lost` : count ? `${lines}${dropped}, live` : "waiting for the first line";
  progress.className = state;
}

function toEnd() { log.scrollTop = log.scrollHeight; }

function follow(on) {
  following = on;
  buttons.follow.setAttribute("aria-pressed", String(on));
  if (on) toEnd();
}

function go(number) {
  for (const line of log.querySelectorAll(".target")) line.classList.remove("target");
  const line = document.getElementById(`L${number}`);
  if (!line) return;
  follow(false);
  line.classList.add("target");
  line.scrollIntoView({ block: "center" });
}

async function read() {
  const decoder = new TextDecoder();
  let offset = 0;
  for (let wait = 250; state !== "ended";) {
    try {
      const answer = await fetch(`${log.dataset.text}?offset=${offset}`);
      if (answer.status === 204) {
        state = "ended";
        break;
      }
      if (!answer.ok) throw new Error(answer.statusText);
      state = "reading";
      for (const reader = answer.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        wait = 250;
        offset += value.length;
        const lines = (part + decoder.decode(value, { stream: true })).split("\n");
        part = lines.pop();
        for (const line of lines) pending.push(line);
        schedule();
      }
    } catch {
      state = "lost";
      wait = Math.min(wait * 2, 15000);
    }
    schedule();
    await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
  if (part) pending.push(part);
  schedule();
  const answer = await fetch(log.dataset.page);
  const badge = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".heading .badge");
  if (badge) document.getElementById("result").replaceChildren(badge);
}

function toggle(name, initially) {
  const set = (on) => {
    buttons[name].setAttribute("aria-pressed", String(on));
    log.classList.toggle(`no-${name}`, !on);
    if (following) toEnd();
  };
  const known = localStorage.getItem(`console-${name}`);
  set(known === null ? initially : known === "true");
  buttons[name].addEventListener("click", () => {
    const on = buttons[name].getAttribute("aria-pressed") !== "true";
    localStorage.setItem(`console-${name}`, String(on));
    set(on);
  });
}

for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  log.addEventListener(kind, () => { touched = performance.now() + 800; }, { passive: true });
}
log.addEventListener("scroll", () => {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
  if (performance.now() < touched && atEnd !== following) follow(atEnd);
}, { passive: true });
new ResizeObserver(() => { if (following) toEnd(); }).observe(log);
buttons.follow.addEventListener("click", () => follow(!following));
buttons.failure.addEventListener("click", () => {
  history.replaceState(null, "", `#L${firstFailure}`);
  go(firstFailure);
});
window.addEventListener("hashchange", () => go(wanted()));
toggle("times", window.innerWidth > 700);
toggle("wrap", true);
if (wanted()) follow(false);
say();
read();
