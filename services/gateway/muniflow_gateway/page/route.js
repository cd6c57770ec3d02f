// Building a route by clicking operations. It knows no operation by name: what there is, and with which examples, comes
// from the API, so a new operation needs no change here.

import { ICONS, h, icon, replace, say } from "./dom.js";

const OTHER = "other …";

export class RouteBuilder {
  constructor(operations, onChange) {
    this.onChange = onChange;
    this.steps = [];
    this.list = h("ol", { class: "route", "aria-label": "The route, in order" });
    this.element = h(
      "fieldset", { class: "builder" }, h("legend", {}, "Route"),
      this.list,
      h("div", { class: "palette" }, operations.map((operation) => h(
        "button", { type: "button", class: "add", title: operation.summary, onclick: () => this.add(operation) },
        `+ ${operation.name}`))));
    this.show();
  }

  // The entries of `operations`, in their short forms.
  operations() {
    return this.steps.map((step) => [step.operation.name, step.value]);
  }

  add(operation) {
    const values = shortValues(operation);
    this.steps.push({ operation, value: values[0] ?? "", custom: values.length === 0 });
    say(`${operation.name} added`);
    this.changed();
    this.list.lastElementChild?.querySelector("select, input")?.focus();
  }

  move(step, by) {
    const from = this.steps.indexOf(step);
    const to = from + by;
    if (to < 0 || to >= this.steps.length) return;
    this.steps.splice(from, 1);
    this.steps.splice(to, 0, step);
    say(`${step.operation.name} is now step ${to + 1}`);
    this.changed();
    this.list.children[to].querySelector(by < 0 ? ".up" : ".down")?.focus();
  }

  remove(step) {
    this.steps = this.steps.filter((other) => other !== step);
    say(`${step.operation.name} removed`);
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
      : h("li", { class: "empty" }, "Click the operations in the order they should run."));
  }

  row(step, number) {
    const name = step.operation.name;
    return h(
      "li", { class: "step" }, h("b", {}, name), this.value(step, number),
      h("span", { class: "moves" },
        h("button", { type: "button", class: "up", "aria-label": `Move ${name} up`, disabled: number === 0, onclick: () => this.move(step, -1) }, icon(ICONS.up)),
        h("button", { type: "button", class: "down", "aria-label": `Move ${name} down`, disabled: number === this.steps.length - 1, onclick: () => this.move(step, 1) }, icon(ICONS.down)),
        h("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, onclick: () => this.remove(step) }, icon(ICONS.remove))));
  }

  value(step, number) {
    const label = `Parameter of step ${number + 1}, ${step.operation.name}`;
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
    }, text === "true" ? "standard" : text)));
    const input = step.custom ? h("input", {
      type: "text", "aria-label": `${label}, as text`, value: asText(step.value), spellcheck: "false",
      oninput: (event) => { step.value = fromText(event.target.value); this.onChange(); },
    }) : null;
    return h("span", { class: "value" }, select, input);
  }
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
