// Building a route by clicking operations. It knows no operation by name: what there is, and with which examples, comes
// from the API, so a new operation needs no change here.

import { ICONS, h, icon, replace, say } from "./dom.js";
import { opName } from "./format.js";
import { known, t } from "./texts.js";

const OTHER = " other"; // no value: values have no spaces around them

export class RouteBuilder {
  constructor(operations, onChange) {
    this.onChange = onChange;
    this.steps = [];
    this.list = h("ol", { class: "route", "aria-label": t("route.label") });
    this.element = h(
      "fieldset", { class: "builder" }, h("legend", {}, t("route.title")),
      this.list,
      h("div", { class: "palette" }, operations.map((operation) => h(
        "button", { type: "button", class: "add", title: summaryOf(operation), onclick: () => this.add(operation) },
        `+ ${opName(operation.name)}`))));
    this.show();
  }

  // The entries of `operations`, in their short forms.
  operations() {
    return this.steps.map((step) => [step.operation.name, step.value]);
  }

  add(operation) {
    const values = shortValues(operation);
    this.steps.push({ operation, value: values[0] ?? "", custom: values.length === 0 });
    say(t("route.added", { operation: opName(operation.name) }));
    this.changed();
    this.list.lastElementChild?.querySelector("select, input")?.focus();
  }

  move(step, by) {
    const from = this.steps.indexOf(step);
    const to = from + by;
    if (to < 0 || to >= this.steps.length) return;
    this.steps.splice(from, 1);
    this.steps.splice(to, 0, step);
    say(t("route.moved", { operation: opName(step.operation.name), n: to + 1 }));
    this.changed();
    this.list.children[to].querySelector(by < 0 ? ".up" : ".down")?.focus();
  }

  remove(step) {
    this.steps = this.steps.filter((other) => other !== step);
    say(t("route.removed", { operation: opName(step.operation.name) }));
    this.changed();
    this.element.querySelector(".add")?.focus();
  }

  changed() {
    this.show();
    this.onChange();
  }

  show() {
    replace(this.list, this.steps.length
      ? this.steps.map((step, number) => this.row(step, number))
      : h("li", { class: "empty" }, t("route.empty")));
  }

  row(step, number) {
    const operation = opName(step.operation.name);
    return h(
      "li", { class: "step" }, h("b", {}, operation), this.value(step, number),
      h("span", { class: "moves" },
        h("button", { type: "button", class: "up", "aria-label": t("route.up", { operation }), disabled: number === 0, onclick: () => this.move(step, -1) }, icon(ICONS.up)),
        h("button", { type: "button", class: "down", "aria-label": t("route.down", { operation }), disabled: number === this.steps.length - 1, onclick: () => this.move(step, 1) }, icon(ICONS.down)),
        h("button", { type: "button", class: "remove", "aria-label": t("route.remove", { operation }), onclick: () => this.remove(step) }, icon(ICONS.remove))));
  }

  value(step, number) {
    const label = t("route.parameter", { n: number + 1, operation: opName(step.operation.name) });
    const values = shortValues(step.operation);
    const select = h("select", {
      "aria-label": label,
      onchange: (event) => {
        step.custom = event.target.value === OTHER;
        if (!step.custom) step.value = values[event.target.selectedIndex];
        this.changed();
        this.list.children[number].querySelector(step.custom ? "input" : "select").focus();
      },
    }, [...values.map(asText), OTHER].map((text, index) => h("option", {
      value: text, selected: step.custom ? text === OTHER : values[index] === step.value,
    }, { true: t("route.standard"), [OTHER]: t("route.other") }[text] ?? text)));
    const input = step.custom ? h("input", {
      type: "text", "aria-label": t("route.asText", { parameter: label }), value: asText(step.value), spellcheck: "false",
      oninput: (event) => { step.value = fromText(event.target.value); this.onChange(); },
    }) : null;
    return h("span", { class: "value" }, select, input);
  }
}

// What an operation does; one of your own says it in its own words.
export function summaryOf(operation) {
  return known("operation", `${operation.name}.summary`) ?? operation.summary;
}

function shortValues(operation) {
  return operation.examples.filter(Array.isArray).map(([, value]) => value);
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function fromText(text) {
  const trimmed = text.trim();
  return trimmed === "true" ? true : trimmed;
}
