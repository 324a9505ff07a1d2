// Windows within the page: one question, or one form, at a time.

import { bytes, say } from "./words.js";

// Show a <dialog> until it is closed; what the button that closed it is called, "" for Escape.
export function shown(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

// Lines of what is pasted that are shown.
const PREVIEW = 12;

// Whether somebody wants to paste several lines.
export async function mayPaste(dialog, text) {
  const lines = text.split(/\r\n|\r|\n/);
  const size = bytes(new Blob([text]).size);
  dialog.querySelector("#paste-text").textContent = say("paste_text", { lines: lines.length, size });
  const preview = lines.slice(0, PREVIEW).map((line) => (line.length > 200 ? `${line.slice(0, 200)}…` : line));
  if (lines.length > PREVIEW) {
    preview.push("…");
  }
  dialog.querySelector("#paste-preview").textContent = preview.join("\n");
  return (await shown(dialog)) === "yes";
}
