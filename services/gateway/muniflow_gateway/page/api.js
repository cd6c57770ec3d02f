// The gateway's API. A problem (RFC 9457) becomes an ApiProblem, told in the reader's language.

import { h } from "./dom.js";
import { said } from "./said.js";
import { known, t } from "./texts.js";

export class ApiProblem extends Error {
  constructor(status, body) {
    super(known("problem", body.reason) ?? t("problem.other"));
    this.status = status;
    this.faults = body.faults || [];
    this.detail = this.faults.length ? "" : body.detail || body.title || "";
  }
}

// What went wrong, as elements: the reason, and what the gateway says of it.
export function told(problem) {
  if (!(problem instanceof ApiProblem)) return [h("span", {}, t("problem.silent"))];
  return [h("span", {}, problem.message), problem.detail ? [" ", said(problem.detail)] : null];
}

// The faults of a request or a batch, each by its place.
export function faultItems(faults) {
  return faults.map((fault) => h("li", {}, h("code", {}, fault.place), " ", said(fault.problem)));
}

const RETRY_MS = 2000;

let askForKey = null;

// What to do when a key is needed: a function that resolves once there is one.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export async function call(method, path, body) {
  const options = { method, headers: { Accept: "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  if (answer.status === 401 && askForKey && path !== "/v1/session") {
    await askForKey();
    return call(method, path, body);
  }
  const content = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiProblem(answer.status, content || {});
  return content;
}

export const get = (path) => call("GET", path);

export function batchPath(id) {
  return `/v1/batches/${encodeURIComponent(id)}`;
}

// Send a form; tells how far it is (fetch cannot). Resolves with the batch.
export function upload(form, idempotencyKey, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/batches");
    request.responseType = "json";
    request.setRequestHeader("Idempotency-Key", idempotencyKey);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded, event.total);
    });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(new ApiProblem(request.status, request.response || {}));
    });
    request.addEventListener("error", () => reject(new ApiProblem(0, { reason: "lost" })));
    request.send(form);
  });
}

// Follow a batch; returns a function that ends it.
export function follow(id, onBatch) {
  let source;
  let timer = 0;
  const open = () => {
    source = new EventSource(`${batchPath(id)}/events`);
    source.addEventListener("progress", (event) => onBatch(JSON.parse(event.data)));
    source.addEventListener("end", (event) => {
      source.close();
      onBatch(JSON.parse(event.data));
    });
    // A browser tries again by itself only when a connection breaks, never when it was refused.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

// Call `work` now and then every `pauseMs` while the page is looked at; returns a function that ends it.
export function poll(work, pauseMs) {
  let timer = 0;
  let ended = false;
  const turn = async () => {
    clearTimeout(timer);
    if (ended) return;
    if (!document.hidden) await work();
    if (!ended) timer = setTimeout(turn, pauseMs);
  };
  const look = () => document.hidden || turn();
  document.addEventListener("visibilitychange", look);
  turn();
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
