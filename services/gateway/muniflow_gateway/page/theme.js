// Light, dark, or as the system has it; remembered in this browser.

import { ICONS, icon, replace } from "./dom.js";
import { t } from "./texts.js";

const CHOICES = ["auto", "light", "dark"];
const MARKS = { auto: ICONS.both, light: ICONS.sun, dark: ICONS.moon };

function remembered() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // the browser keeps nothing
  }
}

export function theme(button) {
  let choice = CHOICES.includes(remembered()) ? remembered() : "auto";
  const show = () => {
    document.documentElement.dataset.theme = choice;
    replace(button, icon(MARKS[choice]));
    button.title = t(`theme.${choice}`);
    button.setAttribute("aria-label", button.title);
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // for this visit only, then
    }
    show();
  });
  show();
}
