// Keeps a page up to date: takes its new content from server-sent events, and lets times tick. No page needs it to be read.
"use strict";

function words(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}h ${pad(minutes)}m ${pad(rest)}s` : minutes ? `${minutes}m ${pad(rest)}s` : `${pad(rest)}s`;
}

const relative = new Intl.RelativeTimeFormat(navigator.language, { numeric: "auto", style: "short" });

function ago(seconds) {
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  }
  return "just now";
}

function tick() {
  const now = Date.now();
  const since = (text) => (now - Date.parse(text)) / 1000;
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const text = ago(since(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
    element.title = new Date(element.dateTime).toLocaleString();
  }
  for (const element of document.querySelectorAll("[data-since]")) element.textContent = words(since(element.dataset.since));
  for (const element of document.querySelectorAll("[data-progress]")) element.value = since(element.dataset.progress);
}

// Makes `old` like `fresh` and touches only what differs, so that focus, selection, opened parts and scrolling stay.
function become(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh.cloneNode(true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  const keep = old.nodeName === "DETAILS" ? ["open"] : ["hidden"];
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !keep.includes(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value && !keep.includes(name)) old.setAttribute(name, value);
  }
  becomeChildren(old, fresh);
}

function becomeChildren(old, fresh) {
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let here = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id && known.get(child.id);
    if (same) {
      if (same !== here) old.insertBefore(same, here);
      else here = here.nextSibling;
      become(same, child);
    } else if (here && !here.id && !child.id) {
      const next = here.nextSibling;
      become(here, child);
      here = next;
    } else {
      old.insertBefore(child.cloneNode(true), here);
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

function filter() {
  const input = document.getElementById("filter");
  if (!input) return;
  const wanted = input.value.trim().toLowerCase().split(/\s+/);
  const items = [...document.querySelectorAll(".item")];
  for (const item of items) item.hidden = !wanted.every((word) => item.dataset.search.includes(word));
  for (const pipeline of document.querySelectorAll(".pipeline")) pipeline.hidden = !pipeline.querySelector(".item:not([hidden])");
  const nothing = document.querySelector(".nothing");
  if (nothing) nothing.hidden = !items.length || items.some((item) => !item.hidden);
}

function listen(live) {
  const source = new EventSource(live.dataset.events);
  const connection = document.getElementById("connection");
  let shown = null;
  source.onopen = () => { connection.hidden = true; };
  source.onerror = () => {
    connection.textContent = "connection lost, trying again";
    connection.hidden = false;
  };
  source.onmessage = (message) => {
    if (message.data === shown) return;
    shown = message.data;
    const fresh = document.createElement("template");
    fresh.innerHTML = shown;
    becomeChildren(live, fresh.content);
    tick();
    filter();
  };
}

const live = document.getElementById("live");
if (live && live.dataset.events) listen(live);
const input = document.getElementById("filter");
if (input) {
  input.value = decodeURIComponent(location.hash.slice(1));
  input.addEventListener("input", () => {
    history.replaceState(null, "", input.value ? `#${encodeURIComponent(input.value)}` : location.pathname);
    filter();
  });
  filter();
}
tick();
setInterval(tick, 1000);
