// What the API says in English, for readers of another language: patterns with their translations, as in `texts/said.nl.json`.
// `{name}` stands for any value, which may be such a text itself, and `{n}` for one word.

import { h, replace } from "./dom.js";
import { opName } from "./format.js";
import { language, t } from "./texts.js";

const SOURCE = "en";
const WORDS = /\p{L}{3} \p{L}{2}|\p{L}{2} \p{L}{3}/u; // a text, and not a name or a number
const PLACE = /^operations\[(\d+)\] \((.+?)\)(?:, tile (\S+))?: ([^]+)$/;
let table = null; // asked for with the first text

// A text of the API as an element; what nobody has translated stays English, and says so.
export function said(text) {
  const element = h("span", { lang: SOURCE }, text);
  if (language !== SOURCE) translate(element, text);
  return element;
}

// Why an image failed: each reason with the step and the tile that it is of.
export function saidReasons(texts) {
  return texts.map(placed).map(([place, why], number) => [number ? "; " : null, place, said(why)]);
}

// A text of the API for a tooltip, which can be in one language only; empty: some words have no translation.
export async function saidWhole(text) {
  const parts = await translated(text);
  return parts.some(([, isSource]) => isSource) ? "" : parts.map(([words]) => words).join("");
}

// The same of the reasons of an image.
export async function reasonsWhole(texts) {
  const whole = await Promise.all(texts.map(placed).map(async ([place, why]) => [place, await saidWhole(why)]));
  return whole.every(([, why]) => why) ? whole.map((parts) => parts.join("")).join("; ") : "";
}

function placed(text) {
  const [, step, name, tile, why] = PLACE.exec(text) ?? [];
  if (!why) return ["", text];
  return [`${t(tile ? "failures.ofTile" : "failures.ofStep", { n: Number(step) + 1, operation: opName(name), tile })} `, why];
}

async function translate(element, text) {
  const parts = await translated(text);
  if (parts[0][0] === text) return;
  replace(element, parts.map(([words, isSource]) => (isSource ? h("span", { lang: SOURCE }, words) : words)));
  element.normalize();
  element.removeAttribute("lang");
}

async function translated(text) {
  if (language === SOURCE) return [[text, false]];
  table ??= fetch(`/page/said.${language}.json`).then((answer) => answer.json()).then(patternsOf);
  return partsOf(text, await table.catch(() => []));
}

// The words of a translation, and of each whether it is English: such as a decoder's own words.
function partsOf(text, patterns) {
  for (const { pattern, names, translation } of patterns) {
    const found = pattern.exec(text);
    if (!found) continue;
    const values = Object.fromEntries(names.map((name, place) => [name, found[place + 1]]));
    return translation.split(/\{(\w+)\}/).flatMap((part, place) => (place % 2 ? partsOf(values[part], patterns) : [[part, false]]));
  }
  return [[text, WORDS.test(text)]];
}

// The one with most letters first.
function patternsOf(texts) {
  const letters = (key) => key.replace(/\{\w+\}/g, "").length;
  return Object.entries(texts).sort(([one], [other]) => letters(other) - letters(one)).map(([key, translation]) => {
    const parts = key.split(/\{(\w+)\}/); // texts and names in turn
    const source = parts.map((part, place) => (place % 2 ? (part.length === 1 ? "(\\S+)" : "([^]+?)") : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
    return { pattern: new RegExp(`^${source.join("")}$`), names: parts.filter((_, place) => place % 2), translation };
  });
}
