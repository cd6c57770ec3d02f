// The form: drop images, build the route, see it as JSON, send.

import { faultItems, told, upload } from "./api.js";
import { Colours } from "./colours.js";
import { ICONS, h, icon, replace, say, setText, toast } from "./dom.js";
import { bytes } from "./format.js";
import { More } from "./more.js";
import { PlanLine } from "./plan.js";
import { RouteBuilder } from "./route.js";
import { t } from "./texts.js";

const TYPES = ["image/jpeg", "image/png", "image/webp", "image/heic", "image/heif", "image/avif", ".heic", ".avif"];
const SHOWN = 60;

export class SendCard {
  constructor(operations, formats, onSent) {
    this.onSent = onSent;
    this.lossless = new Set(formats.filter((format) => !format.takes_quality).map((format) => format.name));
    this.files = [];
    this.key = null;
    this.plan = new PlanLine();
    this.route = new RouteBuilder(operations, () => this.changed());
    this.input = h("input", {
      id: "files", type: "file", multiple: true, accept: TYPES.join(), class: "unseen",
      onchange: () => { this.add(this.input.files); this.input.value = ""; },
    });
    this.drop = h("label", { class: "drop", for: "files" }, icon(ICONS.upload),
      h("span", {}, h("b", {}, t("form.choose")), " ", t("form.drop")), h("small", {}, t("form.formats")));
    this.thumbs = h("ul", { class: "thumbs" });
    this.sum = h("p", { class: "small sum", role: "status" });
    this.name = h("input", { id: "name", type: "text", maxlength: "200", placeholder: t("form.nameExample"), oninput: () => this.changed() });
    this.municipality = h("input", { id: "municipality", type: "text", maxlength: "200", oninput: () => this.changed() });
    this.format = h("select", { id: "format", onchange: () => this.changed() },
      formats.map(({ name }) => h("option", { value: name }, name.toUpperCase())));
    this.quality = h("input", {
      id: "quality", type: "number", min: "1", max: "100", placeholder: t("form.standard"), oninput: () => this.changed(),
    });
    this.colours = new Colours(formats, () => this.changed());
    this.more = new More(() => this.changed());
    this.json = h("pre", { class: "json", tabindex: "0", "aria-label": t("form.jsonLabel"), translate: "no" });
    this.problems = h("div", { class: "problems", role: "alert", tabindex: "-1" });
    this.bar = h("progress", { class: "sending", max: 1, value: 0, hidden: true, "aria-label": t("form.progress") });
    this.send = h("button", { class: "primary", type: "submit", "aria-describedby": "why-not" }, t("form.send"));
    this.why = h("p", { id: "why-not", class: "problem small why", role: "status" });
    this.problem = null;
    this.element = this.layout();
    this.listen();
    this.changed();
  }

  layout() {
    return h(
      "section", { class: "card send", "aria-labelledby": "send-title" }, h("h2", { id: "send-title" }, t("form.title")),
      h("form", { onsubmit: (event) => { event.preventDefault(); this.submit(); }, novalidate: true },
        this.input, this.drop, this.thumbs, this.sum,
        this.route.element,
        h("div", { class: "fields" },
          h("div", {}, h("label", { for: "format" }, t("form.output")), this.format),
          h("div", {}, h("label", { for: "quality" }, t("form.quality")), this.quality),
          h("div", { class: "wide" }, h("label", { for: "name" }, t("form.name")), this.name),
          h("div", { class: "wide" }, h("label", { for: "municipality" }, t("form.municipality")), this.municipality)),
        this.colours.element, this.more.element,
        h("details", {}, h("summary", {}, t("form.json")), this.json),
        this.problems, this.bar, this.plan.element, this.why, this.send));
  }

  listen() {
    const over = (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      this.drop.classList.toggle("over", event.type !== "drop");
      if (event.type === "drop") this.add(event.dataTransfer.files);
    };
    for (const name of ["dragenter", "dragover", "drop"]) this.element.addEventListener(name, over);
    this.element.addEventListener("dragleave", () => this.drop.classList.remove("over"));
  }

  add(files) {
    this.files.push(...files);
    say(t("form.added", { n: files.length }));
    this.changed();
    this.showFiles();
  }

  remove(file) {
    this.files = this.files.filter((other) => other !== file);
    this.changed();
    this.showFiles();
    (this.thumbs.querySelector("button") || this.input).focus();
  }

  showFiles() {
    for (const picture of this.thumbs.querySelectorAll("img")) URL.revokeObjectURL(picture.src);
    replace(this.thumbs, this.files.slice(0, SHOWN).map((file) => h(
      "li", {}, h("img", { src: URL.createObjectURL(file), alt: "", onerror: (event) => event.target.classList.add("broken") }),
      h("span", { translate: "no" }, file.name),
      h("button", { type: "button", class: "remove", "aria-label": t("form.remove", { file: file.name }), onclick: () => this.remove(file) },
        icon(ICONS.remove)))));
    const total = this.files.reduce((sum, file) => sum + file.size, 0);
    const hidden = this.files.length - SHOWN;
    const chosen = this.files.length ? [t("form.chosen", { n: this.files.length, size: bytes(total) })] : [];
    if (hidden > 0) chosen.push(t("form.hidden", { n: hidden }));
    setText(this.sum, chosen.join(" "));
  }

  actions() {
    const quality = Number.parseInt(this.quality.value, 10);
    const format = this.format.value;
    const municipality = this.municipality.value.trim();
    return {
      ...(this.name.value.trim() ? { name: this.name.value.trim() } : {}),
      ...(municipality ? { municipality } : {}),
      operations: this.route.operations(),
      output: quality && !this.lossless.has(format) ? { format, quality } : format,
      ...this.colours.options(format),
      ...this.more.options(),
    };
  }

  changed() {
    this.key = null; // another request than the one before
    replace(this.problems); // and other faults, if any
    this.show();
  }

  show() {
    this.quality.disabled = this.lossless.has(this.format.value);
    setText(this.json, pretty(this.actions()));
    this.plan.ask(this.files, this.actions());
    setText(this.send, this.files.length ? t("form.sendImages", { n: this.files.length }) : t("form.send"));
  }

  async submit() {
    replace(this.problems);
    const missing = [this.files.length ? null : t("form.noImages"), this.actions().operations.length ? null : t("form.noRoute")].filter(Boolean);
    if (missing.length) return this.refused([t("form.notYet")], missing.map((text) => h("li", {}, text)));
    // The same key when it is sent again after trouble: nothing is run twice.
    this.key ??= `page-${Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("")}`;
    const form = new FormData();
    form.append("actions", JSON.stringify(this.actions()));
    for (const file of this.files) form.append("files", file, file.name);
    this.sending(true);
    try {
      const batch = await upload(form, this.key, (sent, total) => { this.bar.value = sent / total; });
      this.files = [];
      this.showFiles();
      this.changed();
      toast(t("form.sent"));
      this.onSent(batch);
    } catch (problem) {
      this.refused(told(problem), faultItems(problem.faults ?? []));
    } finally {
      this.sending(false);
    }
    return undefined;
  }

  // Why nothing can be sent now; null: it can.
  away(problem) {
    if (problem?.message === this.problem?.message) return;
    this.problem = problem;
    setText(this.why, problem ? t("form.away", { why: problem.message }) : "");
    if (!problem) replace(this.problems); // what was said of the trouble is over
    this.enable();
  }

  enable() {
    this.send.disabled = Boolean(this.busy || this.problem);
  }

  refused(head, faults) {
    replace(this.problems, h("p", {}, head), faults.length ? h("ul", {}, faults) : null);
    this.problems.focus();
  }

  sending(busy) {
    this.bar.hidden = !busy;
    this.bar.value = 0;
    this.busy = busy;
    this.enable();
    if (busy) setText(this.send, t("form.sending"));
    else this.show();
  }
}

// JSON with one operation a line, as people write it.
function pretty(actions) {
  const lines = Object.entries(actions).map(([name, value]) => {
    if (name !== "operations" || !value.length) return `  ${JSON.stringify(name)}: ${oneLine(value)}`;
    return `  "operations": [\n${value.map((entry) => `    ${oneLine(entry)}`).join(",\n")}\n  ]`;
  });
  return `{\n${lines.join(",\n")}\n}`;
}

function oneLine(value) {
  return JSON.stringify(value).replaceAll('","', '", "').replaceAll('",', '", ').replaceAll('":', '": ').replaceAll('",  ', '", ');
}
