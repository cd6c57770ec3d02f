// Start, and which view is shown: `#/` the overview, `#/batch/<id>` one batch, `#/stage/<name>` one stage.

import { ApiProblem, call, get, onKeyNeeded, poll, told } from "./api.js";
import { BatchView } from "./batch.js";
import { BatchesCard } from "./batches.js";
import { ICONS, h, icon, replace, setText } from "./dom.js";
import { SendCard } from "./form.js";
import { languageChoice, t } from "./texts.js";
import { opName } from "./format.js";
import { saidWhole } from "./said.js";
import { StageView } from "./stage.js";
import { StagesCard } from "./stages.js";
import { theme } from "./theme.js";

const POLL_MS = 1500;
const STAGE_MS = 5000;
const main = document.getElementById("main");
const health = document.getElementById("health");
let leave = () => {};
let overview = null;

function route() {
  leave();
  const [, kind, name] = /^#\/(batch|stage)\/(.+)$/.exec(location.hash) ?? [];
  const show = { batch: showBatch, stage: showStage }[kind] ?? showOverview;
  leave = show(name && decodeURIComponent(name));
}

function open(view, title) {
  replace(main, view.element);
  entitle(title);
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function entitle(title) {
  document.title = `${title} · muniflow`;
}

function showStage(name) {
  const view = new StageView(name, overview.summaries.get(name) ?? "");
  open(view, opName(name));
  return poll(() => Promise.all([check(), view.update()]), STAGE_MS);
}

function showBatch(id) {
  const view = new BatchView(id, entitle);
  open(view, id);
  const end = poll(check, 5000);
  return () => { view.leave(); end(); };
}

function showOverview() {
  document.title = t("page.title");
  replace(main, h("h1", { class: "unseen" }, t("page.title")), h("div", { class: "columns" },
    overview.send.element, h("div", { class: "right" }, overview.stages.element, overview.batches.element)));
  return poll(async () => {
    await check();
    await Promise.allSettled([overview.stages.update(), overview.batches.update()]);
  }, POLL_MS);
}

// Says in the head whether batches can be taken.
async function check() {
  const problem = await notReady();
  health.className = `health ${problem ? "bad" : "good"}`;
  const text = problem?.message ?? t("health.good");
  setText(health, text);
  overview.send.away(problem);
  health.title = (problem && await saidWhole(problem.detail)) || text;
}

// Why no batch can be sent now; null: it can.
async function notReady() {
  try {
    const answer = await fetch("/readyz", { cache: "no-store" });
    return answer.ok ? null : new ApiProblem(answer.status, await answer.json());
  } catch {
    return new ApiProblem(0, { reason: "silent" });
  }
}

// One dialog, whoever asks, until there is a key.
let asking = null;
function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("sign-in");
    const key = document.getElementById("key");
    const problem = document.getElementById("key-problem");
    dialog.oncancel = (event) => event.preventDefault();
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await call("POST", "/v1/session", { key: key.value.trim() });
        key.value = "";
        dialog.close();
        asking = null;
        resolve();
      } catch (refused) {
        replace(problem, told(refused)[0]);
        key.focus();
      }
    };
    dialog.showModal();
  });
  return asking;
}

async function signedIn() {
  for (;;) {
    try {
      return await get("/v1/session");
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      await askForKey();
    }
  }
}

async function start() {
  theme(document.getElementById("theme"));
  languageChoice(document.getElementById("language"));
  onKeyNeeded(askForKey);
  try {
    const session = await signedIn();
    const signOut = document.getElementById("sign-out");
    signOut.hidden = !session.needs_key;
    signOut.onclick = async () => { await call("DELETE", "/v1/session"); location.reload(); };
    const { operations, formats } = await get("/v1/operations");
    overview = {
      send: new SendCard(operations, formats, (batch) => { location.hash = `#/batch/${encodeURIComponent(batch.batch_id)}`; }),
      summaries: new Map(operations.map((operation) => [operation.name, operation.summary])),
      stages: new StagesCard(),
      batches: new BatchesCard(),
    };
  } catch (problem) {
    replace(main, h("div", { class: "card batch-head" }, h("h1", {}, t("page.silent")), h("p", { class: "problem" }, told(problem)),
      h("p", { class: "actions" }, h("button", { type: "button", onclick: () => location.reload() }, icon(ICONS.replay), t("page.again")))));
    return;
  }
  // "Skip to the content" is no other view: drawn again, the page would lose the focus that it just moved.
  addEventListener("hashchange", () => location.hash === "#main" || route());
  route();
}

start();
